/**
 * @import {Context} from './context.js'
 * @import {Reader} from '../im-client/types.js'
 */
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
  /** @type {Reader[]|null} */
  let readers = null;
  const ask = coalesced(async () => {
    try {
      readers = (await allPages((cursor) => api.readers(conversation, seq, cursor), 500)).filter(
        ({ user }) => user !== ctx.me,
      );
      show();
    } catch (error) {
      fill(list, h('li', { class: 'hint', text: errorText(error) }));
    }
  });
  const show = coalesced(() => {
    if (scope.ended || !readers) return;
    const rows = readers.map(({ user }) =>
      entryRow({
        picture: avatar(user, people.name(user), { url: people.profile(user)?.avatar }),
        title: people.name(user),
        line: user,
        testid: 'reader',
        id: user,
      }),
    );
    fill(list, ...(rows.length ? rows : [h('li', { class: 'hint', text: t('no_readers') })]));
  });
  let known = receipts.readers(conversation, seq, ctx.me);
  scope.add(
    ctx.client.on('people', show),
    ctx.client.on('receipts', (changed) => {
      const now = receipts.readers(conversation, seq, ctx.me);
      if (changed !== conversation || now === known) return;
      known = now;
      ask();
    }),
  );
  ask();
  return list;
}
