/**
 * @import {Message, Messages, Span} from './types.js'
 * @import {LocalStore} from './store.js'
 */
import { Cursor } from './cursor.js';
import { isRoom } from './ids.js';
import { mergeMessages, newer } from './merge.js';

/** How long a hole may last before it is asked for: what overtook it is usually right behind. */
const HOLD_MS = 250;
/** Messages fetched when a conversation is opened, and per page of older ones. */
const FIRST_PAGE = 20;
const OLDER_PAGE = 40;
/** Further behind than this, the newest page is a better start than everything in between; the rest comes by scrolling. */
const TOO_FAR_BEHIND = 400;
const SYNC_LIMIT = 200;
/** What stays in memory of a conversation that nobody looks at. */
const KEPT_IN_MEMORY = 60;
/** Delivered is acked at most once in this time. */
const DELIVERED_EVERY_MS = 1_000;

/**
 * One conversation's messages, without holes from the oldest loaded to the cursor, in memory and in the store.
 */
export class Timeline {
  /** Sorted by seq; replaced, never changed. @type {Message[]} */
  messages = [];
  /** Nothing older exists for this user. */
  complete = false;
  /** @type {Cursor|null} null until the first answer or message 1 */
  #cursor = null;
  /** lowest seq of the range without holes */
  #base = 1;
  /** Pushed before there was a cursor. @type {Message[]} */
  #early = [];
  /** @type {Promise<void>|null} */
  #catching = null;
  /** @type {Promise<boolean>|null} */
  #loadingOlder = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #holdTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #deliveredTimer;
  #delivered = 0;

  /**
   * @param {object} options
   * @param {string} options.conversation
   * @param {LocalStore} options.store
   * @param {(frame: Record<string, any>) => Promise<any>} options.ask
   * @param {(frame: Record<string, any>) => void} options.tell
   * @param {(messages: Message[]) => void} options.onMessages  new ones, in order
   * @param {() => void} options.onChange
   */
  constructor(options) {
    this.options = options;
    this.conversation = options.conversation;
  }

  /** Everything up to this seq was applied; 0 before the first. */
  get seq() {
    return this.#cursor?.seq ?? 0;
  }

  /** Whether the server is known to have more than was applied. */
  get behind() {
    return this.#cursor ? this.#cursor.behind : true;
  }

  /** Read what the store holds. Called once, before anything else. */
  async load() {
    const { store } = this.options;
    const span = await store.span(this.conversation);
    if (!span) return;
    this.#cursor = new Cursor(span.seq, span.rev, span.incarnation);
    this.#base = span.base;
    this.messages = (await store.messages(this.conversation, Infinity, KEPT_IN_MEMORY)).filter(
      (m) => m.seq >= span.base,
    );
    this.complete = span.base === 1 && (this.messages[0]?.seq ?? 1) === 1;
    this.options.onChange();
  }

