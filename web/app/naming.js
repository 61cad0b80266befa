/**
 * @import {Context} from './context.js'
 * @import {Conversation, Message, Notice} from '../im-client/types.js'
 */
import { isRoom, peerOf } from '../im-client.js';
import { isText, t } from './i18n.js';

const NAMES_SHOWN = 5;

/** What a conversation is called for this user. @param {Context} ctx @param {Pick<Conversation, 'conversation'|'title'>} item */
export function titleOf(ctx, item) {
  const peer = peerOf(item.conversation, ctx.me);
  if (peer === ctx.me) return t('myself');
  if (peer) return ctx.client.people.name(peer);
  return item.title || (isRoom(item.conversation) ? t('room') : item.conversation);
}

/** "you" for oneself, else the name. @param {Context} ctx @param {string} user */
function nameOrYou(ctx, user) {
  return user === ctx.me ? t('you') : ctx.client.people.name(user);
}

/** @param {string} text */
function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {Context} ctx @param {string[]} users @param {number} count */
function names(ctx, users, count) {
  const shown = users.slice(0, NAMES_SHOWN).map((user) => nameOrYou(ctx, user));
  const joined = shown.join(t('separator'));
  return count > shown.length ? t('and_more', { names: joined, count: count - shown.length }) : joined;
}

/**
 * A notification, as the reader would say it.
 *
 * @param {Context} ctx
 * @param {Notice} notice
 */
export function noticeText(ctx, { template, actor, users = [], count, text = '' }) {
  // Who comes by approval is in `users`, who comes alone may be the actor only.
  const shown =
    template === 'group_joined' && !users.length
      ? [actor]
      : users.filter((user) => template !== 'group_created' || user !== actor);
  let key = `notice_${template}`;
  if (template === 'group_created' && shown.length) key = 'notice_group_created_with';
  if (template === 'role_changed' && (text === 'admin' || text === 'member')) key = `notice_role_${text}`;
  const hidden = Math.max(0, (count ?? users.length) - users.length);
  const values = { actor: nameOrYou(ctx, actor), users: names(ctx, shown, shown.length + hidden), text };
  return capital(t(isText(key) ? key : 'notice_unknown', values));
}

/** A message in one line, without its sender. @param {Context} ctx @param {Message} message */
export function gist(ctx, message) {
  if (message.recalled) return t('recalled');
  if (message.kind === 'notification') return noticeText(ctx, /** @type {Notice} */ (message.content));
  if (message.kind === 'text') return String(message.content.text ?? '').replace(/\s+/g, ' ');
  const key = `kind_${message.kind}`;
  return isText(key) ? t(key) : t('kind_custom');
}

/** The last message of a conversation, for its row in the list. @param {Context} ctx @param {Conversation} item */
export function preview(ctx, item) {
  const { last } = item;
  if (!last) return '';
  if (last.recalled) return t('recalled_by', { name: capital(nameOrYou(ctx, last.sender)) });
  if (last.kind === 'notification' || (item.conversation.startsWith('d:') && last.sender !== ctx.me))
    return gist(ctx, last);
  if (item.conversation.startsWith('d:') && peerOf(item.conversation, ctx.me) === ctx.me) return gist(ctx, last);
  return `${capital(nameOrYou(ctx, last.sender))}: ${gist(ctx, last)}`;
}

/** @param {Context} ctx @param {Message} message */
export function recalledText(ctx, message) {
  return t('recalled_by', { name: capital(nameOrYou(ctx, message.sender)) });
}
