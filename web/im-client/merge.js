/** @import {Conversation, Message, Span} from './types.js' */
import { isRoom } from './ids.js';

/**
 * Of two versions of a message the one changed last; the new one on equality.
 *
 * @param {Message|undefined} old
 * @param {Message} next
 */
export function newer(old, next) {
  return old && old.rev > next.rev ? old : next;
}

/**
 * Put messages into a list sorted by seq, each seq once, by {@link newer}.
 *
 * @param {Message[]} list  sorted; not changed
 * @param {Message[]} incoming  any order
 * @returns {Message[]} sorted
 */
export function mergeMessages(list, incoming) {
  const last = list.at(-1)?.seq ?? 0;
  if (incoming.length === 1 && incoming[0].seq > last) return [...list, incoming[0]];
  const bySeq = new Map(list.map((message) => [message.seq, message]));
  for (const message of incoming) bySeq.set(message.seq, newer(bySeq.get(message.seq), message));
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}

/**
 * What two windows of one browser hold of a conversation, put together. They share one store, so ranges that touch add
 * up; of ranges apart the newer one stays, because a range must have no holes.
 *
 * @param {Span|undefined} stored
 * @param {Span} span
 * @returns {Span}
 */
export function mergeSpans(stored, span) {
  if (!stored || stored.incarnation < span.incarnation) return span;
  if (stored.incarnation > span.incarnation) return stored;
  const touch = span.base <= stored.seq + 1 && stored.base <= span.seq + 1;
  if (!touch) return stored.seq > span.seq ? stored : span;
  return {
    ...span,
    base: Math.min(stored.base, span.base),
    seq: Math.max(stored.seq, span.seq),
    // A change applied by either window is in the store that both read.
    rev: Math.max(stored.rev, span.rev),
  };
}

/**
 * The server's item over ours. The read position never moves back: ours may be ahead when the server lost it or has not
 * heard of it yet.
 *
 * @param {Conversation|undefined} local
 * @param {Conversation} remote
 * @returns {Conversation}
 */
export function mergeConversation(local, remote) {
  const confirmed = remote.read;
  if (!local || local.incarnation !== remote.incarnation) return { ...remote, confirmed };
  const merged = { ...remote, confirmed, rev: Math.max(local.rev, remote.rev) };
  // An answer may be older than a push that overtook it.
  if (local.head > remote.head)
    Object.assign(merged, { head: local.head, last: local.last, updated: local.updated, unread: local.unread });
  else if (local.last && merged.last && local.last.seq === merged.last.seq)
    merged.last = newer(local.last, merged.last);
  if (local.read > remote.read) {
    merged.read = local.read;
    merged.unread = local.read >= merged.head ? 0 : Math.min(local.unread, merged.unread);
    merged.mentioned = merged.unread > 0 && Boolean(merged.mentioned);
  }
  return merged;
}

/**
 * A new message over its conversation's item.
 *
 * @param {Conversation} item
 * @param {Message} message
 * @param {string} me
 * @returns {Conversation}
 */
export function withMessage(item, message, me) {
  if (message.seq <= item.head) return item;
  const counts =
    !isRoom(message.conversation) &&
    message.sender !== me &&
    message.kind !== 'notification' &&
    message.seq > item.read;
  const mentions = message.sender !== me && (message.mention_all || (message.mentions ?? []).includes(me));
  const renamed = message.kind === 'notification' && message.content.template === 'group_renamed';
  return {
    ...item,
    title: renamed ? message.content.text : item.title,
    head: message.seq,
    rev: Math.max(item.rev, message.rev),
    last: message,
    updated: message.time,
    unread: item.unread + (counts ? 1 : 0),
    mentioned: Boolean(item.mentioned) || Boolean(counts && mentions),
  };
}

/**
 * A read position over its conversation's item; a lower one changes nothing.
 *
 * @param {Conversation} item
 * @param {number} seq
 * @param {Message[]} messages  what is held of the conversation, to count what stays unread
 * @param {string} me
 * @returns {Conversation}
 */
export function withRead(item, seq, messages, me) {
  const read = Math.min(seq, item.head);
  if (read <= item.read) return item;
  const left =
    read >= item.head ? [] : messages.filter((m) => m.seq > read && m.sender !== me && m.kind !== 'notification');
  return {
    ...item,
    read,
    unread: left.length,
    mentioned: left.some((m) => m.mention_all || (m.mentions ?? []).includes(me)),
  };
}

/**
 * Pinned first, then the newest.
 *
 * @param {Conversation} a
 * @param {Conversation} b
 */
export function byRecency(a, b) {
  return (
    Number(b.pinned ?? false) - Number(a.pinned ?? false) ||
    b.updated - a.updated ||
    (a.conversation < b.conversation ? -1 : 1)
  );
}
