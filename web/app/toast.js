import { h } from './dom.js';

const SHOWN_MS = 4_000;

/**
 * A short word at the edge of the window.
 *
 * @param {string} text
 * @param {'note'|'error'} [tone]
 */
export function toast(text, tone = 'note') {
  let host = document.getElementById('toasts');
  if (!host) {
    host = h('div', { class: 'toasts', attrs: { id: 'toasts', role: 'status', 'aria-live': 'polite' } });
    document.body.append(host);
  }
  const note = h('div', { class: `toast ${tone}`, text, testid: 'toast' });
  host.append(note);
  setTimeout(() => note.remove(), SHOWN_MS);
}
