/**
 * @import {Body, Conversation, Limits, Message, Presence, Receipt, Removal, Unsent, Welcome} from './types.js'
 * @import {ConnectionState} from './connection.js'
 * @import {LocalStore} from './store.js'
 */
import { Api } from './api.js';
import { spread } from './backoff.js';
import { Connection } from './connection.js';
import { ServerError } from './errors.js';
import { Emitter } from './emitter.js';
import { isRoom } from './ids.js';
import { ConversationList } from './list.js';
import { Outbox } from './outbox.js';
import { People } from './people.js';
import { Receipts } from './receipts.js';
import { Sessions } from './session.js';
import { openStore } from './store.js';
import { Timeline } from './timeline.js';

/** Everything is asked for again this often, whatever was pushed: pushes are hints, the lists are the truth. */
const REFRESH_MS = 5 * 60_000;
/** A window that comes to the front asks again, but not more often than this. */
const FOREGROUND_MS = 5_000;
/** Conversations whose messages are fetched before anybody opens them. */
const PREFETCH = 20;
/** `sync` takes this many conversations at once. */
const SYNC_ITEMS = 50;
const READ_EVERY_MS = 300;

/**
 * @typedef {object} ClientEvents
 * @property {ConnectionState} state
 * @property {null} conversations                     the list changed
 * @property {string} timeline                        this conversation's messages or unsent ones changed
 * @property {Message} message                        a message is new here
 * @property {string} receipts                        of this conversation
 * @property {{conversation: string, user: string}} typing
 * @property {null} people                            a profile, a friend or somebody's presence changed
 * @property {null} requests                          friend requests changed
 * @property {string} changed                         ask for this group again
 * @property {{removal: Removal, item: Conversation}} removed
 */

/**
 * A device of one user: keeps a connection, the list of conversations, their messages, and what is on its way out.
 * What it shows is there at once from the store; what changes is told by events.
 *
 * @extends {Emitter<ClientEvents>}
 */
export class ImClient extends Emitter {
  /** @type {Limits} */
  limits = {};
  /** @type {Map<string, Promise<Timeline>>} */
  #timelines = new Map();
  /** @type {Set<string>} rooms to be in, again after every reconnect */
  #rooms = new Set();
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #readTimers = new Map();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #refreshTimer;
  #refreshedAt = 0;

  /**
   * @param {string} base
   * @param {string} user
   * @param {Sessions} sessions
   * @param {LocalStore} store
   */
  constructor(base, user, sessions, store) {
    super();
    this.user = user;
    this.sessions = sessions;
    this.store = store;
    this.api = new Api(base, user, sessions);
    this.connection = new Connection({
      base,
      user,
      sessions,
      since: async () => this.list.since,
      onWelcome: (welcome) => void this.#welcomed(welcome),
      onPush: (frame) => this.#pushed(frame),
      onState: (state) => {
        if (state === 'waiting') this.people.forgetPresence();
        this.emit('state', state);
      },
    });
    /** @param {Record<string, any>} frame */
    const ask = (frame) => this.connection.ask(frame);
    this.list = new ConversationList({
      me: user,
      store,
      ask,
      onChange: () => this.emit('conversations', null),
      onListed: (items) => void this.#listed(items),
      onRemoved: (removal, item) => this.#removed(removal, item),
    });
    this.outbox = new Outbox({
      me: user,
      store,
      ask,
      online: () => this.connection.state === 'online',
      onChange: (conversation) => this.emit('timeline', conversation),
      onSent: (unsent, seq) => void this.#sent(unsent, seq),
    });
    this.receipts = new Receipts({ store, onChange: (conversation) => this.emit('receipts', conversation) });
    this.people = new People({ api: this.api, store, ask, onChange: () => this.emit('people', null) });
  }

