/** @import {Conversation, Message, Profile, Receipt, Span, Unsent} from './types.js' */
/** @import {LocalStore} from './store.js' */
import { mergeSpans, newer } from './merge.js';

const VERSION = 1;

/** @param {string} user */
const databaseName = (user) => `im:${user}`;

/**
 * A {@link LocalStore} in IndexedDB, one database per user. What belongs together is written in one transaction, and
 * read again inside of it, because other windows write too.
 *
 * @implements {LocalStore}
 */
export class IndexedStore {
  #db;

  /** @param {IDBDatabase} db */
  constructor(db) {
    this.#db = db;
    // Another window clears the user, or a later version of this page wants to migrate: both wait for us to let go.
    db.onversionchange = () => db.close();
  }

  /** @param {string} user */
  static async open(user) {
    const request = indexedDB.open(databaseName(user), VERSION);
    request.onupgradeneeded = () => {
      const db = request.result;
      db.createObjectStore('meta');
      db.createObjectStore('conversations', { keyPath: 'conversation' });
      db.createObjectStore('spans', { keyPath: 'conversation' });
      db.createObjectStore('messages', { keyPath: ['conversation', 'seq'] });
      db.createObjectStore('receipts', { keyPath: ['conversation', 'user'] });
      db.createObjectStore('unsent', { keyPath: 'client_message_id' }).createIndex('created', 'created');
      db.createObjectStore('profiles', { keyPath: 'user' });
    };
    return new IndexedStore(await done(request));
  }

  /** @returns {Promise<Conversation[]>} */
  conversations() {
    return this.#all('conversations');
  }

  async since() {
    return (await done(this.#read('meta').get('since'))) ?? null;
  }

  /** @param {Conversation[]} items @param {string[]} removed @param {string|null} [since] */
  putConversations(items, removed, since) {
    return this.#write(['conversations', 'spans', 'messages', 'meta'], (store) => {
      for (const item of items) store('conversations').put(item);
      for (const conversation of removed) {
        store('conversations').delete(conversation);
        store('spans').delete(conversation);
        store('messages').delete(everySeq(conversation));
      }
      if (since !== undefined) store('meta').put(since, 'since');
    });
  }

  /** @param {string} conversation @returns {Promise<Span|undefined>} */
  span(conversation) {
    return done(this.#read('spans').get(conversation));
  }

  /** @param {string} conversation @param {number} before @param {number} limit @returns {Promise<Message[]>} */
  messages(conversation, before, limit) {
    const range = IDBKeyRange.bound([conversation, 0], [conversation, before], false, true);
    const request = this.#read('messages').openCursor(range, 'prev');
    /** @type {Message[]} */
    const found = [];
    return new Promise((resolve, reject) => {
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor || found.length >= limit) return resolve(found.reverse());
        found.push(cursor.value);
        cursor.continue();
      };
    });
  }

  /** @param {Span} span @param {Message[]} messages */
  putMessages(span, messages) {
    return this.#write(['spans', 'messages'], async (store) => {
      const merged = mergeSpans(await done(store('spans').get(span.conversation)), span);
      store('spans').put(merged);
      for (const message of messages) {
        if (message.incarnation !== merged.incarnation || message.seq < merged.base || message.seq > merged.seq)
          continue;
        store('messages').put(newer(await done(store('messages').get([message.conversation, message.seq])), message));
      }
    });
  }

  /** @param {Span} span */
  replace(span) {
    return this.#write(['spans', 'messages'], (store) => {
      store('messages').delete(everySeq(span.conversation));
      store('spans').put(span);
    });
  }

  /** @param {string} conversation @returns {Promise<Receipt[]>} */
  receipts(conversation) {
    return done(this.#read('receipts').getAll(IDBKeyRange.bound([conversation], [conversation, []])));
  }

  /** @param {Receipt} receipt */
  putReceipt(receipt) {
    return this.#write(['receipts'], async (store) => {
      const old = await done(store('receipts').get([receipt.conversation, receipt.user]));
      const delivered = Math.max(receipt.delivered, old?.delivered ?? 0);
      store('receipts').put({ ...receipt, delivered, read: Math.max(receipt.read, old?.read ?? 0) });
    });
  }

  /** @returns {Promise<Unsent[]>} */
  unsent() {
    return done(this.#read('unsent').index('created').getAll());
  }

  /** @param {Unsent} unsent */
  putUnsent(unsent) {
    // What was typed exists nowhere else: it is worth waiting for the disk.
    return this.#write(['unsent'], (store) => void store('unsent').put(unsent), 'strict');
  }

  /** @param {string} clientMessageId */
  dropUnsent(clientMessageId) {
    return this.#write(['unsent'], (store) => void store('unsent').delete(clientMessageId));
  }

  /** @returns {Promise<Profile[]>} */
  profiles() {
    return this.#all('profiles');
  }

  /** @param {Profile[]} profiles */
  putProfiles(profiles) {
    return this.#write(['profiles'], (store) => {
      for (const profile of profiles) store('profiles').put(profile);
    });
  }

  async clear() {
    const name = this.#db.name;
    this.#db.close();
    await done(indexedDB.deleteDatabase(name));
  }

  close() {
    this.#db.close();
  }

  /** @param {string} name */
  #read(name) {
    return this.#db.transaction(name).objectStore(name);
  }

  /** @param {string} name @returns {Promise<any[]>} */
  #all(name) {
    return done(this.#read(name).getAll());
  }

  /**
   * @param {string[]} names
   * @param {(store: (name: string) => IDBObjectStore) => void|Promise<void>} work  awaits nothing but requests of this transaction
   * @param {IDBTransactionDurability} [durability]
   * @returns {Promise<void>} when it is committed
   */
  async #write(names, work, durability = 'relaxed') {
    const transaction = this.#db.transaction(names, 'readwrite', { durability });
    const committed = new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(undefined);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
    const working = work((name) => transaction.objectStore(name));
    if (working) await working;
    // Asked for now, it survives a page that is left in this very moment.
    transaction.commit();
    await committed;
  }
}

/** @param {string} conversation */
function everySeq(conversation) {
  return IDBKeyRange.bound([conversation, 0], [conversation, Infinity]);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
