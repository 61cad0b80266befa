/**
 * @import {Context} from './context.js'
 * @import {Timeline} from '../im-client.js'
 * @import {Message, Notice, Unsent} from '../im-client/types.js'
 * @import {Row} from './dom.js'
 * @import {Entry} from './menu.js'
 * @import {GroupInfo} from './group-info.js'
 */
import { peerOf } from '../im-client.js';
import { avatar, colour } from './avatar.js';
import { confirmed } from './dialog.js';
import { h } from './dom.js';
import { attempt, codeText } from './errors.js';
import { clock, full } from './format.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { below, openMenu } from './menu.js';
import { gist, noticeText, recalledText } from './naming.js';
import { quote } from './quote.js';
import { rich } from './text.js';
import { toast } from './toast.js';

/**
 * @typedef {object} Place              what a row needs to know besides its message
 * @property {Timeline} timeline
 * @property {GroupInfo|null} info
 * @property {boolean} first            of a run of one sender
 * @property {boolean} last
 * @property {(message: Message) => void} reply
 * @property {(seq: number) => void} jumpTo
 */

/** A line between messages. @param {string} key @param {string} kind @param {string} text @returns {Row} */
export function dividerRow(key, kind, text) {
  return {
    key,
    stamp: text,
    make: () => h('li', { class: `line ${kind}`, testid: kind, attrs: { role: 'separator' } }, h('span', { text })),
  };
}

/** @param {Context} ctx @param {Message} message @param {Place} place @returns {Row} */
export function messageRow(ctx, message, place) {
  const key =
    message.sender === ctx.me && message.client_message_id ? `c ${message.client_message_id}` : `s ${message.seq}`;
  if (message.kind === 'notification') {
    const text = noticeText(ctx, /** @type {Notice} */ (message.content));
    return {
      key,
      stamp: text,
      make: () =>
        h(
          'li',
          { class: 'line notice', testid: 'notice', attrs: { 'data-seq': message.seq } },
          h('span', { text, title: full(message.time) }),
        ),
    };
  }
  if (message.recalled) {
    const text = recalledText(ctx, message);
    return {
      key,
      stamp: text,
      make: () =>
        h('li', { class: 'line notice', testid: 'recalled', attrs: { 'data-seq': message.seq } }, h('span', { text })),
    };
  }
  const mine = message.sender === ctx.me;
  const direct = message.conversation.startsWith('d:');
  const name = place.info ? place.info.name(message.sender) : ctx.client.people.name(message.sender);
  const url = ctx.client.people.profile(message.sender)?.avatar;
  const receipt = mine ? receiptOf(ctx, message) : null;
  const mentions = mentionsOf(ctx, message, place);
  const quoted = message.reply_to ? quote(ctx, place.timeline, message.reply_to) : null;
  const admin = place.info?.admin ?? false;
  const stamp = JSON.stringify([
    message.rev,
    place.first,
    place.last,
    name,
    url,
    receipt,
    mentions,
    quoted?.stamp,
    admin,
  ]);
  /** @param {MouseEvent} event */
  const contextMenu = (event) => {
    if (String(getSelection())) return; // the browser's own menu copies a selection
    event.preventDefault();
    openMenu({ x: event.clientX, y: event.clientY }, actionsOf(ctx, message, place));
  };
  const make = () => {
    const more = h(
      'button',
      {
        class: 'icon-button small',
        label: t('message_info'),
        testid: 'message-menu',
        on: { click: () => openMenu(below(more), actionsOf(ctx, message, place)) },
      },
      icon('more'),
    );
    return h(
      'li',
      {
        class: `message ${mine ? 'mine' : 'theirs'}${place.first ? ' first' : ''}${place.last ? ' last' : ''}${direct ? '' : ' grouped'}`,
        testid: 'message',
        attrs: { 'data-seq': message.seq, 'data-sender': message.sender },
      },
      direct || mine
        ? null
        : place.last
          ? h(
              'button',
              {
                class: 'message-face',
                label: name,
                on: { click: () => ctx.showPanel({ kind: 'person', user: message.sender }) },
              },
              avatar(message.sender, name, { url, size: 'small' }),
            )
          : h('span', { class: 'message-face' }),
      h(
        'div',
        { class: 'bubble', on: { contextmenu: contextMenu } },
        !mine && !direct && place.first
          ? h('div', { class: `sender ink-${colour(message.sender)}`, text: name, testid: 'sender' })
          : null,
        quoted?.make(() => message.reply_to && place.jumpTo(message.reply_to)),
        content(ctx, message, mentions),
        h(
          'span',
          { class: 'meta' },
          h('time', { text: clock(message.time), title: full(message.time) }),
          receipt ? receiptMark(ctx, message, receipt) : null,
        ),
      ),
      h(
        'div',
        { class: 'message-actions' },
        h(
          'button',
          {
            class: 'icon-button small',
            label: t('reply'),
            testid: 'message-reply',
            on: { click: () => place.reply(message) },
          },
          icon('reply'),
        ),
        more,
      ),
    );
  };
  return { key, stamp, make };
}