  /**
   * @param {object} options
   * @param {string} options.base  origin of the server
   * @param {string} options.user  one with a session, see Sessions
   * @param {Sessions} options.sessions
   */
  static async open({ base, user, sessions }) {
    const client = new ImClient(base, user, sessions, await openStore(user));
    await Promise.all([client.list.load(), client.outbox.load(), client.people.load()]);
    client.connection.start();
    document.addEventListener('visibilitychange', client.#onVisible);
    return client;
  }

  /** Disconnect; what is kept stays for the next time. */
  close() {
    document.removeEventListener('visibilitychange', this.#onVisible);
    clearTimeout(this.#refreshTimer);
    this.connection.stop();
    this.outbox.close();
    this.store.close();
  }

  /** End the session and forget what this browser keeps of the user. */
  async signOut() {
    this.connection.stop();
    await this.sessions.signOut(this.user);
    await this.store.clear().catch(() => {});
    this.close();
  }

  /**
   * A conversation's messages, from the store at once; `catchUp` brings what is new.
   *
   * @param {string} conversation
   * @returns {Promise<Timeline>}
   */
  timeline(conversation) {
    const open = this.#timelines.get(conversation) ?? this.#openTimeline(conversation);
    this.#timelines.set(conversation, open);
    return open;
  }

  /** @param {string} conversation */
  async #openTimeline(conversation) {
    const timeline = new Timeline({
      conversation,
      store: this.store,
      ask: (frame) => this.connection.ask(frame),
      tell: (frame) => this.connection.tell(frame),
      onMessages: (messages) => this.#arrived(messages),
      onChange: () => this.emit('timeline', conversation),
    });
    await Promise.all([timeline.load(), this.receipts.load(conversation)]).catch(() => {});
    return timeline;
  }

  /**
   * Send a message; it is in the queue, safe from a reload, when the promise resolves.
   *
   * @param {string} conversation
   * @param {Body} body
   */
  send(conversation, body) {
    return this.outbox.add(conversation, body);
  }

  /** Everything up to `seq` was seen by the user. @param {string} conversation @param {number} seq */
  async read(conversation, seq) {
    const timeline = await this.timeline(conversation);
    if (this.list.read(conversation, seq, timeline.messages, false)) this.#sayReadSoon(conversation);
  }

  /** Tell the others that this user is typing. @param {string} conversation */
  typing(conversation) {
    this.connection.tell({ type: 'typing', conversation });
  }

  /**
   * Be in a room until `leaveRoom`, whatever the connection does.
   *
   * @param {string} conversation
   * @throws {ServerError|Disconnected}
   */
  async joinRoom(conversation) {
    await this.connection.ask({ type: 'join', conversation });
    this.#rooms.add(conversation);
    await (await this.timeline(conversation)).catchUp();
  }

  /** @param {string} conversation */
  async leaveRoom(conversation) {
    this.#rooms.delete(conversation);
    this.#timelines.delete(conversation);
    await this.connection.ask({ type: 'leave', conversation }).catch(() => {}); // gone with the connection anyway
  }

  /** Ask for everything that changed, now. */
  async refresh() {
    clearTimeout(this.#refreshTimer);
    this.#refreshedAt = Date.now();
    this.#refreshTimer = setTimeout(() => void this.refresh(), spread(REFRESH_MS, Math.random));
    await this.list.pull().catch(() => {});
  }

  #onVisible = () => {
    if (document.visibilityState !== 'visible') return;
    this.connection.wake();
    if (this.connection.state === 'online' && Date.now() - this.#refreshedAt > FOREGROUND_MS) void this.refresh();
  };

  /** @param {Welcome} welcome */
  async #welcomed(welcome) {
    this.limits = welcome.limits ?? {};
    void this.outbox.pump();
    void this.people.resubscribe();
    void this.people.refreshFriends().catch(() => {});
    this.emit('requests', null);
    for (const conversation of this.#rooms) void this.joinRoom(conversation).catch(() => {});
    for (const item of this.list.unconfirmed()) this.#sayReadSoon(item.conversation);
    if (welcome.changes) await this.list.welcomed(welcome.changes).catch(() => {});
    else await this.list.pull().catch(() => {});
    // Messages may have come to conversations whose item did not change again since it was stored.
    await this.#catchUp([...this.#timelines.keys()].filter((conversation) => !isRoom(conversation)));
    clearTimeout(this.#refreshTimer);
    this.#refreshTimer = setTimeout(() => void this.refresh(), spread(REFRESH_MS, Math.random));
  }

  /** The server listed these: fetch what is missing of them. @param {Conversation[]} items */
  async #listed(items) {
    const newest = new Set(
      this.list
        .sorted()
        .slice(0, PREFETCH)
        .map((item) => item.conversation),
    );
    const wanted = [];
    for (const item of items) {
      if (!this.#timelines.has(item.conversation) && !newest.has(item.conversation)) continue;
      const timeline = await this.timeline(item.conversation);
      timeline.heard(item.head, item.rev, item.incarnation);
      if (timeline.behind) wanted.push(item.conversation);
      else if (item.unread > 0) timeline.acknowledge();
    }
    await this.#catchUp(wanted);
  }

  /** @param {string[]} conversations */
  async #catchUp(conversations) {
    const timelines = await Promise.all(conversations.map((conversation) => this.timeline(conversation)));
    const batched = timelines.filter((timeline) => timeline.behind && timeline.question);
    try {
      for (let i = 0; i < batched.length; i += SYNC_ITEMS) {
        const slice = batched.slice(i, i + SYNC_ITEMS);
        const items = slice.map((timeline) => timeline.question);
        await this.connection.askMany({ type: 'sync', items }, (answer) => {
          if (answer.type === 'messages')
            slice.find((timeline) => timeline.conversation === answer.conversation)?.answered(answer);
        });
      }
      for (const timeline of timelines) {
        // One that may not be read (any more) does not stop the others.
        if (timeline.behind)
          await timeline.catchUp().catch((error) => {
            if (!(error instanceof ServerError)) throw error;
          });
      }
    } catch {
      // Disconnected: the next welcome comes here again.
    }
  }

  /** @param {Message[]} messages  new ones, in order */
  #arrived(messages) {
    for (const message of messages) {
      this.outbox.arrived(message);
      if (!this.list.message(message) && !isRoom(message.conversation)) void this.list.pull().catch(() => {});
      this.emit('message', message);
    }
  }

  /** @param {Unsent} unsent @param {number} seq */
  async #sent(unsent, seq) {
    const timeline = await this.timeline(unsent.conversation);
    const there = timeline.messages.find((message) => message.seq === seq);
    if (there) this.outbox.arrived(there);
    else if (timeline.seq >= seq)
      void this.outbox.drop(unsent.client_message_id); // acked before, scrolled out since
    else timeline.expect(seq);
    if (!this.list.get(unsent.conversation)?.incarnation && !isRoom(unsent.conversation))
      void this.list.pull().catch(() => {});
  }

  /** @param {any} frame */
  #pushed(frame) {
    switch (frame.type) {
      case 'message':
        return void this.timeline(frame.conversation).then((timeline) => timeline.push(frame));
      case 'receipt':
        return this.#receipt(frame);
      case 'typing':
        return this.emit('typing', { conversation: frame.conversation, user: frame.user });
      case 'presence':
        return this.people.present(/** @type {Presence[]} */ (frame.users));
      case 'resync':
        return void this.#resync(frame);
      case 'event':
        return this.#event(frame.event, frame.data);
    }
  }

