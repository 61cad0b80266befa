import { en } from './i18n/en.js';
import { zh } from './i18n/zh.js';

/** @typedef {'en'|'zh'} Language */
/** @typedef {keyof typeof en} Text */

const KEY = 'im:language';
/** @type {Record<Language, Record<Text, string>>} */
const TEXTS = { en, zh };

/** @returns {Language} */
export function language() {
  const saved = localStorage.getItem(KEY);
  if (saved === 'en' || saved === 'zh') return saved;
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

/** @param {Language} choice */
export function setLanguage(choice) {
  localStorage.setItem(KEY, choice);
  applyLanguage();
}

export function applyLanguage() {
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
}

/**
 * A text in the reader's language; `{name}` in it is replaced by the value of that name.
 *
 * @param {Text} key
 * @param {Record<string, string|number>} [values]
 * @returns {string}
 */
export function t(key, values) {
  return TEXTS[language()][key].replace(/\{(\w+)\}/g, (whole, name) => String(values?.[name] ?? whole));
}

/**
 * The text for a count: English has a form of its own for one.
 *
 * @param {Text} one
 * @param {Text} other
 * @param {number} count
 */
export function counted(one, other, count) {
  return t(count === 1 ? one : other, { count });
}

/** @param {string} key @returns {key is Text} */
export function isText(key) {
  return key in en;
}
