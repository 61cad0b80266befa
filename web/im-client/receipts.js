/**
 * @import {Receipt} from './types.js'
 * @import {LocalStore} from './store.js'
 */

/** How far the others got in each conversation, and how many read a message where nobody is told who. */
export class Receipts {
  /** @type {Map<string, Map<string, Receipt>>} by conversation, then user */
  #byConversation = new Map();
  /** @type {Map<string, number>} by conversation and seq */
  #counts = new Map();

  /**
   * @param {object} options
   * @param {LocalStore} options.store
   * @param {(conversation: string) => void} options.onChange
   */
  constructor(options) {
    this.options = options;
  }

  /** @param {string} conversation */
  async load(conversation) {
    for (const receipt of await this.options.store.receipts(conversation)) this.#put(receipt);
  }

  /** @param {Receipt} receipt */
  take(receipt) {
    this.#put(receipt);
    void this.options.store.putReceipt(receipt).catch(() => {});
  }

  /** @param {string} conversation @param {number} seq @param {number} count */
  count(conversation, seq, count) {
    this.#counts.set(`${conversation} ${seq}`, count);
    this.options.onChange(conversation);
  }

  /** @param {string} conversation @param {string} user */
  of(conversation, user) {
    return this.#byConversation.get(conversation)?.get(user);
  }

  /** How many others are known to have read a message. @param {string} conversation @param {number} seq @param {string} me */
  readers(conversation, seq, me) {
    const known = [...(this.#byConversation.get(conversation)?.values() ?? [])];
    const read = known.filter((receipt) => receipt.user !== me && receipt.read >= seq).length;
    return Math.max(read, this.#counts.get(`${conversation} ${seq}`) ?? 0);
  }

  /** @param {Receipt} receipt */
  #put(receipt) {
    const users = this.#byConversation.get(receipt.conversation) ?? new Map();
    this.#byConversation.set(receipt.conversation, users);
    const old = users.get(receipt.user);
    // Who read a message has received it.
    const read = Math.max(receipt.read ?? 0, old?.read ?? 0);
    users.set(receipt.user, {
      ...receipt,
      read,
      delivered: Math.max(receipt.delivered ?? 0, old?.delivered ?? 0, read),
    });
    this.options.onChange(receipt.conversation);
  }
}
