/** @import {Child} from './dom.js' */
import { h } from './dom.js';

/**
 * A row of a list of people or groups.
 *
 * @param {object} options
 * @param {HTMLElement} options.picture
 * @param {string} options.title
 * @param {string} [options.line]
 * @param {string} [options.testid]
 * @param {string} [options.id]      told as `data-id`
 * @param {() => void} [options.run] what a click does
 * @param {Child[]} [options.actions]
 */
export function entryRow({ picture, title, line, testid, id, run, actions = [] }) {
  return h(
    'li',
    {
      class: run ? 'row' : 'row still',
      testid,
      attrs: { tabindex: run ? 0 : null, 'data-id': id },
      on: run
        ? { click: run, keydown: (event) => event.key === 'Enter' && event.target === event.currentTarget && run() }
        : {},
    },
    picture,
    h(
      'div',
      { class: 'row-text' },
      h('span', { class: 'row-title', text: title }),
      line ? h('span', { class: 'row-preview', text: line }) : null,
    ),
    actions.length
      ? h('div', { class: 'row-actions', on: { click: (event) => event.stopPropagation() } }, ...actions)
      : null,
  );
}

/** @param {string} title @param {...Child} children */
export function section(title, ...children) {
  return h('section', { class: 'section' }, h('h3', { class: 'section-title', text: title }), ...children);
}
