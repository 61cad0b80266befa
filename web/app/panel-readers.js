/** @import {Context} from './context.js' */
import { allPages } from '../im-client.js';
import { avatar } from './avatar.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { errorText } from './errors.js';
import { t } from './i18n.js';
import { entryRow } from './rows.js';

/**
 * Who read a message.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} conversation
 * @param {number} seq
 */
export function readersPanel(ctx, scope, conversation, seq) {
  const { api, people, receipts } = ctx.client;
  const list = h('ul', { class: 'rows', testid: 'readers' }, h('li', { class: 'hint', text: t('loading') }));
  const show = coalesced(async () => {
    try {
      const readers = await allPages((cursor) => api.readers(conversation, seq, cursor), 500);
      if (scope.ended) return;
      const others = readers.filter(({ user }) => user !== ctx.me);
      const rows = others.map(({ user }) => entryRow({ picture: avatar(user, people.name(user), { url: people.profile(user)?.avatar }), title: people.name(user), line: user, testid: 'reader', id: user }));
      fill(list, ...(rows.length ? rows : [h('li', { class: 'hint', text: t('no_readers') })]));
    } catch (error) {
      fill(list, h('li', { class: 'hint', text: errorText(error) }));
    }
  });
  let known = receipts.readers(conversation, seq, ctx.me);
  scope.add(
    ctx.client.on('receipts', (changed) => {
      const now = receipts.readers(conversation, seq, ctx.me);
      if (changed !== conversation || now === known) return;
      known = now;
      show();
    }),
  );
  show();
  return list;
}
