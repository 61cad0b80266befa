/** @import {Message, Messages} from './types.js' */
import { newer } from './merge.js';

/**
 * The one contiguous cursor of a conversation, without I/O: the next seq is applied, a higher one is held, a lower one
 * is dropped, and a gap is stepped over only when the server named it. `rev` is the same for changes.
 */
export class Cursor {
  /** changes up to here came with an answer and not one by one: what is older may lack them */
  #floor = 0;

  /** @type {Map<number, Message>} what came too early, by seq */
  #held = new Map();

  /**
   * @param {number} seq  everything up to here was applied
   * @param {number} rev  every change up to here was applied
   * @param {number} incarnation
   */
  constructor(seq, rev, incarnation) {
    this.seq = seq;
    this.rev = rev;
    this.#floor = rev;
    this.incarnation = incarnation;
    /** the highest seq and rev heard of, applied or not */
    this.head = seq;
    this.knownRev = rev;
  }

  /** Whether the server has something that was not applied yet. */
  get behind() {
    return this.seq < this.head || this.rev < this.knownRev;
  }

  /**
   * Note that the conversation has come to `head` and `rev`, whoever said so.
   *
   * @param {number} head
   * @param {number} rev
   */
  heard(head, rev) {
    this.head = Math.max(this.head, head);
    this.knownRev = Math.max(this.knownRev, rev);
  }

  /**
   * A pushed message.
   *
   * @param {Message} message
   * @returns {Message[]} what is to be applied now, in order: empty when held or dropped
   */
  push(message) {
    this.heard(message.seq, message.rev);
    // One made before a change that was applied already may be that change's old version: it is pulled instead.
    if (message.rev >= this.#floor) this.#hold(message);
    return this.#drain();
  }

  /**
   * A pushed change. It is shown whatever its order, but not before its message's turn; the rev moves only over changes
   * without a hole.
   *
   * @param {number} rev
   * @param {Message} message  as it is now
   * @returns {Message[]} what is to be shown now
   */
  change(rev, message) {
    this.heard(message.seq, rev);
    if (rev === this.rev + 1) this.rev = rev;
    if (message.seq <= this.seq) return [message];
    this.#hold(message);
    return [];
  }

  /**
   * The answer to `sync`. It may be older than what was pushed meanwhile.
   *
   * @param {Messages} answer
   * @returns {Message[]} what is to be applied now, in order
   */
  answer(answer) {
    this.heard(answer.head, answer.rev);
    if (answer.rev > this.rev) {
      // What is held from before may have changed since, and a change is told only once: it is pulled again.
      for (const [seq, held] of this.#held) if (held.rev < answer.rev) this.#held.delete(seq);
      this.rev = answer.rev;
      this.#floor = answer.rev;
    }
    for (const message of answer.messages) this.#hold(message);
    return this.#drain(answer.gaps ?? []);
  }

  /** @param {Message} message */
  #hold(message) {
    if (message.seq > this.seq) this.#held.set(message.seq, newer(this.#held.get(message.seq), message));
  }

  /**
   * @param {[number, number][]} [gaps]
   * @returns {Message[]}
   */
  #drain(gaps = []) {
    const ready = [];
    for (;;) {
      const next = this.#held.get(this.seq + 1);
      const gap = gaps.find(([from, to]) => from <= this.seq + 1 && this.seq + 1 <= to);
      if (next) {
        ready.push(next);
        this.#held.delete(next.seq);
        this.seq = next.seq;
      } else if (gap) {
        this.seq = gap[1];
      } else break;
    }
    for (const seq of this.#held.keys()) if (seq <= this.seq) this.#held.delete(seq);
    return ready;
  }
}
