/** @import {Body, Message, Unsent} from './types.js' */
/** @import {LocalStore} from './store.js' */
import { fullJitter } from './backoff.js';
import { Disconnected, ServerError } from './errors.js';
import { peerOf, randomId } from './ids.js';
import { locked } from './locks.js';

/**
 * The messages on their way out: kept in the store before they are sent, sent one after the other in the order they
 * were written, again after every interruption, always with the same `client_message_id`, so that the server stores each
 * once. The windows of one user see one queue and take turns at sending it.
 */
export class Outbox {
  /** @type {Map<string, Unsent>} in the order they were written */
  #items = new Map();
  #pumping = false;
  #lastCreated = 0;
  /** @type {BroadcastChannel|null} */
  #channel = null;

  /**
   * @param {object} options
   * @param {string} options.me
   * @param {LocalStore} options.store
   * @param {(frame: Record<string, any>) => Promise<any>} options.ask
   * @param {() => boolean} options.online
   * @param {(conversation: string) => void} options.onChange
   * @param {(unsent: Unsent, seq: number) => void} options.onSent
   */
  constructor(options) {
    this.options = options;
  }

  /** Take over what an earlier page left. */
  async load() {
    for (const unsent of await this.options.store.unsent()) this.#items.set(unsent.client_message_id, unsent);
    if (typeof BroadcastChannel === 'undefined') return;
    this.#channel = new BroadcastChannel(`im:outbox:${this.options.me}`);
    this.#channel.onmessage = ({ data }) => this.#heard(data);
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
  }

  /** @param {string} conversation @returns {Unsent[]} in the order they were written */
  of(conversation) {
    return [...this.#items.values()].filter((unsent) => unsent.conversation === conversation);
  }

  /** Whether something waits that a server may still take. */
  get waiting() {
    return [...this.#items.values()].some((unsent) => unsent.state === 'queued');
  }

  /**
   * Queue a message; it is safe from a reload when the promise resolves.
   *
   * @param {string} conversation
   * @param {Body} body
   */
  async add(conversation, body) {
    // Two in one millisecond keep their order.
    this.#lastCreated = Math.max(Date.now(), this.#lastCreated + 1);
    /** @type {Unsent} */
    const unsent = { client_message_id: randomId(), conversation, created: this.#lastCreated, body, state: 'queued' };
    await this.#put(unsent);
    void this.pump();
    return unsent;
  }

  /** Send a failed message again. @param {string} clientMessageId */
  async retry(clientMessageId) {
    const unsent = this.#items.get(clientMessageId);
    if (unsent?.state !== 'failed') return;
    await this.#put({ ...unsent, state: 'queued', code: undefined });
    void this.pump();
  }

  /** Give a message up. @param {string} clientMessageId */
  async drop(clientMessageId) {
    this.#forget(clientMessageId);
    this.#channel?.postMessage({ dropped: clientMessageId });
    await this.options.store.dropUnsent(clientMessageId).catch(() => {});
  }

  /** A message was applied to its conversation: if it was on its way out, it is not any more. @param {Message} message */
  arrived(message) {
    if (message.sender !== this.options.me || !message.client_message_id) return;
    if (this.#items.has(message.client_message_id)) void this.drop(message.client_message_id);
  }

  /** Send what waits. Called whenever there is reason to believe that it could work. */
  async pump() {
    if (this.#pumping || !this.options.online() || !this.waiting) return;
    this.#pumping = true;
    try {
      await locked(`im:outbox:${this.options.me}`, () => this.#drain());
    } catch (error) {
      if (error instanceof Disconnected) return; // the next welcome pumps again
      throw error;
    } finally {
      this.#pumping = false;
    }
    // What was added while the lock was being let go.
    void this.pump();
  }

  async #drain() {
    let failures = 0;
    for (;;) {
      const unsent = [...this.#items.values()].find((item) => item.state === 'queued');
      if (!unsent) return;
      try {
        const sent = await this.options.ask(this.#frame(unsent));
        failures = 0;
        await this.#acked(unsent, sent.seq);
      } catch (error) {
        if (!(error instanceof ServerError)) throw error;
        if (error.retryable) await pause(error.retryAfterMs ?? fullJitter(failures++, Math.random));
        else await this.#put({ ...unsent, state: 'failed', code: error.code });
      }
    }
  }

  /** @param {Unsent} unsent */
  #frame({ client_message_id, conversation, body }) {
    // A direct conversation may not exist before its first message.
    const to = peerOf(conversation, this.options.me);
    return { type: 'send', ...(to ? { to } : { conversation }), client_message_id, ...body };
  }

  /** @param {Unsent} unsent @param {number} seq */
  async #acked(unsent, seq) {
    // The server has it now; what follows is only about showing it until its own message arrives.
    if (this.#items.has(unsent.client_message_id)) {
      this.#items.set(unsent.client_message_id, { ...unsent, state: 'sent', seq });
      this.options.onChange(unsent.conversation);
    }
    this.#channel?.postMessage({ dropped: unsent.client_message_id });
    await this.options.store.dropUnsent(unsent.client_message_id).catch(() => {});
    this.options.onSent(unsent, seq);
  }

  /** @param {Unsent} unsent */
  async #put(unsent) {
    this.#items.set(unsent.client_message_id, unsent);
    this.options.onChange(unsent.conversation);
    await this.options.store.putUnsent(unsent).catch(() => {}); // a full disk must not keep it from being sent
    this.#channel?.postMessage({ put: unsent });
  }

  /** @param {string} clientMessageId */
  #forget(clientMessageId) {
    const unsent = this.#items.get(clientMessageId);
    if (!unsent) return;
    this.#items.delete(clientMessageId);
    this.options.onChange(unsent.conversation);
  }

  /** Another window's doing. @param {{put?: Unsent, dropped?: string}} news */
  #heard({ put, dropped }) {
    if (dropped) this.#forget(dropped);
    if (!put) return;
    this.#items.set(put.client_message_id, put);
    this.options.onChange(put.conversation);
    // It holds the lock if it can send; if it cannot, we do.
    void this.pump();
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
