/** @import {Conversation, Message, Profile, Receipt, Span, Unsent} from './types.js' */
/** @import {LocalStore} from './store.js' */
import { mergeMessages, mergeSpans } from './merge.js';

/** A {@link LocalStore} that lives as long as the page. @implements {LocalStore} */
export class MemoryStore {
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  /** @type {Map<string, Span>} */
  #spans = new Map();
  /** @type {Map<string, Message[]>} */
  #messages = new Map();
  /** @type {Map<string, Receipt>} */
  #receipts = new Map();
  /** @type {Map<string, Unsent>} */
  #unsent = new Map();
  /** @type {Map<string, Profile>} */
  #profiles = new Map();
  /** @type {string|null} */
  #since = null;

  async conversations() {
    return [...this.#conversations.values()];
  }

  async since() {
    return this.#since;
  }

  /** @param {Conversation[]} items @param {string[]} removed @param {string|null} [since] */
  async putConversations(items, removed, since) {
    for (const item of items) this.#conversations.set(item.conversation, item);
    for (const conversation of removed) {
      this.#conversations.delete(conversation);
      this.#spans.delete(conversation);
      this.#messages.delete(conversation);
    }
    if (since !== undefined) this.#since = since;
  }

  /** @param {string} conversation */
  async span(conversation) {
    return this.#spans.get(conversation);
  }

  /** @param {string} conversation @param {number} before @param {number} limit */
  async messages(conversation, before, limit) {
    return (this.#messages.get(conversation) ?? []).filter((message) => message.seq < before).slice(-limit);
  }

  /** @param {Span} span @param {Message[]} messages */
  async putMessages(span, messages) {
    const merged = mergeSpans(this.#spans.get(span.conversation), span);
    this.#spans.set(span.conversation, merged);
    const kept = messages.filter(
      (m) => m.incarnation === merged.incarnation && m.seq >= merged.base && m.seq <= merged.seq,
    );
    this.#messages.set(span.conversation, mergeMessages(this.#messages.get(span.conversation) ?? [], kept));
  }

  /** @param {Span} span */
  async replace(span) {
    this.#spans.set(span.conversation, span);
    this.#messages.delete(span.conversation);
  }

  /** @param {string} conversation */
  async receipts(conversation) {
    return [...this.#receipts.values()].filter((receipt) => receipt.conversation === conversation);
  }

  /** @param {Receipt} receipt */
  async putReceipt(receipt) {
    const key = `${receipt.conversation} ${receipt.user}`;
    const old = this.#receipts.get(key);
    this.#receipts.set(key, {
      ...receipt,
      delivered: Math.max(receipt.delivered, old?.delivered ?? 0),
      read: Math.max(receipt.read, old?.read ?? 0),
    });
  }

  async unsent() {
    return [...this.#unsent.values()].sort((a, b) => a.created - b.created);
  }

  /** @param {Unsent} unsent */
  async putUnsent(unsent) {
    this.#unsent.set(unsent.client_message_id, unsent);
  }

  /** @param {string} clientMessageId */
  async dropUnsent(clientMessageId) {
    this.#unsent.delete(clientMessageId);
  }

  async profiles() {
    return [...this.#profiles.values()];
  }

  /** @param {Profile[]} profiles */
  async putProfiles(profiles) {
    for (const profile of profiles) this.#profiles.set(profile.user, profile);
  }

  async clear() {
    for (const map of [this.#conversations, this.#spans, this.#messages, this.#receipts, this.#unsent, this.#profiles])
      map.clear();
    this.#since = null;
  }

  close() {}
}