  /**
   * The conversation has come so far on the server, by its list or by `resync`.
   *
   * @param {number} head
   * @param {number} rev
   * @param {number} [incarnation]
   */
  heard(head, rev, incarnation) {
    if (this.#cursor && incarnation && incarnation !== this.#cursor.incarnation) this.#forget();
    this.#cursor?.heard(head, rev);
  }

  /** A pushed message. @param {Message} message */
  push(message) {
    if (this.#cursor && message.incarnation > this.#cursor.incarnation) this.#forget();
    if (!this.#cursor && message.seq === 1) this.#cursor = new Cursor(0, 0, message.incarnation);
    if (this.#cursor) {
      this.#apply(this.#cursor.push(message), []);
      if (this.#cursor.behind) this.#catchUpSoon();
    } else {
      this.#early.push(message);
      this.#catchUpSoon();
    }
  }

  /** A pushed change of a message. @param {number} rev @param {Message} message */
  change(rev, message) {
    if (!this.#cursor) return; // the first answer will have it
    this.#apply([], this.#cursor.change(rev, message));
    if (this.#cursor.behind) this.#catchUpSoon();
  }

  /** One of this user's messages was acked with this seq, so it must come. @param {number} seq */
  expect(seq) {
    this.#cursor?.heard(seq, 0);
    if (this.behind) this.#catchUpSoon();
  }

  /** The frame body that asks for what is missing, for a batched `sync`; null when `catchUp` has to do it. */
  get question() {
    const cursor = this.#cursor;
    if (!cursor || cursor.head - cursor.seq > TOO_FAR_BEHIND) return null;
    return { conversation: this.conversation, after: cursor.seq, rev: cursor.rev };
  }

  /**
   * Ask until nothing is missing. Calls join the one under way.
   *
   * @returns {Promise<void>}
   * @throws {ServerError|Disconnected}
   */
  catchUp() {
    clearTimeout(this.#holdTimer);
    this.#holdTimer = undefined;
    this.#catching ??= this.#catchUp().finally(() => (this.#catching = null));
    return this.#catching;
  }

  async #catchUp() {
    for (let started = false; ;) {
      const question = this.question;
      if (question) {
        const answer = await this.options.ask({ type: 'sync', ...question, limit: SYNC_LIMIT });
        // Without progress the server does not have, for us, what was heard of: asking again now would not end.
        if (!this.answered(answer) || !(answer.more || this.behind)) return;
      } else {
        if (started) return;
        started = true;
        await this.#startOver();
        if (!this.behind) return;
      }
    }
  }

  /**
   * The answer to `sync`.
   *
   * @param {Messages} answer
   * @returns {boolean} whether it brought us further
   */
  answered(answer) {
    const cursor = this.#cursor;
    if (!cursor) return false;
    if (answer.incarnation !== cursor.incarnation) {
      this.#forget();
      return true;
    }
    const { seq, rev } = cursor;
    this.#apply(cursor.answer(answer), answer.changed ?? []);
    return cursor.seq > seq || cursor.rev > rev;
  }

  /** Begin with the newest page. */
  async #startOver() {
    const answer = /** @type {Messages} */ (
      await this.options.ask({ type: 'history', conversation: this.conversation, limit: FIRST_PAGE })
    );
    const old = this.#cursor;
    this.#cursor = new Cursor(answer.head, answer.rev, answer.incarnation);
    // A push may have overtaken the answer.
    if (old?.incarnation === answer.incarnation) this.#cursor.heard(old.head, old.knownRev);
    this.#base = answer.messages[0]?.seq ?? answer.head + 1;
    this.complete = !answer.more;
    this.messages = answer.messages;
    if (!isRoom(this.conversation)) {
      const span = this.#span(this.#cursor);
      await this.options.store
        .replace(span)
        .then(() => this.options.store.putMessages(span, answer.messages))
        .catch(() => {});
    }
    this.options.onMessages(answer.messages);
    this.options.onChange();
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.push(message);
    this.acknowledge();
  }

  /** Drop what is held: the history changed under us. */
  #forget() {
    this.#cursor = null;
    this.messages = [];
    this.complete = false;
  }

  /**
   * Load a page of older messages, from the store if it has them.
   *
   * @returns {Promise<boolean>} whether there may be more
   * @throws {ServerError|Disconnected}
   */
  older() {
    this.#loadingOlder ??= this.#older().finally(() => (this.#loadingOlder = null));
    return this.#loadingOlder;
  }

  async #older() {
    const cursor = this.#cursor;
    if (this.complete || !cursor) return false;
    const { store, ask } = this.options;
    const first = this.messages[0]?.seq ?? cursor.seq + 1;
    const span = isRoom(this.conversation) ? undefined : await store.span(this.conversation);
    if (span && span.incarnation === cursor.incarnation && span.base < first && first <= span.seq + 1) {
      const stored = (await store.messages(this.conversation, first, OLDER_PAGE)).filter((m) => m.seq >= span.base);
      if (stored.length) {
        this.#base = Math.min(this.#base, stored[0].seq);
        this.complete = stored[0].seq === 1;
        return this.#prepend(cursor, stored);
      }
    }
    const answer = /** @type {Messages} */ (
      await ask({ type: 'history', conversation: this.conversation, before: first, limit: OLDER_PAGE })
    );
    if (this.#cursor !== cursor) return true;
    this.#base = Math.min(this.#base, answer.messages[0]?.seq ?? 1);
    this.complete = !answer.more;
    if (!isRoom(this.conversation)) void store.putMessages(this.#span(cursor), answer.messages).catch(() => {});
    return this.#prepend(cursor, answer.messages);
  }

  /** @param {Cursor} cursor @param {Message[]} older */
  #prepend(cursor, older) {
    if (this.#cursor !== cursor) return true;
    this.messages = mergeMessages(this.messages, older);
    this.options.onChange();
    return !this.complete;
  }

  /**
   * One message, wherever it is: in memory, in the store or on the server.
   *
   * @param {number} seq
   * @returns {Promise<Message|null>} null when there is none for this user
   */
  async find(seq) {
    const held = this.messages.find((message) => message.seq === seq);
    if (held) return held;
    const [stored] = await this.options.store.messages(this.conversation, seq + 1, 1);
    if (stored?.seq === seq) return stored;
    const answer = /** @type {Messages} */ (
      await this.options.ask({ type: 'history', conversation: this.conversation, before: seq + 1, limit: 1 })
    );
    return answer.messages.find((message) => message.seq === seq) ?? null;
  }

  /** Nobody looks at it any more: keep the newest messages only. */
  trim() {
    if (this.messages.length <= KEPT_IN_MEMORY) return;
    this.messages = this.messages.slice(-KEPT_IN_MEMORY);
    this.complete = false;
  }

  /** Tell the server that everything up to the cursor arrived here. */
  acknowledge() {
    if (this.seq === 0 || isRoom(this.conversation) || this.#deliveredTimer !== undefined) return;
    this.#delivered = this.seq;
    this.options.tell({ type: 'delivered', conversation: this.conversation, seq: this.#delivered });
    this.#deliveredTimer = setTimeout(() => {
      this.#deliveredTimer = undefined;
      if (this.seq > this.#delivered) this.acknowledge();
    }, DELIVERED_EVERY_MS);
  }

  /** @param {Message[]} fresh  in order, right after the old cursor @param {Message[]} changed */
  #apply(fresh, changed) {
    const cursor = this.#cursor;
    if (!cursor || (!fresh.length && !changed.length)) return;
    const first = this.messages[0]?.seq ?? Infinity;
    const shown = changed.filter((message) => message.seq >= first);
    this.messages = mergeMessages(this.messages, [...fresh, ...shown]);
    if (!isRoom(this.conversation))
      void this.options.store.putMessages(this.#span(cursor), [...fresh, ...changed]).catch(() => {});
    if (fresh.length) {
      this.options.onMessages(
        fresh.map((message) =>
          newer(
            changed.find((other) => other.seq === message.seq),
            message,
          ),
        ),
      );
      this.acknowledge();
    }
    this.options.onChange();
  }

  /** @param {Cursor} cursor @returns {Span} */
  #span(cursor) {
    return {
      conversation: this.conversation,
      incarnation: cursor.incarnation,
      base: this.#base,
      seq: cursor.seq,
      rev: cursor.rev,
    };
  }

  #catchUpSoon() {
    // A failure is no news here: the next welcome, resync or refresh asks again.
    this.#holdTimer ??= setTimeout(() => {
      this.#holdTimer = undefined;
      if (this.behind) void this.catchUp().catch(() => {});
    }, HOLD_MS);
  }
}