  /** @param {Receipt} receipt */
  #receipt(receipt) {
    // My own comes from another terminal.
    if (receipt.user === this.user) void this.#readElsewhere(receipt.conversation, receipt.read);
    else this.receipts.take(receipt);
  }

  /** @param {{conversation?: string, head?: number, rev?: number}} frame */
  async #resync({ conversation, head, rev }) {
    if (!conversation) return this.refresh();
    const timeline = await this.timeline(conversation);
    timeline.heard(head ?? 0, rev ?? 0);
    await this.#catchUp([conversation]);
  }

  /** @param {string} event @param {any} data */
  #event(event, data) {
    switch (event) {
      case 'message_changed':
        this.list.changed(data.message, data.rev);
        return void this.#timelines.get(data.conversation)?.then((timeline) => timeline.change(data.rev, data.message));
      case 'read_elsewhere':
        return void this.#readElsewhere(data.conversation, data.seq);
      case 'read_count':
        return this.receipts.count(data.conversation, data.seq, data.count);
      case 'friend_request':
        return this.emit('requests', null);
      case 'friend_accepted':
        this.emit('requests', null);
        return void this.people.refreshFriends().catch(() => {});
      case 'conversation_changed':
        this.emit('changed', data.conversation);
        return void this.list.pull().catch(() => {});
      case 'conversation_removed':
        return this.list.remove({ conversation: data.conversation, removed: true, reason: data.reason });
    }
  }

  /** @param {string} conversation @param {number} seq */
  async #readElsewhere(conversation, seq) {
    const timeline = await this.timeline(conversation);
    this.list.read(conversation, seq, timeline.messages, true);
  }

  /** @param {Removal} removal @param {Conversation} item */
  #removed(removal, item) {
    this.#timelines.delete(removal.conversation);
    // Where one may not write any more nothing can be sent, and nobody would see that it failed.
    if (removal.reason !== 'deleted')
      for (const unsent of this.outbox.of(removal.conversation)) void this.outbox.drop(unsent.client_message_id);
    this.emit('removed', { removal, item });
  }

  /** @param {string} conversation */
  #sayReadSoon(conversation) {
    if (this.#readTimers.has(conversation)) return;
    const timer = setTimeout(() => {
      this.#readTimers.delete(conversation);
      void this.#sayRead(conversation);
    }, READ_EVERY_MS);
    this.#readTimers.set(conversation, timer);
  }

  /** @param {string} conversation */
  async #sayRead(conversation) {
    const seq = this.list.get(conversation)?.read;
    if (!seq) return;
    try {
      await this.connection.ask({ type: 'read', conversation, seq });
      this.list.read(conversation, seq, [], true);
    } catch {
      // It stays unconfirmed, and the next welcome says it again.
    }
  }
}
