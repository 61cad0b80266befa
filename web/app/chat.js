/** @import {Context} from './context.js' */
import { groupOf, isRoom, peerOf } from '../im-client.js';
import { avatar } from './avatar.js';
import { composer } from './composer.js';
import { conversationMenu } from './conversations.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { lastSeen } from './format.js';
import { groupInfo } from './group-info.js';
import { icon } from './icons.js';
import { counted, t } from './i18n.js';
import { below, openMenu } from './menu.js';
import { messagesView } from './messages.js';
import { titleOf } from './naming.js';
import { leaveRoom } from './rooms.js';
import { typists } from './typing.js';

/**
 * An open conversation: who it is with, its messages, and where to write.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} conversation
 */
export function chatView(ctx, scope, conversation) {
  const body = h('div', { class: 'chat-body' });
  const element = h(
    'div',
    { class: 'chat', testid: 'chat', attrs: { 'data-conversation': conversation } },
    header(ctx, scope, conversation),
    body,
  );
  void ctx.client.timeline(conversation).then((timeline) => {
    if (scope.ended) return;
    const write = composer(ctx, scope, conversation);
    const messages = messagesView(ctx, scope, timeline, { reply: write.reply });
    fill(body, messages, write.element);
    scope.add(() => timeline.trim());
    const placed = ctx.client.list.get(conversation)?.incarnation === 0;
    // Nothing is there to ask for before the first message of a direct conversation.
    if (!(placed && peerOf(conversation, ctx.me))) void timeline.catchUp().catch(() => {});
  });
  return element;
}

/** @param {Context} ctx @param {string} conversation @returns {import('./menu.js').Entry[]} */
function roomMenu(ctx, conversation) {
  const copy = {
    text: t('copy_id'),
    icon: /** @type {const} */ ('copy'),
    run: () => void attempt(navigator.clipboard.writeText(conversation.slice(2))),
  };
  const leave = {
    text: t('leave_room'),
    icon: /** @type {const} */ ('door'),
    testid: 'room-leave',
    run: () => void leaveRoom(ctx, conversation),
  };
  return navigator.clipboard ? [copy, leave] : [leave];
}

/** @param {Context} ctx @param {Scope} scope @param {string} conversation */
function header(ctx, scope, conversation) {
  const { client } = ctx;
  const peer = peerOf(conversation, ctx.me);
  const group = groupOf(conversation);
  const info = group ? groupInfo(ctx, group) : null;
  const picture = h('span', { class: 'chat-picture' });
  const title = h('h2', { class: 'chat-title', testid: 'chat-title' });
  const line = h('p', { class: 'chat-subtitle', testid: 'chat-subtitle' });
  const more = h(
    'button',
    {
      class: 'icon-button',
      label: t('more'),
      testid: 'chat-menu',
      on: {
        click: () => {
          const item = client.list.get(conversation);
          if (!item) return;
          openMenu(below(more), isRoom(conversation) ? roomMenu(ctx, conversation) : conversationMenu(ctx, item));
        },
      },
    },
    icon('more'),
  );

  const subtitle = () => {
    const typing = typists(ctx).text(conversation);
    if (typing) return typing;
    if (peer === ctx.me) return '';
    if (peer) {
      const presence = client.people.presence(peer);
      return presence?.online ? t('online') : presence ? lastSeen(presence.last_seen) : '';
    }
    if (isRoom(conversation)) return t('room_id_is', { id: conversation.slice(2) });
    const members = info?.group?.members;
    return members ? counted('member', 'members_count', members) : '';
  };
  const show = coalesced(() => {
    if (scope.ended) return;
    const item = client.list.get(conversation);
    const name = item ? titleOf(ctx, item) : conversation;
    const online = Boolean(peer && peer !== ctx.me && client.people.presence(peer)?.online);
    fill(
      picture,
      avatar(peer ?? conversation, name, { url: peer ? client.people.profile(peer)?.avatar : null, online }),
    );
    title.textContent = name;
    line.textContent = subtitle();
    line.classList.toggle('active', online || typists(ctx).text(conversation) !== null);
  });
  scope.add(client.on('conversations', show), client.on('people', show), typists(ctx).on('changed', show));
  if (info) scope.add(info.on('changed', show));
  show();

  const openInfo = () => !isRoom(conversation) && ctx.showPanel({ kind: 'info' });
  return h(
    'header',
    { class: 'chat-head' },
    h(
      'button',
      { class: 'icon-button back', label: t('back'), testid: 'back', on: { click: () => ctx.open(null) } },
      icon('back'),
    ),
    h(
      'button',
      { class: 'chat-who', testid: 'chat-who', on: { click: openInfo } },
      picture,
      h('span', { class: 'chat-names' }, title, line),
    ),
    isRoom(conversation)
      ? null
      : h(
          'button',
          { class: 'icon-button', label: t('info'), testid: 'chat-info', on: { click: openInfo } },
          icon('info'),
        ),
    more,
  );
}
