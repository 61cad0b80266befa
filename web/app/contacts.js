/**
 * @import {Context} from './context.js'
 * @import {FriendRequest} from '../im-client/types.js'
 */
import { avatar } from './avatar.js';
import { arrowKeys, coalesced, fill, h, keyed, Scope } from './dom.js';
import { attempt } from './errors.js';
import { lastSeen } from './format.js';
import { openAddFriendDialog } from './friend-add.js';
import { openGroupDialog } from './group-create.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { entryRow, section } from './rows.js';

/**
 * Friends, and who would like to be one.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @returns {HTMLElement[]}
 */
export function contactsView(ctx, scope) {
  const { client } = ctx;
  const { api, people } = client;
  const requests = h('div', { testid: 'friend-requests' });
  const friends = h('ul', { class: 'rows', testid: 'friends', attrs: { 'aria-label': t('friends') } });

  /** @type {FriendRequest[]} */
  let open = [];
  const askRequests = async () => {
    open = (await api.friendRequests().catch(() => ({ items: [] }))).items;
    showRequests();
  };
  const showRequests = coalesced(() => {
    if (scope.ended) return;
    /** @param {string} id @param {'accept'|'reject'} verdict */
    const answer = async (id, verdict) => {
      await attempt(api.answerFriendRequest(id, verdict));
      client.emit('requests', null);
      await people.refreshFriends().catch(() => {});
    };
    const rows = open.map(({ id, from, message }) =>
      entryRow({
        picture: avatar(from, people.name(from)),
        title: people.name(from),
        line: message || from,
        testid: 'friend-request',
        id: from,
        actions: [
          h('button', {
            class: 'button small primary',
            text: t('accept'),
            testid: 'friend-accept',
            on: { click: () => void answer(id, 'accept') },
          }),
          h('button', {
            class: 'button small',
            text: t('reject'),
            testid: 'friend-reject',
            on: { click: () => void answer(id, 'reject') },
          }),
        ],
      }),
    );
    fill(requests, rows.length ? section(t('friend_requests'), h('ul', { class: 'rows' }, ...rows)) : null);
  });
  const showFriends = coalesced(() => {
    if (scope.ended) return;
    const all = people.friends();
    void people.watch(all.map(({ user }) => user));
    const rows = all.map(({ user }) => {
      const name = people.name(user);
      const presence = people.presence(user);
      const url = people.profile(user)?.avatar;
      const line = presence?.online ? t('online') : lastSeen(presence?.last_seen);
      return {
        key: user,
        stamp: JSON.stringify([name, line, url]),
        make: () =>
          entryRow({
            picture: avatar(user, name, { url, online: presence?.online }),
            title: name,
            line,
            testid: 'friend',
            id: user,
            run: () => (ctx.openDirect(user), ctx.showPanel(null)),
          }),
      };
    });
    keyed(
      friends,
      rows.length ? rows : [{ key: '', stamp: '', make: () => h('li', { class: 'hint', text: t('no_friends') }) }],
    );
  });
  arrowKeys(friends, '.row');
  scope.add(
    client.on('people', showFriends),
    client.on('people', showRequests),
    client.on('requests', () => void askRequests()),
  );
  void people.refreshFriends().catch(() => {});
  void askRequests();
  showFriends();
  const myself = entryRow({
    picture: avatar(ctx.me, t('myself')),
    title: t('myself'),
    testid: 'contact-myself',
    run: () => ctx.openDirect(ctx.me),
  });
  return [
    h(
      'header',
      { class: 'side-head' },
      h('h1', { text: t('contacts') }),
      h(
        'button',
        {
          class: 'icon-button',
          label: t('add_friend'),
          testid: 'contacts-add',
          on: { click: () => openAddFriendDialog(ctx) },
        },
        icon('person_plus'),
      ),
    ),
    h(
      'div',
      { class: 'scroll' },
      h(
        'div',
        { class: 'actions' },
        h(
          'button',
          { class: 'action', testid: 'contacts-new-group', on: { click: () => openGroupDialog(ctx) } },
          icon('people'),
          h('span', { text: t('new_group') }),
        ),
      ),
      requests,
      section(t('friends'), friends, h('ul', { class: 'rows' }, myself)),
    ),
  ];
}
