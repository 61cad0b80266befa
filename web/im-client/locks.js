/**
 * Do work while no other window of this browser profile does work of the same name.
 *
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function locked(name, work) {
  // Web Locks exist in secure contexts only. Without them two windows may do the same at once, which the server forgives:
  // an old refresh token answers the same successor for a minute, and a message sent twice is stored once.
  const locks = globalThis.navigator?.locks;
  return locks ? locks.request(name, work) : work();
}
