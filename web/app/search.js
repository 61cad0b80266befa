/**
 * @import {Context} from './context.js'
 */
import { peerOf } from '../im-client.js';
import { avatar } from './avatar.js';
import { arrowKeys, fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { requestFriend } from './friend-add.js';
import { t } from './i18n.js';
import { titleOf } from './naming.js';
import { entryRow, section } from './rows.js';
import { toast } from './toast.js';

/** Typing pauses this long before the server is asked. */
const PAUSE_MS = 250;

/**
 * Conversations, friends, people and groups that fit a query: what is known at once, the rest from the server.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} query
 * @param {() => void} done  something was chosen
 */
export function searchResults(ctx, scope, query, done) {
  const { api, list, people } = ctx.client;
  const low = query.toLowerCase();
  /** @param {...string} texts */
  const fits = (...texts) => texts.some((text) => text.toLowerCase().includes(low));
  const element = h('div', { testid: 'search-results' });
  const remote = h('div', null, h('p', { class: 'hint', text: t('searching') }));

  const chats = list.sorted().filter((item) => fits(titleOf(ctx, item), peerOf(item.conversation, ctx.me) ?? ''));
  const chatRows = chats.slice(0, 20).map((item) => {
    const title = titleOf(ctx, item);
    const picture = avatar(peerOf(item.conversation, ctx.me) ?? item.conversation, title);
    return entryRow({
      picture,
      title,
      testid: 'found-chat',
      id: item.conversation,
      run: () => (ctx.open(item.conversation), done()),
    });
  });
  const listed = new Set(chats.map((item) => peerOf(item.conversation, ctx.me)));
  const friends = people
    .friends()
    .filter((friend) => !listed.has(friend.user) && fits(friend.user, friend.name, friend.remark ?? ''));
  const friendRows = friends.slice(0, 20).map(({ user }) => {
    const title = people.name(user);
    return entryRow({
      picture: avatar(user, title),
      title,
      line: user,
      testid: 'found-friend',
      id: user,
      run: () => (ctx.openDirect(user), done()),
    });
  });

  const ask = async () => {
    const [users, groups] = await Promise.all([
      api.searchUsers(query).catch(() => ({ items: [] })),
      api.searchGroups(query).catch(() => ({ items: [] })),
    ]);
    if (scope.ended) return;
    const strangers = users.items.filter(({ user }) => user !== ctx.me && !people.isFriend(user));
    const others = groups.items.filter(({ conversation }) => !list.get(conversation));
    people.learn(strangers);
    const userRows = strangers.map(({ user, name, avatar: url }) =>
      entryRow({
        picture: avatar(user, name, { url }),
        title: name,
        line: user,
        testid: 'found-user',
        id: user,
        run: () => (ctx.openDirect(user), done()),
        actions: [
          h('button', {
            class: 'button small',
            text: t('add_friend'),
            testid: 'found-user-add',
            on: { click: () => void requestFriend(ctx, user, '') },
          }),
        ],
      }),
    );
    /** @param {string} group */
    const join = async (group) => {
      const answer = await attempt(api.requestJoin(group, '').then((answer) => answer ?? {}));
      if (!answer) return;
      if (!answer.joined) toast(t('join_sent'));
      done();
    };
    const groupRows = others.map((group) =>
      entryRow({
        picture: avatar(group.conversation, group.name),
        title: group.name,
        line: t('members_count', { count: group.members }),
        testid: 'found-group',
        id: group.group,
        actions:
          group.join === 'invite'
            ? []
            : [
                h('button', {
                  class: 'button small',
                  text: t('join'),
                  testid: 'found-group-join',
                  on: { click: () => void join(group.group) },
                }),
              ],
      }),
    );
    const nothing = !chatRows.length && !friendRows.length && !userRows.length && !groupRows.length;
    fill(
      remote,
      userRows.length ? section(t('people'), h('ul', { class: 'rows' }, ...userRows)) : null,
      groupRows.length ? section(t('groups'), h('ul', { class: 'rows' }, ...groupRows)) : null,
      nothing ? h('p', { class: 'hint', text: t('nothing_found') }) : null,
    );
  };
  const timer = setTimeout(() => void ask(), PAUSE_MS);
  scope.add(() => clearTimeout(timer));

  arrowKeys(element, '.row[tabindex]');
  fill(
    element,
    chatRows.length ? section(t('chats'), h('ul', { class: 'rows' }, ...chatRows)) : null,
    friendRows.length ? section(t('friends'), h('ul', { class: 'rows' }, ...friendRows)) : null,
    remote,
  );
  return element;
}
