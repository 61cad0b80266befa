/** @import {Context} from './context.js' */
import { contactsView } from './contacts.js';
import { conversationsView } from './conversations.js';
import { fill, h, Scope } from './dom.js';
import { settingsView } from './settings.js';

/**
 * The column beside the rail: conversations, contacts or settings.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 */
export function sidebar(ctx, scope) {
  const element = h('section', { class: 'sidebar' });
  /** @type {Scope|null} */
  let view = null;
  scope.add(
    () => view?.end(),
    ctx.shell.on('tab', (tab) => {
      view?.end();
      view = new Scope();
      const build = { chats: conversationsView, contacts: contactsView, settings: settingsView }[tab];
      fill(element, ...build(ctx, view));
    }),
  );
  return element;
}
