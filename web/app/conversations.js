/**
 * @import {Context} from './context.js'
 * @import {Conversation} from '../im-client/types.js'
 * @import {Row} from './dom.js'
 */
import { groupOf, isRoom, peerOf } from '../im-client.js';
import { avatar } from './avatar.js';
import { arrowKeys, coalesced, fill, h, keyed, Scope } from './dom.js';
import { attempt } from './errors.js';
import { short } from './format.js';
import { openGroupDialog } from './group-create.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { below, openMenu } from './menu.js';
import { preview, titleOf } from './naming.js';
import { openRoomsDialog } from './rooms.js';
import { searchResults } from './search.js';
import { openAddFriendDialog } from './friend-add.js';
import { confirmed } from './dialog.js';
import { typists } from './typing.js';

/**
 * The list of conversations, with the search above it.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @returns {HTMLElement[]}
 */
export function conversationsView(ctx, scope) {
  const { client } = ctx;
  const list = h('ul', {
    class: 'rows',
    testid: 'conversations',
    attrs: { role: 'listbox', 'aria-label': t('chats') },
  });
  const found = h('div', { class: 'found', attrs: { hidden: true } });
  const search = h('input', {
    class: 'field search-field',
    testid: 'search',
    attrs: {
      type: 'search',
      placeholder: t('search_hint'),
      'aria-label': t('search'),
      autocomplete: 'off',
      spellcheck: 'false',
    },
  });
  const add = h(
    'button',
    { class: 'icon-button', label: t('more'), testid: 'new-menu', on: { click: () => openNewMenu(ctx, add) } },
    icon('plus'),
  );

  /** @type {Scope|null} */
  let searching = null;
  const query = () => {
    searching?.end();
    searching = null;
    const text = search.value.trim();
    found.hidden = !text;
    list.hidden = Boolean(text);
    if (!text) return fill(found);
    searching = new Scope();
    fill(
      found,
      searchResults(ctx, searching, text, () => ((search.value = ''), query())),
    );
  };
  search.addEventListener('input', query);
  search.addEventListener('keydown', (event) => {
    const first = /** @type {HTMLElement|null} */ ((found.hidden ? list : found).querySelector('.row'));
    if (event.key === 'Escape' && search.value) {
      event.preventDefault();
      search.value = '';
      query();
    } else if (event.key === 'ArrowDown' && first) {
      event.preventDefault();
      first.focus();
    } else if (event.key === 'Enter') first?.click();
  });

  const show = coalesced(() => {
    if (scope.ended) return;
    const items = client.list.sorted();
    void client.people.watch(
      items.flatMap((item) => peerOf(item.conversation, ctx.me) ?? []).filter((user) => user !== ctx.me),
    );
    if (items.length)
      keyed(
        list,
        items.map((item) => row(ctx, item)),
      );
    else keyed(list, [{ key: '', stamp: client.connection.state, make: () => emptyList(ctx) }]);
  });
  arrowKeys(list, '.row');
  scope.add(
    () => searching?.end(),
    client.on('conversations', show),
    client.on('people', show),
    client.on('state', show),
    ctx.shell.on('open', show),
    typists(ctx).on('changed', show),
  );
  show();
  return [
    h('header', { class: 'side-head' }, h('h1', { text: t('chats') }), add),
    h('div', { class: 'search' }, icon('search'), search),
    found,
    list,
  ];
}

/** @param {Context} ctx */
function emptyList(ctx) {
  if (ctx.client.list.since === null) return h('li', { class: 'hint', text: t('loading') });
  return h(
    'li',
    { class: 'hint', testid: 'no-chats' },
    h('p', { text: t('no_chats') }),
    h('p', { class: 'muted small', text: t('no_chats_hint') }),
    h(
      'div',
      { class: 'hint-actions' },
      h('button', {
        class: 'button small primary',
        text: t('add_friend'),
        on: { click: () => openAddFriendDialog(ctx) },
      }),
      h('button', { class: 'button small', text: t('new_group'), on: { click: () => openGroupDialog(ctx) } }),
    ),
  );
}

/** @param {Context} ctx @param {HTMLElement} button */
function openNewMenu(ctx, button) {
  openMenu(below(button), [
    { text: t('new_group'), icon: 'people', testid: 'new-group', run: () => openGroupDialog(ctx) },
    { text: t('add_friend'), icon: 'person_plus', testid: 'add-friend', run: () => openAddFriendDialog(ctx) },
    { text: t('rooms'), icon: 'hash', testid: 'rooms', run: () => openRoomsDialog(ctx) },
  ]);
}

