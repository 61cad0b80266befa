/**
 * @import {Conversation, ConversationPage, Message, Removal} from './types.js'
 * @import {LocalStore} from './store.js'
 */
import { byRecency, mergeConversation, newer, withMessage, withRead } from './merge.js';

const PAGE = 50;

/** The list of conversations: what the server said, moved on by what is pushed, kept in the store. */
export class ConversationList {
  /** @type {Map<string, Conversation>} */
  #items = new Map();
  /** What the list is complete up to; null: nothing is known. @type {string|null} */
  #since = null;
  /** @type {Promise<void>|null} */
  #pulling = null;
  #pullAgain = false;

  /**
   * @param {object} options
   * @param {string} options.me
   * @param {LocalStore} options.store
   * @param {(frame: Record<string, any>) => Promise<any>} options.ask
   * @param {() => void} options.onChange
   * @param {(items: Conversation[]) => void} options.onListed  what the server listed, after every page
   * @param {(removal: Removal, item: Conversation) => void} options.onRemoved
   */
  constructor(options) {
    this.options = options;
  }

  async load() {
    this.#since = await this.options.store.since();
    for (const item of await this.options.store.conversations()) this.#items.set(item.conversation, item);
    this.options.onChange();
  }

  get since() {
    return this.#since;
  }

  /** @returns {Conversation[]} pinned first, then the newest */
  sorted() {
    return [...this.#items.values()].sort(byRecency);
  }

  /** @param {string} conversation */
  get(conversation) {
    return this.#items.get(conversation);
  }

  /** Those whose read position the server may not have. */
  unconfirmed() {
    return [...this.#items.values()].filter((item) => item.confirmed !== undefined && item.read > item.confirmed);
  }

  /** What changed since the hello. @param {ConversationPage} changes */
  async welcomed(changes) {
    await this.#exclusive(() => this.#take(changes));
  }

  /**
   * Ask what changed, or for everything when nothing is known. A call during another makes that one look again.
   *
   * @returns {Promise<void>}
   * @throws {ServerError|Disconnected}
   */
  pull() {
    if (this.#pulling) {
      this.#pullAgain = true;
      return this.#pulling;
    }
    return this.#exclusive(async () => {
      const since = this.#since;
      const page = await this.options.ask({ type: 'conversations', limit: PAGE, ...(since ? { since } : {}) });
      await this.#take(since ? page : { ...page, reset: true });
    });
  }

  /** @param {() => Promise<void>} work */
  #exclusive(work) {
    this.#pulling = (this.#pulling ?? Promise.resolve())
      .catch(() => {})
      .then(work)
      .finally(() => {
        this.#pulling = null;
        if (!this.#pullAgain) return;
        this.#pullAgain = false;
        void this.pull().catch(() => {}); // the next welcome asks again
      });
    return this.#pulling;
  }

  /** Apply a page and those that follow it. @param {ConversationPage} first */
  async #take(first) {
    const reset = first.reset ?? false;
    /** @type {Set<string>} */
    const seen = new Set();
    for (let page = first; ;) {
      for (const item of page.items) seen.add(item.conversation);
      if (!page.next) {
        // A placed one (incarnation 0) was never the server's to list.
        const gone = reset
          ? [...this.#items.values()]
              .filter((it) => it.incarnation > 0 && !seen.has(it.conversation))
              .map((it) => it.conversation)
          : [];
        for (const conversation of gone) this.#items.delete(conversation);
        this.#since = page.since ?? this.#since;
        return this.#applied(page.items, gone, this.#since);
      }
      await this.#applied(page.items, [], undefined);
      page = await this.options.ask({ type: 'conversations', cursor: page.next, limit: PAGE });
    }
  }

  /** @param {(Conversation|Removal)[]} items @param {string[]} gone @param {string|null|undefined} since */
  async #applied(items, gone, since) {
    const kept = [];
    const removed = [...gone];
    for (const item of items) {
      if ('removed' in item) {
        removed.push(item.conversation);
        this.#removed(item);
      } else {
        const merged = mergeConversation(this.#items.get(item.conversation), item);
        this.#items.set(item.conversation, merged);
        kept.push(merged);
      }
    }
    this.options.onChange();
    await this.options.store.putConversations(kept, removed, since).catch(() => {});
    if (kept.length) this.options.onListed(kept);
  }

  /** @param {Removal} removal */
  #removed(removal) {
    const item = this.#items.get(removal.conversation);
    if (!item) return;
    this.#items.delete(removal.conversation);
    this.options.onRemoved(removal, item);
  }

  /** A pushed removal. @param {Removal} removal */
  remove(removal) {
    this.#removed(removal);
    this.options.onChange();
    void this.options.store.putConversations([], [removal.conversation]).catch(() => {});
  }

  /** A message arrived. @param {Message} message @returns {boolean} whether its conversation is listed */
  message(message) {
    const item = this.#items.get(message.conversation);
    if (item) this.#put(withMessage(item, message, this.options.me));
    return item !== undefined;
  }

  /** A message changed. @param {Message} message @param {number} rev */
  changed(message, rev) {
    const item = this.#items.get(message.conversation);
    if (!item) return;
    const last = item.last?.seq === message.seq ? newer(item.last, message) : item.last;
    this.#put({ ...item, last, rev: Math.max(item.rev, rev) });
  }

  /**
   * @param {string} conversation
   * @param {number} seq
   * @param {Message[]} messages  what is held of the conversation
   * @param {boolean} confirmed  whether the server said so
   * @returns {boolean} whether it moved
   */
  read(conversation, seq, messages, confirmed) {
    const item = this.#items.get(conversation);
    if (!item) return false;
    const next = withRead(item, seq, messages, this.options.me);
    if (confirmed) this.#put({ ...next, confirmed: Math.max(seq, item.confirmed ?? 0) });
    else if (next !== item) this.#put(next);
    return next.read > item.read;
  }

  /** Change what this user set, before the server confirms. @param {string} conversation @param {Partial<Conversation>} changes */
  patch(conversation, changes) {
    const item = this.#items.get(conversation);
    if (item) this.#put({ ...item, ...changes });
  }

  /** Show a conversation that the server does not list (yet). @param {Conversation} item */
  place(item) {
    if (!this.#items.has(item.conversation)) this.#items.set(item.conversation, item);
    this.options.onChange();
  }

  /** @param {Conversation} item */
  #put(item) {
    this.#items.set(item.conversation, item);
    this.options.onChange();
    // What the server never listed is not kept.
    if (item.incarnation > 0) void this.options.store.putConversations([item], []).catch(() => {});
  }
}
