/**
 * @import {Context} from './context.js'
 * @import {Language} from './i18n.js'
 * @import {Profile} from '../im-client/types.js'
 * @import {Theme} from './theme.js'
 */
import { avatar } from './avatar.js';
import { asked, confirmed } from './dialog.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { full } from './format.js';
import { icon } from './icons.js';
import { isText, language, setLanguage, t } from './i18n.js';
import { entryRow, section } from './rows.js';
import { setTheme, theme } from './theme.js';

/**
 * Who I am, how the page looks, where I am signed in, whom I blocked.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @returns {HTMLElement[]}
 */
export function settingsView(ctx, scope) {
  const { client } = ctx;
  const signOut = async () => {
    const question = client.outbox.waiting ? `${t('sign_out_unsent')} ${t('sign_out_confirm')}` : t('sign_out_confirm');
    if (!(await confirmed(question, t('sign_out')))) return;
    await client.signOut();
    ctx.leave(null);
  };
  const switchAccount = () => {
    client.sessions.useNone();
    ctx.leave(null);
  };
  return [
    h('header', { class: 'side-head' }, h('h1', { text: t('settings') })),
    h(
      'div',
      { class: 'scroll' },
      profile(ctx, scope),
      appearance(ctx),
      devices(ctx, scope),
      blocked(ctx, scope),
      h(
        'div',
        { class: 'actions' },
        h(
          'button',
          { class: 'action', testid: 'switch-account', on: { click: switchAccount } },
          icon('person'),
          h('span', { text: t('switch_account') }),
        ),
        h(
          'button',
          { class: 'action danger', testid: 'sign-out', on: { click: () => void signOut() } },
          icon('door'),
          h('span', { text: t('sign_out') }),
        ),
      ),
    ),
  ];
}

/** @param {Context} ctx @param {Scope} scope */
function profile(ctx, scope) {
  const { api, people } = ctx.client;
  const element = h('div', { class: 'card' });
  const edit = async () => {
    const name = await asked(t('your_name'), { value: people.profile(ctx.me)?.name ?? '' });
    if (name && (await attempt(api.changeProfile({ name }).then(() => true)))) people.learn([{ user: ctx.me, name }]);
  };
  const show = coalesced(() => {
    if (scope.ended) return;
    const name = people.profile(ctx.me)?.name ?? ctx.me;
    fill(
      element,
      avatar(ctx.me, name, { size: 'large', url: people.profile(ctx.me)?.avatar }),
      h(
        'div',
        { class: 'card-title' },
        h('h3', { text: name, testid: 'my-name' }),
        h(
          'button',
          { class: 'icon-button small', label: t('edit'), testid: 'my-name-edit', on: { click: () => void edit() } },
          icon('edit'),
        ),
      ),
      h('p', { class: 'muted small', text: ctx.me }),
    );
  });
  scope.add(ctx.client.on('people', show));
  show();
  return element;
}

/** @param {Context} ctx */
function appearance(ctx) {
  /**
   * @template {string} T
   * @param {string} label @param {string} testid @param {T} value @param {[T, string][]} options @param {(value: T) => void} choose
   */
  const setting = (label, testid, value, options, choose) => {
    const select = h(
      'select',
      {
        class: 'field',
        testid,
        attrs: { 'aria-label': label },
        on: { change: () => choose(/** @type {T} */ (select.value)) },
      },
      ...options.map(([key, text]) => h('option', { text, attrs: { value: key, selected: key === value } })),
    );
    return h('label', { class: 'setting' }, h('span', { text: label }), select);
  };
  return h(
    'div',
    { class: 'settings-list' },
    setting(
      t('language'),
      'language',
      language(),
      /** @type {[Language, string][]} */ ([
        ['en', 'English'],
        ['zh', '中文'],
      ]),
      (value) => (setLanguage(value), ctx.shell.emit('language', null)),
    ),
    setting(
      t('theme'),
      'theme',
      theme(),
      /** @type {[Theme, string][]} */ ([
        ['system', t('theme_system')],
        ['light', t('theme_light')],
        ['dark', t('theme_dark')],
      ]),
      setTheme,
    ),
  );
}

/** @param {Context} ctx @param {Scope} scope */
function devices(ctx, scope) {
  const { api } = ctx.client;
  const list = h('ul', { class: 'rows', testid: 'sessions' });
  const show = async () => {
    const { items } = await api.listSessions().catch(() => ({ items: [] }));
    if (scope.ended) return;
    const rows = items.map(({ id, terminal, last_seen, current }) => {
      const key = `terminal_${terminal}`;
      const end = h('button', {
        class: 'button small',
        text: t('end_session'),
        testid: 'session-end',
        on: { click: () => void attempt(api.endSession(id)).then(show) },
      });
      return entryRow({
        picture: h('span', { class: 'avatar plain' }, icon('device')),
        title: isText(key) ? t(key) : terminal,
        line: current ? t('this_device') : t('last_active', { time: full(last_seen) }),
        testid: 'session',
        actions: current ? [] : [end],
      });
    });
    fill(list, ...rows);
  };
  void show();
  return section(t('devices'), list);
}

/** @param {Context} ctx @param {Scope} scope */
function blocked(ctx, scope) {
  const { api, people } = ctx.client;
  const list = h('ul', { class: 'rows', testid: 'blocks' });
  /** @type {Profile[]} */
  let users = [];
  const ask = async () => {
    users = (await api.blocks().catch(() => ({ items: [] }))).items;
    show();
  };
  const show = coalesced(() => {
    if (scope.ended) return;
    const rows = users.map(({ user }) =>
      entryRow({
        picture: avatar(user, people.name(user)),
        title: people.name(user),
        line: user,
        testid: 'blocked',
        id: user,
        actions: [
          h('button', {
            class: 'button small',
            text: t('unblock'),
            testid: 'unblock',
            on: { click: () => void attempt(api.unblock(user)).then(ask) },
          }),
        ],
      }),
    );
    fill(list, ...(rows.length ? rows : [h('li', { class: 'hint', text: t('nobody_blocked') })]));
  });
  scope.add(ctx.client.on('people', show));
  void ask();
  return section(t('blocked_people'), list);
}
