/** @import {Context} from './context.js' */
import { openDialog } from './dialog.js';
import { h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { t } from './i18n.js';

/** The rooms that a window is in, so that a reload goes back into them. A room's name is known to who made it only. */
const ROOMS = 'im:rooms';

/** @typedef {{conversation: string, title: string}} Room */

/** @param {Context} ctx @returns {Room[]} */
function remembered(ctx) {
  return JSON.parse(sessionStorage.getItem(`${ROOMS}:${ctx.me}`) ?? '[]');
}

/** @param {Context} ctx @param {Room[]} rooms */
function remember(ctx, rooms) {
  sessionStorage.setItem(`${ROOMS}:${ctx.me}`, JSON.stringify(rooms));
}

/** @param {Context} ctx @param {Room} room */
async function enter(ctx, { conversation, title }) {
  await ctx.client.joinRoom(conversation);
  ctx.client.list.place({
    conversation,
    title,
    head: 0,
    rev: 0,
    incarnation: 0,
    read: 0,
    unread: 0,
    updated: Date.now(),
  });
  remember(ctx, [...remembered(ctx).filter((room) => room.conversation !== conversation), { conversation, title }]);
}

/** Go back into the rooms that this window was in. @param {Context} ctx @param {Scope} scope */
export function enterRooms(ctx, scope) {
  const back = () => {
    stop();
    for (const room of remembered(ctx)) void enter(ctx, room).catch(() => leaveRoom(ctx, room.conversation));
  };
  const stop = ctx.client.on('state', (state) => state === 'online' && back());
  scope.add(stop);
  if (ctx.client.connection.state === 'online') back();
}

/** @param {Context} ctx @param {string} conversation */
export async function leaveRoom(ctx, conversation) {
  remember(
    ctx,
    remembered(ctx).filter((room) => room.conversation !== conversation),
  );
  await ctx.client.leaveRoom(conversation);
  ctx.client.list.remove({ conversation, removed: true, reason: 'left' });
  if (ctx.opened() === conversation) ctx.open(null);
}

/** @param {Context} ctx */
export function openRoomsDialog(ctx) {
  const name = h('input', {
    class: 'field',
    testid: 'room-name',
    attrs: {
      placeholder: t('room_name'),
      'aria-label': t('room_name'),
      required: true,
      maxlength: 64,
      autofocus: true,
    },
  });
  const id = h('input', {
    class: 'field',
    testid: 'room-id',
    attrs: { placeholder: t('room_id'), 'aria-label': t('room_id'), required: true, spellcheck: 'false' },
  });
  openDialog(
    t('rooms'),
    (close) => {
      /** @param {Event} event */
      const create = async (event) => {
        event.preventDefault();
        const title = name.value.trim();
        const made = await attempt(ctx.client.api.createRoom(title));
        if (made) await go({ conversation: made.conversation, title });
      };
      /** @param {Event} event */
      const join = async (event) => {
        event.preventDefault();
        const text = id.value.trim();
        await go({ conversation: text.startsWith('r:') ? text : `r:${text}`, title: '' });
      };
      /** @param {Room} room */
      const go = async (room) => {
        if (!(await attempt(enter(ctx, room).then(() => true)))) return;
        close();
        ctx.open(room.conversation);
      };
      return [
        h('p', { class: 'muted small', text: t('rooms_hint') }),
        h(
          'form',
          { class: 'inline', on: { submit: create } },
          name,
          h('button', {
            class: 'button primary',
            text: t('create_room'),
            testid: 'room-create',
            attrs: { type: 'submit' },
          }),
        ),
        h(
          'form',
          { class: 'inline', on: { submit: join } },
          id,
          h('button', { class: 'button', text: t('join_room'), testid: 'room-join', attrs: { type: 'submit' } }),
        ),
      ];
    },
    { testid: 'rooms-dialog' },
  );
}
