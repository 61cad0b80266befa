/**
 * @import {Friend, Presence, Profile} from './types.js'
 * @import {LocalStore} from './store.js'
 * @import {Api} from './api.js'
 */
import { allPages } from './api.js';

/** Profiles older than this are asked for again when somebody looks. */
const FRESH_MS = 10 * 60_000;
const PARALLEL = 4;
/** Users per presence frame: far below the bytes that a frame may have. */
const PER_FRAME = 200;

/** Who is who: profiles, friends with my remarks, and who is there. What is missing is fetched when it is asked for. */
export class People {
  /** @type {Map<string, Profile>} */
  #profiles = new Map();
  /** @type {Map<string, number>} when it was asked for */
  #asked = new Map();
  /** @type {Map<string, Friend>} */
  #friends = new Map();
  /** @type {Map<string, Presence>} */
  #presence = new Map();
  /** @type {Set<string>} */
  #watched = new Set();
  /** @type {string[]} */
  #queue = [];
  #running = 0;

  /**
   * @param {object} options
   * @param {Api} options.api
   * @param {LocalStore} options.store
   * @param {(frame: Record<string, any>) => Promise<any>} options.ask
   * @param {() => void} options.onChange
   */
  constructor(options) {
    this.options = options;
  }

  async load() {
    for (const profile of await this.options.store.profiles()) this.#profiles.set(profile.user, profile);
  }

  /** What is known of a user now; more comes with `onChange`. @param {string} user @returns {Profile|undefined} */
  profile(user) {
    if (Date.now() - (this.#asked.get(user) ?? 0) > FRESH_MS) {
      this.#asked.set(user, Date.now());
      this.#queue.push(user);
      void this.#fetch();
    }
    return this.#profiles.get(user);
  }

  /** My remark, else the user's own name, else the id. @param {string} user */
  name(user) {
    const friend = this.#friends.get(user);
    return friend?.remark || this.profile(user)?.name || friend?.name || user;
  }

  /** @param {Profile[]} profiles */
  learn(profiles) {
    for (const { user, name, avatar } of profiles) {
      this.#asked.set(user, Date.now());
      this.#profiles.set(user, { user, name, avatar: avatar ?? this.#profiles.get(user)?.avatar });
    }
    this.options.onChange();
    void this.options.store
      .putProfiles(profiles.map(({ user }) => /** @type {Profile} */ (this.#profiles.get(user))))
      .catch(() => {});
  }

  async #fetch() {
    if (this.#running >= PARALLEL) return;
    const user = this.#queue.shift();
    if (!user) return;
    this.#running += 1;
    try {
      this.learn([await this.options.api.profile(user)]);
    } catch {
      // The id stands for the name until somebody looks again.
    } finally {
      this.#running -= 1;
      void this.#fetch();
    }
  }

  /** @returns {Friend[]} by name */
  friends() {
    return [...this.#friends.values()].sort((a, b) => this.name(a.user).localeCompare(this.name(b.user)));
  }

  /** @param {string} user */
  isFriend(user) {
    return this.#friends.has(user);
  }

  /** @throws {ServerError|Disconnected} */
  async refreshFriends() {
    const friends = await allPages((cursor) => this.options.api.friends(cursor), 5000);
    this.#friends = new Map(friends.map((friend) => [friend.user, friend]));
    this.options.onChange();
  }

  /** @param {string} user @returns {Presence|undefined} */
  presence(user) {
    return this.#presence.get(user);
  }

  /** Follow whether these users are there. @param {string[]} users */
  async watch(users) {
    const fresh = users.filter((user) => !this.#watched.has(user));
    if (!fresh.length) return;
    for (const user of fresh) this.#watched.add(user);
    await this.#subscribe(fresh);
  }

  /** A new connection knows nothing of what the last one followed. */
  async resubscribe() {
    await this.#subscribe([...this.#watched]);
  }

  /** @param {string[]} users */
  async #subscribe(users) {
    for (let i = 0; i < users.length; i += PER_FRAME) {
      // While disconnected this fails, and the next welcome does it.
      const answer = await this.options
        .ask({ type: 'presence', subscribe: users.slice(i, i + PER_FRAME), unsubscribe: [] })
        .catch(() => null);
      if (answer) this.present(answer.users);
    }
  }

  /** Without a connection nobody can say who is there. */
  forgetPresence() {
    this.#presence.clear();
    this.options.onChange();
  }

  /** @param {Presence[]} users */
  present(users) {
    for (const presence of users) this.#presence.set(presence.user, presence);
    this.options.onChange();
  }
}
