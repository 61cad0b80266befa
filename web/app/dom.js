/**
 * @typedef {Node|string|number|null|undefined|false} Child
 * @typedef {{
 *   class?: string, text?: string, testid?: string, title?: string, label?: string,
 *   attrs?: Record<string, string|number|boolean|null|undefined>,
 *   on?: Record<string, (event: any) => void>,
 *   props?: Record<string, unknown>,
 * }} Options
 */

/**
 * Make an element. Text goes in as text nodes only: nothing here parses HTML.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Options|null} [options]  label: the accessible name, and the tooltip when there is no title
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, options, ...children) {
  const element = document.createElement(tag);
  const { class: className, text, testid, title, label, attrs, on, props } = options ?? {};
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  if (testid) element.dataset.testid = testid;
  if (label) element.setAttribute('aria-label', label);
  if (title ?? label) element.title = /** @type {string} */ (title ?? label);
  for (const [name, value] of Object.entries(attrs ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const [event, listener] of Object.entries(on ?? {})) element.addEventListener(event, listener);
  Object.assign(element, props);
  if (tag === 'button' && !element.hasAttribute('type')) element.setAttribute('type', 'button');
  append(element, children);
  return element;
}

/** @param {Element} element @param {Child[]} children */
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === 'object' ? child : String(child));
  }
}

/** @param {Element} element @param {...Child} children */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * One row of a keyed list. Rows of one key are made again only when their stamp, which says everything that they show,
 * is another.
 *
 * @typedef {{key: string, stamp: string, make: () => HTMLElement}} Row
 */

/** @type {WeakMap<Element, Map<string, {stamp: string, element: HTMLElement}>>} */
const shown = new WeakMap();

/**
 * Make the children of `list` be these rows, touching only what changed, so that focus, selection and scroll stay.
 *
 * @param {Element} list
 * @param {Row[]} rows
 */
export function keyed(list, rows) {
  const before = shown.get(list) ?? new Map();
  const after = new Map();
  let place = list.firstElementChild;
  for (const row of rows) {
    const old = before.get(row.key);
    const element = old?.stamp === row.stamp ? old.element : row.make();
    after.set(row.key, { stamp: row.stamp, element });
    if (old && old.element !== element) {
      if (place === old.element) place = element;
      const focused = old.element.contains(document.activeElement);
      old.element.replaceWith(element);
      if (focused) element.focus();
    }
    if (element === place) place = element.nextElementSibling;
    else list.insertBefore(element, place);
    before.delete(row.key);
  }
  for (const { element } of before.values()) element.remove();
  shown.set(list, after);
}

/**
 * Run `render` once for many calls: with the next frame, or soon when the window is hidden and has no frames.
 *
 * @param {() => void} render
 */
export function coalesced(render) {
  let due = false;
  const run = () => {
    if (!due) return;
    due = false;
    render();
  };
  return () => {
    if (due) return;
    due = true;
    if (document.visibilityState === 'visible') requestAnimationFrame(run);
    // Frames may stop between the asking and the frame, when the window is hidden just then.
    setTimeout(run, 250);
  };
}

/** What has to end together with a view. */
export class Scope {
  /** @type {(() => void)[]} */
  #ends = [];
  ended = false;

  /** @param {...(() => void)} ends */
  add(...ends) {
    this.#ends.push(...ends);
  }

  /**
   * @param {EventTarget} target
   * @param {string} type
   * @param {(event: any) => void} listener
   * @param {AddEventListenerOptions} [options]
   */
  listen(target, type, listener, options) {
    target.addEventListener(type, listener, options);
    this.add(() => target.removeEventListener(type, listener, options));
  }

  end() {
    this.ended = true;
    for (const end of this.#ends.splice(0)) end();
  }
}

/**
 * Arrow keys, Home and End move the focus over the rows of a list.
 *
 * @param {HTMLElement} list
 * @param {string} selector  of what can be focused
 */
export function arrowKeys(list, selector) {
  list.addEventListener('keydown', (event) => {
    const rows = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(selector)]);
    const at = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    rows[to].focus();
  });
}
