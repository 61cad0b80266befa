/** @import {Context, Tab} from './context.js' */
import { coalesced, h, Scope } from './dom.js';
import { avatar } from './avatar.js';
import { icon } from './icons.js';
import { t } from './i18n.js';

/** @type {{tab: Tab, icon: Parameters<typeof icon>[0]}[]} */
const TABS = [
  { tab: 'chats', icon: 'chat' },
  { tab: 'contacts', icon: 'people' },
  { tab: 'settings', icon: 'settings' },
];

/**
 * The way between the parts of the page; a bar at the bottom on narrow screens.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 */
export function rail(ctx, scope) {
  const { client, shell } = ctx;
  const me = h('span', { class: 'rail-me', testid: 'me', title: ctx.me });
  const buttons = TABS.map(({ tab, icon: name }) => {
    const badge = h('span', { class: 'badge', testid: `badge-${tab}`, attrs: { hidden: true } });
    const button = h(
      'button',
      {
        class: 'rail-button',
        label: t(tab),
        testid: `tab-${tab}`,
        on: { click: () => (ctx.open(innerWidth < 760 ? null : ctx.opened()), ctx.showTab(tab)) },
      },
      icon(name),
      badge,
      h('span', { class: 'rail-label', text: t(tab) }),
    );
    return { tab, button, badge };
  });
  /** @param {Tab} tab @param {number} count */
  const count = (tab, count) => {
    const { badge } = /** @type {typeof buttons[0]} */ (buttons.find((it) => it.tab === tab));
    badge.hidden = count === 0;
    badge.textContent = count > 99 ? '99+' : String(count);
  };
  const show = coalesced(() => {
    const name = client.people.name(ctx.me);
    me.replaceChildren(avatar(ctx.me, name, { url: client.people.profile(ctx.me)?.avatar }));
    me.title = `${name} (${ctx.me})`;
    count(
      'chats',
      client.list.sorted().reduce((sum, item) => sum + (item.do_not_disturb ? 0 : item.unread), 0),
    );
  });
  const requests = () =>
    void client.api.friendRequests().then(
      ({ items }) => count('contacts', items.length),
      () => {},
    );
  scope.add(
    client.on('people', show),
    client.on('conversations', show),
    client.on('requests', requests),
    shell.on('tab', (tab) => {
      for (const it of buttons) it.button.setAttribute('aria-current', String(it.tab === tab));
    }),
  );
  show();
  requests();
  return h('nav', { class: 'rail' }, me, ...buttons.map(({ button }) => button));
}
