/** @import {Conversation, Message, Profile, Receipt, Span, Unsent} from './types.js' */
import { IndexedStore } from './store-indexed.js';
import { MemoryStore } from './store-memory.js';

/**
 * What a device keeps of one user, so that a reload loses nothing and doubles nothing. Several windows of a browser use
 * one store at a time: every write merges with what is there.
 *
 * @typedef {object} LocalStore
 * @property {() => Promise<Conversation[]>} conversations
 * @property {(items: Conversation[], removed: string[], since?: string|null) => Promise<void>} putConversations
 *     with `since`: what the list is complete up to; a removed one takes its messages with it
 * @property {() => Promise<string|null>} since
 * @property {(conversation: string) => Promise<Span|undefined>} span
 * @property {(conversation: string, before: number, limit: number) => Promise<Message[]>} messages   oldest first; `before` excludes
 * @property {(span: Span, messages: Message[]) => Promise<void>} putMessages   at once with the span that they belong to;
 *     a message is kept only if it lies within the span and no newer version is there
 * @property {(span: Span) => Promise<void>} replace   forget the messages of a conversation and start over
 * @property {(conversation: string) => Promise<Receipt[]>} receipts
 * @property {(receipt: Receipt) => Promise<void>} putReceipt   positions never move back
 * @property {() => Promise<Unsent[]>} unsent   in the order they were written
 * @property {(unsent: Unsent) => Promise<void>} putUnsent
 * @property {(clientMessageId: string) => Promise<void>} dropUnsent
 * @property {() => Promise<Profile[]>} profiles
 * @property {(profiles: Profile[]) => Promise<void>} putProfiles
 * @property {() => Promise<void>} clear   forget the user
 * @property {() => void} close
 */

/**
 * The store of a user: IndexedDB, or memory where the browser gives none (private windows, full disk).
 *
 * @param {string} user
 * @returns {Promise<LocalStore>}
 */
export async function openStore(user) {
  try {
    return await IndexedStore.open(user);
  } catch {
    return new MemoryStore();
  }
}
