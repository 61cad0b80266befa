import { arrowKeys, h } from './dom.js';
import { icon } from './icons.js';

/** @typedef {{text: string, icon: Parameters<typeof icon>[0], run: () => void, danger?: boolean, testid?: string}} Entry */

/** @type {(() => void)|null} */
let closeOpen = null;

/**
 * A menu at a point of the window, closed by choosing, by Esc, by a click elsewhere, or when the window changes.
 *
 * @param {{x: number, y: number}} point
 * @param {Entry[]} entries
 */
export function openMenu(point, entries) {
  closeOpen?.();
  const opener = /** @type {HTMLElement|null} */ (document.activeElement);
  const ends = new AbortController();
  const close = () => {
    ends.abort();
    menu.remove();
    closeOpen = null;
    opener?.focus?.({ preventScroll: true });
  };
  closeOpen = close;
  const menu = h(
    'div',
    { class: 'menu', testid: 'menu', attrs: { role: 'menu' } },
    ...entries.map((entry) =>
      h(
        'button',
        {
          class: entry.danger ? 'menu-entry danger' : 'menu-entry',
          testid: entry.testid,
          attrs: { role: 'menuitem' },
          on: { click: () => (close(), entry.run()) },
        },
        icon(entry.icon),
        h('span', { text: entry.text }),
      ),
    ),
  );
  arrowKeys(menu, '.menu-entry');
  menu.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' || event.key === 'Tab') close();
    event.stopPropagation();
  });
  document.body.append(menu);
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(8, Math.min(point.x, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, Math.min(point.y, innerHeight - height - 8))}px`;
  /** @type {HTMLElement|null} */ (menu.firstElementChild)?.focus();
  addEventListener('pointerdown', (event) => !menu.contains(/** @type {Node} */ (event.target)) && close(), {
    signal: ends.signal,
    capture: true,
  });
  addEventListener('resize', close, { signal: ends.signal });
  addEventListener('blur', close, { signal: ends.signal });
}

/** Where a menu of this button belongs. @param {Element} element */
export function below(element) {
  const box = element.getBoundingClientRect();
  return { x: box.left, y: box.bottom + 4 };
}
