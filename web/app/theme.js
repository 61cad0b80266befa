/** @typedef {'system'|'light'|'dark'} Theme */

const KEY = 'im:theme';

/** @returns {Theme} */
export function theme() {
  const saved = localStorage.getItem(KEY);
  return saved === 'light' || saved === 'dark' ? saved : 'system';
}

/** @param {Theme} choice */
export function setTheme(choice) {
  localStorage.setItem(KEY, choice);
  applyTheme();
}

/** Put the choice on the page; the style sheets do the rest. */
export function applyTheme() {
  const choice = theme();
  if (choice === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
}
