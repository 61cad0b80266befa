/** @import {Context} from './context.js' */
import { coalesced, fill, h, Scope } from './dom.js';
import { t } from './i18n.js';

/** A connection that is back this soon is not worth a word. */
const PATIENCE_MS = 1_500;

/**
 * What there is to say about the connection.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 */
export function banner(ctx, scope) {
  const { client } = ctx;
  const element = h('div', { class: 'banner', testid: 'banner', attrs: { role: 'status', 'aria-live': 'polite' } });
  /** @type {number|null} when the connection was lost */
  let lostAt = client.connection.state === 'online' ? null : Date.now();
  let wasOnline = false;

  const show = coalesced(() => {
    const { state } = client.connection;
    element.dataset.state = state;
    if (state === 'online') {
      wasOnline = true;
      lostAt = null;
      element.hidden = true;
      return;
    }
    lostAt ??= Date.now();
    const patient = Date.now() - lostAt < PATIENCE_MS;
    if (patient) setTimeout(show, PATIENCE_MS);
    element.hidden = patient && state !== 'replaced';
    if (state === 'replaced') {
      fill(
        element,
        h('span', { text: t('replaced') }),
        h('button', { class: 'link', text: t('use_here'), on: { click: () => client.connection.start() } }),
      );
    } else if (state === 'waiting' || wasOnline) {
      fill(
        element,
        h('span', { text: t('disconnected') }),
        h('button', {
          class: 'link',
          text: t('retry_now'),
          testid: 'retry-now',
          on: { click: () => client.connection.wake() },
        }),
      );
    } else {
      fill(element, h('span', { text: t('connecting') }));
    }
  });
  scope.add(client.on('state', show));
  show();
  return element;
}
