import { h } from './dom.js';

const COLOURS = 8;

/** @param {string} text  FNV-1a, so that a user has one colour everywhere */
function hash(text) {
  let value = 0x811c9dc5;
  for (const unit of text) value = Math.imul(value ^ /** @type {number} */ (unit.codePointAt(0)), 0x01000193);
  return value >>> 0;
}

/** The number of the colour that belongs to an id. @param {string} id */
export function colour(id) {
  return hash(id) % COLOURS;
}

/** Two letters of two words, one of one word or of a name in Chinese. @param {string} name */
function initials(name) {
  const words = name
    .trim()
    .split(/[\s,、]+/)
    .filter(Boolean);
  const letters = words.slice(0, 2).map((word) => [...word][0]);
  return (/^[\p{Script=Latin}\d]/u.test(letters[0] ?? '') ? letters.join('') : (letters[0] ?? '?')).toUpperCase();
}

/**
 * @param {string} id    gives the colour
 * @param {string} name  gives the letters
 * @param {{url?: string|null, size?: 'small'|'large', online?: boolean}} [options]
 */
export function avatar(id, name, { url, size, online } = {}) {
  const element = h('span', {
    class: `avatar tint-${colour(id)}${size ? ` ${size}` : ''}`,
    attrs: { 'aria-hidden': true },
  });
  // The page's policy lets no other pictures in, and each try would be reported.
  if (url && (url.startsWith('data:image/') || (url.startsWith('/') && !url.startsWith('//'))))
    element.append(h('img', { attrs: { src: url, alt: '' } }));
  else element.append(initials(name));
  if (online) element.append(h('span', { class: 'presence-dot', testid: 'presence-online' }));
  return element;
}
