/** @import {Context} from './context.js' */
import { Emitter } from '../im-client/emitter.js';
import { peerOf } from '../im-client.js';
import { t } from './i18n.js';

/** Somebody who typed this long ago has stopped. Senders repeat it every 3 s. */
const SHOWN_MS = 5_000;

/** @type {WeakMap<object, Typists>} */
const known = new WeakMap();

/** Who is typing, for all views of one client. @param {Context} ctx */
export function typists(ctx) {
  let typists = known.get(ctx.client);
  if (!typists) known.set(ctx.client, (typists = new Typists(ctx)));
  return typists;
}

/** @extends {Emitter<{changed: null}>} */
class Typists extends Emitter {
  /** @type {Map<string, Map<string, ReturnType<typeof setTimeout>>>} by conversation, then user */
  #typing = new Map();
  #ctx;

  /** @param {Context} ctx */
  constructor(ctx) {
    super();
    this.#ctx = ctx;
    ctx.client.on('typing', ({ conversation, user }) => user !== ctx.me && this.#begin(conversation, user));
    ctx.client.on('message', ({ conversation, sender }) => this.#end(conversation, sender));
  }

  /** @param {string} conversation @returns {string|null} */
  text(conversation) {
    const users = [...(this.#typing.get(conversation)?.keys() ?? [])];
    if (!users.length) return null;
    if (peerOf(conversation, this.#ctx.me)) return t('typing');
    return users.length === 1
      ? t('typing_one', { name: this.#ctx.client.people.name(users[0]) })
      : t('typing_many', { count: users.length });
  }

  /** @param {string} conversation @param {string} user */
  #begin(conversation, user) {
    const users = this.#typing.get(conversation) ?? new Map();
    this.#typing.set(conversation, users);
    clearTimeout(users.get(user));
    users.set(
      user,
      setTimeout(() => this.#end(conversation, user), SHOWN_MS),
    );
    this.emit('changed', null);
  }

  /** @param {string} conversation @param {string} user */
  #end(conversation, user) {
    const users = this.#typing.get(conversation);
    clearTimeout(users?.get(user));
    if (users?.delete(user)) this.emit('changed', null);
  }
}
