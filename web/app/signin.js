/** @import {Sessions} from '../im-client.js' */
import { h } from './dom.js';
import { errorText } from './errors.js';
import { language, setLanguage, t } from './i18n.js';

/**
 * The form for who has no session yet.
 *
 * @param {HTMLElement} host
 * @param {Sessions} sessions
 * @param {string|null} notice  why the last session ended
 * @returns {Promise<string>} the user, once signed in
 */
export function signInForm(host, sessions, notice) {
  return new Promise((resolve) => {
    let signingUp = false;
    const show = () => {
      host.replaceChildren(
        form({
          sessions,
          notice,
          signingUp,
          done: resolve,
          toggle: () => ((signingUp = !signingUp), show()),
          redraw: show,
        }),
      );
      host.querySelector('input')?.focus();
    };
    show();
  });
}

/**
 * @param {object} options
 * @param {Sessions} options.sessions
 * @param {string|null} options.notice
 * @param {boolean} options.signingUp
 * @param {(user: string) => void} options.done
 * @param {() => void} options.toggle
 * @param {() => void} options.redraw
 */
function form({ sessions, notice, signingUp, done, toggle, redraw }) {
  const user = h('input', {
    class: 'field',
    testid: 'sign-in-user',
    attrs: {
      id: 'sign-in-user',
      name: 'username',
      autocomplete: 'username',
      autocapitalize: 'none',
      spellcheck: 'false',
      required: true,
      maxlength: 64,
      pattern: '[A-Za-z0-9_.@\\-]+',
      title: t('user_id_hint'),
    },
  });
  const name = h('input', {
    class: 'field',
    testid: 'sign-up-name',
    attrs: { id: 'sign-up-name', name: 'name', autocomplete: 'nickname', maxlength: 64 },
  });
  const password = h('input', {
    class: 'field',
    testid: 'sign-in-password',
    attrs: {
      id: 'sign-in-password',
      name: 'password',
      type: 'password',
      autocomplete: signingUp ? 'new-password' : 'current-password',
      required: true,
      maxlength: 128,
    },
  });
  const error = h('p', { class: 'form-error', testid: 'sign-in-error', attrs: { role: 'alert' } });
  const submit = h('button', {
    class: 'button primary wide',
    text: signingUp ? t('sign_up') : t('sign_in'),
    testid: 'sign-in-submit',
    attrs: { type: 'submit' },
  });
  /** @param {Event} event */
  const go = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    error.textContent = '';
    try {
      const id = user.value.trim();
      done(
        signingUp
          ? await sessions.signUp(id, password.value, name.value.trim() || id)
          : await sessions.signIn(id, password.value),
      );
    } catch (failure) {
      error.textContent = errorText(failure);
      submit.disabled = false;
    }
  };
  const local = ['127.0.0.1', 'localhost', '[::1]'].includes(location.hostname);
  const other = language() === 'zh' ? 'en' : 'zh';
  return h(
    'main',
    { class: 'welcome' },
    h(
      'section',
      { class: 'welcome-card' },
      h('img', { class: 'logo', attrs: { src: '/web/app/icon.svg', alt: '' } }),
      h('h1', { text: 'ImCluster' }),
      h('p', { class: 'muted', text: t('app_tagline') }),
      notice ? h('p', { class: 'form-notice', text: notice, testid: 'sign-in-notice' }) : null,
      h(
        'form',
        { class: 'stack', testid: 'sign-in-form', on: { submit: go } },
        h('label', { text: t('user_id'), attrs: { for: 'sign-in-user' } }),
        user,
        ...(signingUp ? [h('label', { text: t('your_name'), attrs: { for: 'sign-up-name' } }), name] : []),
        h('label', { text: t('password'), attrs: { for: 'sign-in-password' } }),
        password,
        error,
        submit,
        h('button', {
          class: 'link',
          text: signingUp ? t('to_sign_in') : t('to_sign_up'),
          testid: 'sign-in-toggle',
          on: { click: toggle },
        }),
      ),
      ...(signingUp
        ? []
        : sessions
            .accounts()
            .map((account) =>
              h('button', {
                class: 'button wide',
                text: t('continue_as', { user: account }),
                testid: 'continue',
                attrs: { 'data-id': account },
                on: { click: () => done(account) },
              }),
            )),
      local && !signingUp ? h('p', { class: 'muted small', text: t('local_hint') }) : null,
      h('button', {
        class: 'link small',
        text: other === 'zh' ? '中文' : 'English',
        testid: 'sign-in-language',
        on: { click: () => (setLanguage(other), redraw()) },
      }),
    ),
  );
}
