/**
 * @import {Context} from './context.js'
 * @import {Timeline} from '../im-client.js'
 * @import {Message} from '../im-client/types.js'
 * @import {Row} from './dom.js'
 */
import { groupOf, isRoom, peerOf } from '../im-client.js';
import { coalesced, h, keyed, Scope } from './dom.js';
import { day, dayKey } from './format.js';
import { groupInfo } from './group-info.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { dividerRow, messageRow, unsentRow } from './message-row.js';

/** So close to the end counts as being there. */
const AT_END_PX = 60;
/** So close to the top the next page is fetched. */
const NEAR_TOP_PX = 300;
/** Messages of one sender this close together are one run. */
const RUN_MS = 5 * 60_000;
/** How far back a jump to a quoted message goes. */
const JUMP_PAGES = 25;

/**
 * The messages of a conversation, with what goes between them, scrolled by rules: the end stays in sight while one is
 * there, older ones come in above without moving what is read, and what was seen is told as read.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {Timeline} timeline
 * @param {{reply: (message: Message) => void}} options
 */
export function messagesView(ctx, scope, timeline, { reply }) {
  const { client } = ctx;
  const { conversation } = timeline;
  const group = groupOf(conversation);
  const info = group ? groupInfo(ctx, group) : null;
  const list = h('ol', { class: 'messages', testid: 'messages', attrs: { role: 'log', 'aria-live': 'polite' } });
  const scroller = h('div', { class: 'scroller', testid: 'scroller', attrs: { tabindex: 0 } }, list);
  const unseen = h('span', { class: 'badge', attrs: { hidden: true } });
  const jump = h(
    'button',
    { class: 'jump', label: t('jump_down'), testid: 'jump', attrs: { hidden: true }, on: { click: () => toEnd(true) } },
    icon('down'),
    unseen,
  );
  const item = client.list.get(conversation);
  /** Where "new messages" begins: fixed while the conversation is open. @type {number|null} */
  let readBefore = item && item.unread > 0 ? item.read : null;
  let atEnd = true;
  let opened = false;

  /** @param {boolean} [smooth] */
  const toEnd = (smooth = false) => {
    atEnd = true;
    scroller.scrollTo({ top: scroller.scrollHeight, behavior: smooth ? 'smooth' : 'instant' });
  };

  const render = () => {
    if (scope.ended) return;
    const { scrollHeight, scrollTop } = scroller;
    const firstBefore = list.querySelector('[data-seq]')?.getAttribute('data-seq');
    keyed(list, rows());
    const firstNow = list.querySelector('[data-seq]')?.getAttribute('data-seq');
    if (!opened && timeline.messages.length) {
      opened = true;
      const divider = list.querySelector('[data-testid="divider"]');
      if (divider)
        scroller.scrollTop += divider.getBoundingClientRect().top - scroller.getBoundingClientRect().top - 80;
      else toEnd();
      atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END_PX;
    } else if (atEnd) toEnd();
    else if (firstNow !== firstBefore) scroller.scrollTop = scrollTop + (scroller.scrollHeight - scrollHeight);
    afterScroll();
  };
  const show = coalesced(render);

  /** @returns {Row[]} */
  const rows = () => {
    /** @type {Row[]} */
    const result = [];
    const { messages } = timeline;
    const unsent = client.outbox.of(conversation);
    if (timeline.complete && messages.length) result.push(dividerRow('beginning', 'beginning', t('beginning')));
    let divided = readBefore === null;
    messages.forEach((message, i) => {
      const before = messages[i - 1];
      const newDay = !before || dayKey(before.time) !== dayKey(message.time);
      if (newDay) result.push(dividerRow(`day ${dayKey(message.time)}`, 'day', day(message.time)));
      const fresh =
        !divided &&
        message.seq > /** @type {number} */ (readBefore) &&
        message.sender !== ctx.me &&
        message.kind !== 'notification';
      if (fresh) {
        divided = true;
        result.push(dividerRow('new', 'divider', t('new_messages')));
      }
      const first = newDay || fresh || !sameRun(before, message);
      const after = messages[i + 1];
      const last = !after || !sameRun(message, after) || dayKey(after.time) !== dayKey(message.time);
      result.push(messageRow(ctx, message, { timeline, info, first, last, reply, jumpTo }));
    });
    const there = new Set(messages.map((message) => message.client_message_id));
    const pending = unsent.filter((it) => !there.has(it.client_message_id));
    pending.forEach((it, i) => result.push(unsentRow(ctx, it, { first: i === 0, last: i === pending.length - 1 })));
    return result;
  };

  /** @param {number} seq */
  const jumpTo = async (seq) => {
    for (let page = 0; page < JUMP_PAGES && !timeline.messages.some((message) => message.seq === seq); page++) {
      if (!(await timeline.older().catch(() => false))) break;
    }
    atEnd = false;
    render();
    const target = list.querySelector(`[data-seq="${seq}"]`);
    if (!target) return;
    target.scrollIntoView({ block: 'center', behavior: 'smooth' });
    target.classList.add('flash');
    setTimeout(() => target.classList.remove('flash'), 1500);
  };

  /** The last message that is in sight, or null. */
  const seen = () => {
    const bottom = scroller.getBoundingClientRect().bottom;
    const shown = /** @type {HTMLElement[]} */ ([...list.querySelectorAll('[data-seq]')]);
    const last = shown.findLast((element) => element.getBoundingClientRect().top < bottom - 16);
    return last ? Number(last.dataset.seq) : null;
  };

  const afterScroll = () => {
    if (document.visibilityState === 'visible' && document.hasFocus() && opened) {
      const seq = atEnd ? timeline.seq : seen();
      if (seq && !isRoom(conversation)) void client.read(conversation, seq);
    }
    if (scroller.scrollTop < NEAR_TOP_PX && timeline.messages.length) void timeline.older().catch(() => {});
    const left = client.list.get(conversation)?.unread ?? 0;
    jump.hidden = atEnd;
    unseen.hidden = left === 0;
    unseen.textContent = left > 99 ? '99+' : String(left);
  };

  scroller.addEventListener(
    'scroll',
    () => {
      atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END_PX;
      afterScroll();
    },
    { passive: true },
  );
  // The keyboard of a phone, a panel, a longer draft: what was at the end stays at the end.
  const resized = new ResizeObserver(() => atEnd && toEnd());
  resized.observe(scroller);

  // Read positions of others that came while this window was closed are known for the last message only.
  const askReaders = () => {
    const mine = timeline.messages.findLast(
      (message) => message.sender === ctx.me && message.kind !== 'notification' && !message.recalled,
    );
    if (!mine || isRoom(conversation) || peerOf(conversation, ctx.me) === ctx.me) return;
    void client.api.readers(conversation, mine.seq).then(
      ({ items }) => {
        for (const { user, read } of items)
          client.receipts.take({ conversation, user, read: Math.max(read, mine.seq), delivered: 0 });
      },
      () => {},
    );
  };
  askReaders();

  scope.add(
    () => resized.disconnect(),
    client.on('timeline', (changed) => {
      if (changed !== conversation) return;
      // My own message goes to the end, wherever I was.
      if (
        client.outbox.of(conversation).some((unsent) => unsent.state === 'queued' && Date.now() - unsent.created < 1000)
      )
        atEnd = true;
      show();
    }),
    client.on('receipts', (changed) => changed === conversation && show()),
    client.on('people', show),
    client.on(
      'conversations',
      coalesced(() => !scope.ended && afterScroll()),
    ),
  );
  if (info) scope.add(info.on('changed', show));
  scope.listen(window, 'focus', () => afterScroll());
  scope.listen(document, 'visibilitychange', () => afterScroll());
  queueMicrotask(render);
  return h('div', { class: 'messages-frame' }, scroller, jump);
}

/** @param {Message|undefined} a @param {Message} b  the next one */
function sameRun(a, b) {
  return (
    a !== undefined &&
    a.sender === b.sender &&
    a.kind !== 'notification' &&
    b.kind !== 'notification' &&
    !a.recalled &&
    !b.recalled &&
    b.time - a.time < RUN_MS
  );
}
