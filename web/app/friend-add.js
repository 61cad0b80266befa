/** @import {Context} from './context.js' */
import { avatar } from './avatar.js';
import { openDialog } from './dialog.js';
import { fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { t } from './i18n.js';
import { entryRow } from './rows.js';
import { toast } from './toast.js';

const PAUSE_MS = 250;

/** @param {Context} ctx @param {string} user @param {string} message */
export async function requestFriend(ctx, user, message) {
  const sent = await attempt(ctx.client.api.requestFriend(user, message).then(() => true));
  if (sent) toast(t('request_sent', { name: ctx.client.people.name(user) }));
  return sent ?? false;
}

/** Find somebody and ask to be friends. @param {Context} ctx */
export function openAddFriendDialog(ctx) {
  const scope = new Scope();
  const { api, people } = ctx.client;
  const results = h('ul', { class: 'rows tall', testid: 'add-friend-results' });
  const message = h('input', {
    class: 'field',
    testid: 'add-friend-message',
    attrs: { placeholder: t('add_friend_message'), 'aria-label': t('add_friend_message'), maxlength: 200 },
  });
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  scope.add(() => clearTimeout(timer));

  const search = async () => {
    const query = field.value.trim();
    if (!query) return fill(results);
    const found = await attempt(api.searchUsers(query));
    if (!found || scope.ended || query !== field.value.trim()) return;
    people.learn(found.items);
    const rows = found.items
      .filter(({ user }) => user !== ctx.me)
      .map(({ user, name, avatar: url }) => {
        const add = h('button', {
          class: 'button small primary',
          text: t('add_friend'),
          testid: 'add-friend-send',
          on: { click: async () => (await requestFriend(ctx, user, message.value.trim())) && (add.disabled = true) },
        });
        return entryRow({
          picture: avatar(user, name, { url }),
          title: name,
          line: user,
          testid: 'add-friend-row',
          id: user,
          actions: [people.isFriend(user) ? h('span', { class: 'muted small', text: t('friends') }) : add],
        });
      });
    fill(results, ...(rows.length ? rows : [h('li', { class: 'hint', text: t('nothing_found') })]));
  };
  const field = h('input', {
    class: 'field',
    testid: 'add-friend-query',
    attrs: { type: 'search', placeholder: t('find_people'), 'aria-label': t('find_people'), autofocus: true },
    on: { input: () => (clearTimeout(timer), (timer = setTimeout(() => void search(), PAUSE_MS))) },
  });
  openDialog(t('add_friend'), () => [h('div', { class: 'stack' }, field, message, results)], {
    testid: 'add-friend-dialog',
    onClose: () => scope.end(),
  });
}