/** A message on its way out. @param {Context} ctx @param {Unsent} unsent @param {{first: boolean, last: boolean}} place @returns {Row} */
export function unsentRow(ctx, unsent, { first, last }) {
  const { client_message_id: id, state, code, body } = unsent;
  const { outbox } = ctx.client;
  const failed = state === 'failed';
  const label = failed ? t('state_failed') : state === 'sent' ? t('state_sent') : t('state_queued');
  const make = () =>
    h(
      'li',
      {
        class: `message mine${first ? ' first' : ''}${last ? ' last' : ''} unsent${failed ? ' failed' : ''}`,
        testid: 'message',
        attrs: { 'data-state': state, 'data-sender': ctx.me },
      },
      h(
        'div',
        { class: 'bubble' },
        h('div', { class: 'text' }, ...rich(String(body.content.text ?? ''), [])),
        h(
          'span',
          { class: 'meta' },
          h('time', { text: clock(unsent.created) }),
          h(
            'span',
            { class: 'receipt', title: label, testid: 'receipt', attrs: { 'data-state': state } },
            icon(failed ? 'warning' : state === 'sent' ? 'check' : 'clock'),
          ),
        ),
      ),
      failed
        ? h(
            'div',
            { class: 'failure', attrs: { role: 'alert' } },
            h('span', { text: codeText(code ?? 'internal'), testid: 'failure' }),
            h('button', {
              class: 'link',
              text: t('retry'),
              testid: 'failed-retry',
              on: { click: () => void outbox.retry(id) },
            }),
            h('button', {
              class: 'link danger',
              text: t('delete'),
              testid: 'failed-delete',
              on: { click: () => void outbox.drop(id) },
            }),
          )
        : null,
    );
  return { key: `c ${id}`, stamp: `${state} ${code} ${first} ${last}`, make };
}

/** @param {Context} ctx @param {Message} message @param {{token: string, mine: boolean}[]} mentions */
function content(ctx, message, mentions) {
  const text = message.content.text;
  if (message.kind === 'text' || typeof text === 'string')
    return h('div', { class: 'text', testid: 'text' }, ...rich(String(text ?? ''), mentions));
  return h(
    'div',
    { class: 'text other-kind', testid: 'text' },
    `[${gist(ctx, message)}]`,
    typeof message.content.name === 'string' ? ` ${message.content.name}` : null,
  );
}

/** The "@name" forms that stand for somebody in this message. @param {Context} ctx @param {Message} message @param {Place} place */
function mentionsOf(ctx, message, place) {
  const tokens = (message.mentions ?? []).flatMap((user) => {
    const profile = ctx.client.people.profile(user);
    const names = new Set([place.info?.name(user), profile?.name, ctx.client.people.name(user), user]);
    return [...names].filter((name) => name).map((name) => ({ token: `@${name}`, mine: user === ctx.me }));
  });
  if (message.mention_all)
    for (const word of ['@all', '@所有人', '@Everyone']) tokens.push({ token: word, mine: true });
  return tokens;
}

/** @param {Context} ctx @param {Message} message */
function receiptOf(ctx, message) {
  const { conversation, seq } = message;
  const peer = peerOf(conversation, ctx.me);
  if (peer === ctx.me) return { state: /** @type {const} */ ('read'), count: 0 };
  if (peer) {
    const receipt = ctx.client.receipts.of(conversation, peer);
    const state = (receipt?.read ?? 0) >= seq ? 'read' : (receipt?.delivered ?? 0) >= seq ? 'delivered' : 'sent';
    return { state, count: 0 };
  }
  const count = ctx.client.receipts.readers(conversation, seq, ctx.me);
  return { state: count ? 'read' : 'sent', count };
}

/** @param {Context} ctx @param {Message} message @param {{state: string, count: number}} receipt */
function receiptMark(ctx, message, { state, count }) {
  const label =
    state === 'read'
      ? count
        ? t('read_by', { count })
        : t('state_read')
      : state === 'delivered'
        ? t('state_delivered')
        : t('state_sent');
  const mark = h(
    'span',
    {
      class: `receipt ${state}`,
      title: label,
      testid: 'receipt',
      attrs: { 'data-state': state, role: 'img', 'aria-label': label },
    },
    icon(state === 'sent' ? 'check' : 'checks'),
  );
  if (message.conversation.startsWith('d:')) return mark;
  return h(
    'button',
    {
      class: 'receipt-button',
      testid: 'readers-open',
      label,
      on: { click: () => ctx.showPanel({ kind: 'readers', seq: message.seq }) },
    },
    mark,
    count ? h('span', { text: String(count), testid: 'read-count' }) : null,
  );
}

/** @param {Context} ctx @param {Message} message @param {Place} place @returns {Entry[]} */
function actionsOf(ctx, message, place) {
  const { conversation, seq } = message;
  const mine = message.sender === ctx.me;
  const text = String(message.content.text ?? '');
  const copy = async () => {
    if (await attempt(navigator.clipboard.writeText(text).then(() => true))) toast(t('copied'));
  };
  const recall = async () => {
    if (await confirmed(t('recall_confirm'), t('recall'))) await attempt(ctx.client.api.recall(conversation, seq));
  };
  /** @type {Entry[]} */
  const entries = [{ text: t('reply'), icon: 'reply', testid: 'action-reply', run: () => place.reply(message) }];
  if (text && navigator.clipboard)
    entries.push({ text: t('copy'), icon: 'copy', testid: 'action-copy', run: () => void copy() });
  if (mine && conversation.startsWith('g:'))
    entries.push({
      text: t('readers'),
      icon: 'eye',
      testid: 'action-readers',
      run: () => ctx.showPanel({ kind: 'readers', seq }),
    });
  if (mine || place.info?.admin)
    entries.push({ text: t('recall'), icon: 'undo', danger: true, testid: 'action-recall', run: () => void recall() });
  return entries;
}
