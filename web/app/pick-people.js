/** @import {Context} from './context.js' */
import { avatar } from './avatar.js';
import { fill, h } from './dom.js';
import { t } from './i18n.js';

/**
 * Friends with check boxes and a filter.
 *
 * @param {Context} ctx
 * @param {(user: string) => boolean} offered
 * @param {(count: number) => void} onChange
 * @returns {{element: HTMLElement, picked: () => string[]}}
 */
export function pickPeople(ctx, offered, onChange) {
  const { people } = ctx.client;
  /** @type {Set<string>} */
  const picked = new Set();
  const list = h('ul', { class: 'rows tall', testid: 'pick-list', attrs: { 'aria-label': t('pick_members') } });
  const filter = h('input', {
    class: 'field',
    attrs: { type: 'search', placeholder: t('pick_members'), 'aria-label': t('pick_members') },
    on: { input: () => show() },
  });
  const show = () => {
    const low = filter.value.trim().toLowerCase();
    const friends = people
      .friends()
      .filter(({ user }) => offered(user) && `${people.name(user)} ${user}`.toLowerCase().includes(low));
    const rows = friends.map(({ user }) => {
      const box = h('input', {
        attrs: { type: 'checkbox' },
        props: { checked: picked.has(user) },
        on: { change: () => (box.checked ? picked.add(user) : picked.delete(user), onChange(picked.size)) },
      });
      return h(
        'li',
        null,
        h(
          'label',
          { class: 'row', testid: 'pick-row', attrs: { 'data-id': user } },
          avatar(user, people.name(user)),
          h(
            'span',
            { class: 'row-text' },
            h('span', { class: 'row-title', text: people.name(user) }),
            h('span', { class: 'row-preview', text: user }),
          ),
          box,
        ),
      );
    });
    fill(
      list,
      ...(rows.length ? rows : [h('li', { class: 'hint', text: low ? t('nothing_found') : t('no_friends_yet') })]),
    );
  };
  void people.refreshFriends().then(show, () => {});
  show();
  return { element: h('div', { class: 'stack' }, filter, list), picked: () => [...picked] };
}
