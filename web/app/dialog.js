import { h } from './dom.js';
import { icon } from './icons.js';
import { t } from './i18n.js';

/**
 * A modal dialog. Esc and a click beside it close it.
 *
 * @param {string} title
 * @param {(close: () => void) => (Node|null)[]} build  makes what is in it
 * @param {{testid?: string, onClose?: () => void}} [options]
 * @returns {() => void} close it
 */
export function openDialog(title, build, { testid, onClose } = {}) {
  const close = () => dialog.close();
  const dialog = h(
    'dialog',
    { class: 'dialog', testid, attrs: { 'aria-label': title } },
    h(
      'header',
      { class: 'dialog-head' },
      h('h2', { text: title }),
      h('button', { class: 'icon-button', label: t('close'), on: { click: close } }, icon('close')),
    ),
    h('div', { class: 'dialog-body' }, ...build(close)),
  );
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) close();
  });
  // What listens for Esc behind the dialog must not hear this one.
  dialog.addEventListener('keydown', (event) => event.stopPropagation());
  dialog.addEventListener('close', () => {
    dialog.remove();
    onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  /** @type {HTMLElement|null} */ (
    dialog.querySelector('[autofocus], .dialog-body input, .dialog-body button')
  )?.focus();
  return close;
}

/**
 * Ask before something that cannot be taken back.
 *
 * @param {string} question
 * @param {string} yes  what the button says
 * @returns {Promise<boolean>}
 */
export function confirmed(question, yes) {
  return new Promise((resolve) => {
    let answer = false;
    openDialog(
      yes,
      (close) => [
        h('p', { text: question }),
        h(
          'div',
          { class: 'dialog-actions' },
          h('button', { class: 'button', text: t('cancel'), on: { click: close } }),
          h('button', {
            class: 'button danger',
            text: yes,
            testid: 'confirm',
            attrs: { autofocus: true },
            on: { click: () => ((answer = true), close()) },
          }),
        ),
      ],
      { testid: 'confirm-dialog', onClose: () => resolve(answer) },
    );
  });
}

/**
 * Ask for one line of text, or several.
 *
 * @param {string} title
 * @param {{value?: string, label?: string, multiline?: boolean, action?: string}} [options]
 * @returns {Promise<string|null>} null when it was closed
 */
export function asked(title, { value = '', label = title, multiline = false, action = t('save') } = {}) {
  return new Promise((resolve) => {
    /** @type {string|null} */
    let answer = null;
    openDialog(
      title,
      (close) => {
        const field = h(multiline ? 'textarea' : 'input', {
          class: 'field',
          testid: 'ask-field',
          attrs: { 'aria-label': label, placeholder: label, autofocus: true, rows: multiline ? 5 : null },
        });
        field.value = value;
        return [
          h(
            'form',
            {
              class: 'stack',
              on: { submit: (event) => (event.preventDefault(), (answer = field.value.trim()), close()) },
            },
            field,
            h(
              'div',
              { class: 'dialog-actions' },
              h('button', { class: 'button', text: t('cancel'), on: { click: close } }),
              h('button', { class: 'button primary', text: action, testid: 'ask-save', attrs: { type: 'submit' } }),
            ),
          ),
        ];
      },
      { testid: 'ask-dialog', onClose: () => resolve(answer) },
    );
  });
}
