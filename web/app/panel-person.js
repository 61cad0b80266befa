/** @import {Context} from './context.js' */
import { groupOf, peerOf } from '../im-client.js';
import { avatar } from './avatar.js';
import { asked, confirmed } from './dialog.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { lastSeen } from './format.js';
import { requestFriend } from './friend-add.js';
import { icon } from './icons.js';
import { t } from './i18n.js';

/**
 * About a person: who it is, and what the two of us are.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} user
 */
export function personPanel(ctx, scope, user) {
  const { api, people } = ctx.client;
  const element = h('div', { class: 'stack', testid: 'person' });
  let blocked = false;
  void people.watch(user === ctx.me ? [] : [user]);

  const remark = async () => {
    const friend = people.friends().find((it) => it.user === user);
    const text = await asked(t('remark'), { value: friend?.remark ?? '' });
    if (text === null) return;
    await attempt(api.remarkFriend(user, text).then(() => people.refreshFriends()));
  };
  const unfriend = async () => {
    if (!(await confirmed(t('remove_friend_confirm', { name: people.name(user) }), t('remove_friend')))) return;
    await attempt(api.removeFriend(user).then(() => people.refreshFriends()));
  };
  const block = async () => {
    if (!blocked && !(await confirmed(t('block_confirm', { name: people.name(user) }), t('block')))) return;
    const done = await attempt((blocked ? api.unblock(user) : api.block(user)).then(() => true));
    if (done) blocked = !blocked;
    show();
  };
  const show = coalesced(() => {
    if (scope.ended) return;
    const profile = people.profile(user);
    const presence = people.presence(user);
    const friend = people.isFriend(user);
    const conversation = ctx.opened() ?? '';
    const here = peerOf(conversation, ctx.me) === user;
    /** @param {string} text @param {Parameters<typeof icon>[0]} name @param {() => void} run @param {string} testid @param {boolean} [danger] */
    const action = (text, name, run, testid, danger) =>
      h(
        'button',
        { class: danger ? 'action danger' : 'action', testid, on: { click: run } },
        icon(name),
        h('span', { text }),
      );
    fill(
      element,
      h(
        'div',
        { class: 'card' },
        avatar(user, people.name(user), { size: 'large', url: profile?.avatar, online: presence?.online }),
        h('h3', { text: people.name(user), testid: 'person-name' }),
        h('p', {
          class: 'muted small',
          text: profile && profile.name !== people.name(user) ? `${profile.name} · ${user}` : user,
        }),
        user === ctx.me
          ? null
          : h('p', { class: 'muted small', text: presence?.online ? t('online') : lastSeen(presence?.last_seen) }),
      ),
      user === ctx.me
        ? null
        : h(
            'div',
            { class: 'actions' },
            here ? null : action(t('message'), 'chat', () => ctx.openDirect(user), 'person-message'),
            groupOf(conversation)
              ? action(
                  `@${people.name(user)}`,
                  'megaphone',
                  () => ctx.shell.emit('mention', { conversation, user }),
                  'person-mention',
                )
              : null,
            friend
              ? action(t('remark'), 'edit', () => void remark(), 'person-remark')
              : action(t('add_friend'), 'person_plus', () => void requestFriend(ctx, user, ''), 'person-add'),
            action(blocked ? t('unblock') : t('block'), 'block', () => void block(), 'person-block', !blocked),
            friend ? action(t('remove_friend'), 'trash', () => void unfriend(), 'person-unfriend', true) : null,
          ),
    );
  });
  void api.blocks().then(
    ({ items }) => {
      blocked = items.some((it) => it.user === user);
      show();
    },
    () => {},
  );
  scope.add(ctx.client.on('people', show));
  show();
  return element;
}
