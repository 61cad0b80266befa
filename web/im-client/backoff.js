/**
 * Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): uniform in [0, min(cap, base · 2^attempt)),
 * so that the clients of a server that died do not come back together.
 *
 * @param {number} attempt  failures so far, from 0
 * @param {() => number} random  uniform in [0, 1)
 * @param {{base?: number, cap?: number}} [range]  milliseconds
 * @returns {number} milliseconds
 */
export function fullJitter(attempt, random, { base = 500, cap = 30_000 } = {}) {
  return random() * Math.min(cap, base * 2 ** Math.min(attempt, 30));
}

/**
 * A period spread by ±20 %, so that periodic work of many clients does not line up.
 *
 * @param {number} period  milliseconds
 * @param {() => number} random  uniform in [0, 1)
 * @returns {number} milliseconds
 */
export function spread(period, random) {
  return period * (0.8 + 0.4 * random());
}
