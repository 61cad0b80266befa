/** @import {Context, Panel} from './context.js' */
import { groupOf, peerOf } from '../im-client.js';
import { fill, h, Scope } from './dom.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { groupPanel } from './panel-group.js';
import { personPanel } from './panel-person.js';
import { readersPanel } from './panel-readers.js';

/**
 * The column on the right: about a group, about a person, or who read a message.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} conversation
 * @param {Panel} panel
 */
export function panelView(ctx, scope, conversation, panel) {
  const group = groupOf(conversation);
  const body = h('div', { class: 'panel-body' });
  let title = t('profile');
  if (panel.kind === 'readers') {
    title = t('readers');
    fill(body, readersPanel(ctx, scope, conversation, panel.seq));
  } else if (panel.kind === 'info' && group) {
    title = t('group_info');
    fill(body, groupPanel(ctx, scope, group));
  } else {
    fill(
      body,
      personPanel(ctx, scope, panel.kind === 'person' ? panel.user : (peerOf(conversation, ctx.me) ?? ctx.me)),
    );
  }
  return h(
    'div',
    { class: 'panel-frame', attrs: { role: 'complementary', 'aria-label': title } },
    h(
      'header',
      { class: 'panel-head' },
      h(
        'button',
        { class: 'icon-button', label: t('close'), testid: 'panel-close', on: { click: () => ctx.showPanel(null) } },
        icon('close'),
      ),
      h('h2', { text: title }),
    ),
    body,
  );
}