/** @param {Context} ctx @param {Conversation} item @returns {Row} */
function row(ctx, item) {
  const { client } = ctx;
  const peer = peerOf(item.conversation, ctx.me);
  const title = titleOf(ctx, item);
  const online = Boolean(peer && peer !== ctx.me && client.people.presence(peer)?.online);
  const current = ctx.opened() === item.conversation;
  const draft = current ? '' : (item.draft ?? '');
  const typing = typists(ctx).text(item.conversation);
  const line = typing ?? preview(ctx, item);
  const time = item.last ? short(item.last.time) : '';
  const url = peer ? client.people.profile(peer)?.avatar : null;
  const { unread, pinned, do_not_disturb: quiet, mentioned } = item;
  const show = { title, online, current, draft, typing, line, time, url, unread, pinned, quiet, mentioned };
  const open = () => ctx.open(item.conversation);
  /** @param {MouseEvent} event */
  const menu = (event) => (
    event.preventDefault(),
    openMenu({ x: event.clientX, y: event.clientY }, conversationMenu(ctx, item))
  );
  return {
    key: item.conversation,
    stamp: JSON.stringify(show),
    make: () =>
      h(
        'li',
        {
          class: 'row conversation',
          testid: 'conversation',
          attrs: {
            role: 'option',
            tabindex: 0,
            'data-conversation': item.conversation,
            'aria-selected': String(current),
          },
          on: { click: open, contextmenu: menu, keydown: (event) => event.key === 'Enter' && open() },
        },
        groupOf(item.conversation) || isRoom(item.conversation)
          ? avatar(item.conversation, title)
          : avatar(peer ?? '', title, { url, online }),
        h(
          'div',
          { class: 'row-text' },
          h(
            'div',
            { class: 'row-line' },
            h('span', { class: 'row-title', text: title, testid: 'conversation-title' }),
            quiet ? h('span', { class: 'row-flag', title: t('muted_chat') }, icon('bell_off')) : null,
            h('time', { class: 'row-time', text: time }),
          ),
          h(
            'div',
            { class: 'row-line' },
            h(
              'span',
              { class: typing ? 'row-preview typing' : 'row-preview', testid: 'conversation-preview' },
              mentioned
                ? h('strong', {
                    class: 'mention-flag',
                    text: '@ ',
                    title: t('you_were_mentioned'),
                    testid: 'mention-flag',
                  })
                : null,
              draft && !typing ? h('span', { class: 'draft', text: `${t('draft')}: `, testid: 'draft-flag' }) : null,
              draft && !typing ? draft : line,
            ),
            unread
              ? h('span', {
                  class: quiet ? 'badge quiet' : 'badge',
                  text: unread > 99 ? '99+' : String(unread),
                  testid: 'unread',
                  attrs: { 'aria-label': t('unread_count', { count: unread }) },
                })
              : pinned
                ? h('span', { class: 'row-flag', title: t('pinned') }, icon('pin'))
                : null,
          ),
        ),
      ),
  };
}

/**
 * What can be done with a conversation as a whole.
 *
 * @param {Context} ctx
 * @param {Conversation} item
 * @returns {import('./menu.js').Entry[]}
 */
export function conversationMenu(ctx, item) {
  const { api, list } = ctx.client;
  const { conversation } = item;
  /** @param {{pinned?: boolean, do_not_disturb?: boolean}} changes */
  const change = async (changes) => {
    await attempt(api.changeConversation(conversation, changes).then(() => list.patch(conversation, changes)));
  };
  const remove = async () => {
    if (!(await confirmed(t('delete_chat_confirm'), t('delete')))) return;
    await attempt(
      api.deleteConversation(conversation).then(() => list.remove({ conversation, removed: true, reason: 'deleted' })),
    );
    if (ctx.opened() === conversation) ctx.open(null);
  };
  if (isRoom(conversation)) return [];
  return [
    {
      text: item.pinned ? t('unpin') : t('pin'),
      icon: 'pin',
      testid: 'menu-pin',
      run: () => change({ pinned: !item.pinned }),
    },
    {
      text: item.do_not_disturb ? t('unmute_chat') : t('mute_chat'),
      icon: 'bell_off',
      testid: 'menu-mute',
      run: () => change({ do_not_disturb: !item.do_not_disturb }),
    },
    { text: t('delete_chat'), icon: 'trash', danger: true, testid: 'menu-delete', run: remove },
  ];
}
