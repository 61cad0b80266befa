/**
 * @import {ImClient} from '../im-client.js'
 * @import {Context, ShellEvents} from './context.js'
 */
import { Emitter } from '../im-client/emitter.js';
import { directConversation } from '../im-client.js';
import { banner } from './banner.js';
import { chatView } from './chat.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { icon } from './icons.js';
import { applyLanguage, t } from './i18n.js';
import { titleOf } from './naming.js';
import { panelView } from './panel.js';
import { rail } from './rail.js';
import { enterRooms } from './rooms.js';
import { sidebar } from './sidebar.js';
import { toast } from './toast.js';

/** Which conversation a window had open, so that a reload comes back to it. */
const OPENED = 'im:opened';

/**
 * The whole page of a signed-in user.
 *
 * @param {HTMLElement} host
 * @param {ImClient} client
 * @returns {Promise<'signed_out'|'kicked'|null>} why it ended; null: the user signed out
 */
export function openShell(host, client) {
  return new Promise((resolve) => {
    const scope = new Scope();
    /** @type {Emitter<ShellEvents>} */
    const shell = new Emitter();
    /** @type {string|null} */
    let opened = null;
    const root = h('div', { class: 'shell', testid: 'shell', attrs: { 'data-user': client.user } });

    /** @type {Context} */
    const ctx = {
      client,
      me: client.user,
      shell,
      opened: () => opened,
      open: (conversation) => {
        if (conversation !== opened) ctx.showPanel(null);
        opened = conversation;
        root.dataset.view = conversation ? 'chat' : 'list';
        sessionStorage.setItem(OPENED, JSON.stringify([client.user, conversation]));
        shell.emit('open', conversation);
      },
      openDirect: (user) => {
        const conversation = directConversation(client.user, user);
        client.list.place({
          conversation,
          title: user,
          head: 0,
          rev: 0,
          incarnation: 0,
          read: 0,
          unread: 0,
          updated: Date.now(),
        });
        ctx.open(conversation);
      },
      showPanel: (panel) => {
        root.dataset.panel = panel ? 'open' : 'closed';
        shell.emit('panel', panel);
      },
      showTab: (tab) => {
        root.dataset.tab = tab;
        shell.emit('tab', tab);
      },
      leave: (reason) => {
        scope.end();
        document.title = 'ImCluster';
        host.replaceChildren();
        resolve(reason);
      },
    };

    const draw = drawer(ctx, scope, root);
    draw();
    host.replaceChildren(root);
    scope.add(
      shell.on('language', () => {
        applyLanguage();
        draw();
        ctx.showTab('settings');
        ctx.open(opened);
      }),
      client.on('state', (state) => {
        if (state === 'kicked' || state === 'signed_out') ctx.leave(state);
      }),
      client.on('removed', ({ removal, item }) => {
        if (removal.reason === 'kicked') toast(t('removed_kicked', { title: titleOf(ctx, item) }));
        if (removal.reason === 'dissolved') toast(t('removed_dissolved', { title: titleOf(ctx, item) }));
        if (opened === removal.conversation) ctx.open(null);
      }),
    );
    keyboard(ctx, scope, root);
    titleBadge(ctx, scope);
    enterRooms(ctx, scope);
    // The session may have ended before there was anybody to hear of it.
    if (client.connection.state === 'signed_out' || client.connection.state === 'kicked')
      return ctx.leave(client.connection.state);

    ctx.showTab('chats');
    const [user, last] = JSON.parse(sessionStorage.getItem(OPENED) ?? '[null,null]');
    const known = user === client.user && last && client.list.get(last);
    ctx.open(known ? last : null);
  });
}

/**
 * What draws the page's parts, again when the language changes.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {HTMLElement} root
 */
function drawer(ctx, scope, root) {
  /** @type {Scope|null} */
  let drawn = null;
  scope.add(() => drawn?.end());
  return () => {
    drawn?.end();
    const parts = (drawn = new Scope());
    const main = h('main', { class: 'main' });
    const aside = h('aside', { class: 'panel', testid: 'panel' });
    fill(root, banner(ctx, parts), rail(ctx, parts), h('div', { class: 'side' }, sidebar(ctx, parts)), main, aside);

    /** @type {Scope|null} */
    let chat = null;
    /** @type {Scope|null} */
    let panel = null;
    parts.add(
      () => chat?.end(),
      () => panel?.end(),
      ctx.shell.on('open', (conversation) => {
        chat?.end();
        chat = new Scope();
        if (conversation) fill(main, chatView(ctx, chat, conversation));
        else
          fill(
            main,
            h('div', { class: 'empty', testid: 'nothing-open' }, icon('chat'), h('p', { text: t('pick_chat') })),
          );
      }),
      ctx.shell.on('panel', (what) => {
        panel?.end();
        panel = new Scope();
        const conversation = ctx.opened();
        fill(aside, what && conversation ? panelView(ctx, panel, conversation, what) : null);
      }),
    );
  };
}

/** @param {Context} ctx @param {Scope} scope @param {HTMLElement} root */
function keyboard(ctx, scope, root) {
  scope.listen(document, 'keydown', (/** @type {KeyboardEvent} */ event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      ctx.showTab('chats');
      root.dataset.view = 'list';
      /** @type {HTMLInputElement|null} */ (root.querySelector('[data-testid="search"]'))?.select();
    } else if (event.key === 'Escape' && !event.defaultPrevented) {
      if (root.dataset.panel === 'open') ctx.showPanel(null);
      else ctx.open(null);
    }
  });
}

/** The number of unread messages in the window's title. @param {Context} ctx @param {Scope} scope */
function titleBadge(ctx, scope) {
  const show = coalesced(() => {
    if (scope.ended) return;
    const unread = ctx.client.list.sorted().reduce((sum, item) => sum + (item.do_not_disturb ? 0 : item.unread), 0);
    document.title = unread ? `(${unread}) ImCluster` : 'ImCluster';
  });
  scope.add(ctx.client.on('conversations', show));
  show();
}
