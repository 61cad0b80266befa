/**
 * @import {Context} from './context.js'
 * @import {Message} from '../im-client/types.js'
 * @import {Timeline} from '../im-client.js'
 */
import { colour } from './avatar.js';
import { h } from './dom.js';
import { t } from './i18n.js';
import { gist } from './naming.js';

/** @type {WeakMap<Timeline, Map<number, Message|null>>} what was looked up because it is not loaded; null: not to be had */
const fetched = new WeakMap();

/**
 * What a reply quotes, in one line.
 *
 * @param {Context} ctx
 * @param {Timeline} timeline
 * @param {number} seq
 */
export function quote(ctx, timeline, seq) {
  const message = lookUp(ctx, timeline, seq);
  const name = message ? ctx.client.people.name(message.sender) : '';
  const line = message ? gist(ctx, message) : message === null ? t('gone_message') : '…';
  return {
    stamp: `${name} ${line}`,
    /** @param {() => void} open */
    make: (open) =>
      h(
        'button',
        { class: message ? `quote edge-${colour(message.sender)}` : 'quote', testid: 'quote', on: { click: open } },
        name
          ? h('span', { class: message ? `quote-name ink-${colour(message.sender)}` : 'quote-name', text: name })
          : null,
        h('span', { class: 'quote-text', text: line }),
      ),
  };
}

/** @param {Context} ctx @param {Timeline} timeline @param {number} seq @returns {Message|null|undefined} undefined: on its way */
function lookUp(ctx, timeline, seq) {
  const loaded = timeline.messages.find((message) => message.seq === seq);
  if (loaded) return loaded;
  const known = fetched.get(timeline) ?? new Map();
  fetched.set(timeline, known);
  if (known.has(seq)) return known.get(seq);
  known.set(seq, undefined);
  timeline.find(seq).then(
    (message) => (known.set(seq, message), ctx.client.emit('timeline', timeline.conversation)),
    () => known.delete(seq), // disconnected: asked again with the next drawing
  );
  return undefined;
}
