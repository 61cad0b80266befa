/**
 * @import {Friend, FriendRequest, Group, JoinRequest, JoinRule, Member, Page, Profile, Reader, Role, SessionInfo} from './types.js'
 * @import {Sessions} from './session.js'
 */
import { ServerError } from './errors.js';
import { call } from './http.js';

/**
 * The HTTP API for one signed-in user. Every call rejects with ServerError, Disconnected or SignedOut. Lists are pages:
 * give `next` back as `cursor`.
 */
export class Api {
  /**
   * @param {string} base  origin of the server
   * @param {string} user
   * @param {Sessions} sessions
   */
  constructor(base, user, sessions) {
    this.base = base;
    this.user = user;
    this.sessions = sessions;
  }

  /** @returns {Promise<Page<SessionInfo>>} */
  listSessions() {
    return this.#call('GET', '/v1/sessions');
  }

  /** @param {string} id */
  endSession(id) {
    return this.#call('DELETE', path`/v1/sessions/${id}`);
  }

  /** @param {string} query @param {string|null} [cursor] @returns {Promise<Page<Profile>>} */
  searchUsers(query, cursor) {
    return this.#call('GET', '/v1/users' + search({ query, cursor }));
  }

  /** @param {string} user  `me` for oneself @returns {Promise<Profile>} */
  profile(user) {
    return this.#call('GET', path`/v1/users/${user}`);
  }

  /** @param {{name?: string, avatar?: string|null}} changes */
  changeProfile(changes) {
    return this.#call('PATCH', '/v1/users/me', changes);
  }

  /** @returns {Promise<Page<Friend>>} */
  friends(cursor = /** @type {string|null} */ (null)) {
    return this.#call('GET', '/v1/friends' + search({ cursor }));
  }

  /** @param {string} user @param {string} remark */
  remarkFriend(user, remark) {
    return this.#call('PATCH', path`/v1/friends/${user}`, { remark });
  }

  /** @param {string} user */
  removeFriend(user) {
    return this.#call('DELETE', path`/v1/friends/${user}`);
  }

  /** @returns {Promise<Page<FriendRequest>>} the open ones to me */
  friendRequests() {
    return this.#call('GET', '/v1/friend-requests');
  }

  /** @param {string} user @param {string} message */
  requestFriend(user, message) {
    return this.#call('POST', '/v1/friend-requests', { user, message });
  }

  /** @param {string} id @param {'accept'|'reject'} verdict */
  answerFriendRequest(id, verdict) {
    return this.#call('POST', path`/v1/friend-requests/${id}/${verdict}`);
  }

  /** @returns {Promise<Page<Profile>>} */
  blocks() {
    return this.#call('GET', '/v1/blocks');
  }

  /** @param {string} user */
  block(user) {
    return this.#call('PUT', path`/v1/blocks/${user}`);
  }

  /** @param {string} user */
  unblock(user) {
    return this.#call('DELETE', path`/v1/blocks/${user}`);
  }

  /** @param {string[]} members @param {string} [name]  empty: made from the members @returns {Promise<{group: string, conversation: string}>} */
  createGroup(members, name) {
    return this.#call('POST', '/v1/groups', { members, name: name || undefined });
  }

  /** @param {string} query @returns {Promise<Page<Group>>} */
  searchGroups(query) {
    return this.#call('GET', '/v1/groups/search' + search({ query }));
  }

  /** @param {string} group @returns {Promise<Group>} */
  group(group) {
    return this.#call('GET', path`/v1/groups/${group}`);
  }

  /** @param {string} group @param {{name?: string, announcement?: string, join?: JoinRule, muted?: boolean}} changes */
  changeGroup(group, changes) {
    return this.#call('PATCH', path`/v1/groups/${group}`, changes);
  }

  /** @param {string} group */
  dissolveGroup(group) {
    return this.#call('DELETE', path`/v1/groups/${group}`);
  }

  /** @param {string} group @param {string|null} [cursor] @returns {Promise<Page<Member>>} */
  members(group, cursor) {
    return this.#call('GET', path`/v1/groups/${group}/members` + search({ cursor, limit: 200 }));
  }

  /** @param {string} group @param {string[]} users */
  invite(group, users) {
    return this.#call('POST', path`/v1/groups/${group}/members`, { users });
  }

  /**
   * @param {string} group
   * @param {string} user
   * @param {{role?: Role, muted_until?: number, alias?: string}} changes  `owner` transfers the group, 0 unmutes
   */
  changeMember(group, user, changes) {
    return this.#call('PATCH', path`/v1/groups/${group}/members/${user}`, changes);
  }

  /** Kick, or leave when it is me. @param {string} group @param {string} user */
  removeMember(group, user) {
    return this.#call('DELETE', path`/v1/groups/${group}/members/${user}`);
  }

  /** @param {string} group @param {string} message @returns {Promise<{joined?: boolean}|null>} joined: at once, in an open group */
  requestJoin(group, message) {
    return this.#call('POST', path`/v1/groups/${group}/join-requests`, { message });
  }

  /** @param {string} group @returns {Promise<Page<JoinRequest>>} */
  joinRequests(group) {
    return this.#call('GET', path`/v1/groups/${group}/join-requests`);
  }

  /** @param {string} group @param {string} id @param {'accept'|'reject'} verdict */
  answerJoinRequest(group, id, verdict) {
    return this.#call('POST', path`/v1/groups/${group}/join-requests/${id}/${verdict}`);
  }

  /** @param {string} name @returns {Promise<{room: string, conversation: string}>} */
  createRoom(name) {
    return this.#call('POST', '/v1/rooms', { name });
  }

  /** @param {string} conversation @param {{pinned?: boolean, do_not_disturb?: boolean, draft?: string|null}} changes */
  changeConversation(conversation, changes) {
    return this.#call('PATCH', path`/v1/conversations/${conversation}`, changes);
  }

  /** Hide it from my list until something new comes. @param {string} conversation */
  deleteConversation(conversation) {
    return this.#call('DELETE', path`/v1/conversations/${conversation}`);
  }

  /** @param {string} conversation @param {number} seq */
  recall(conversation, seq) {
    return this.#call('DELETE', path`/v1/conversations/${conversation}/messages/${seq}`);
  }

  /** @param {string} conversation @param {number} seq @param {string|null} [cursor] @returns {Promise<Page<Reader>>} */
  readers(conversation, seq, cursor) {
    return this.#call('GET', path`/v1/conversations/${conversation}/messages/${seq}/readers` + search({ cursor }));
  }

  /**
   * @param {string} method
   * @param {string} target
   * @param {unknown} [body]
   */
  async #call(method, target, body) {
    const token = await this.sessions.token(this.user);
    try {
      return await call(this.base, method, target, { body, token });
    } catch (error) {
      // The clock of this device may be wrong about the token's end: one try with a fresh one.
      if (!(error instanceof ServerError) || error.status !== 401) throw error;
      return call(this.base, method, target, { body, token: await this.sessions.token(this.user, token) });
    }
  }
}

/**
 * All items of a paged list, up to a bound that a page can show.
 *
 * @template T
 * @param {(cursor: string|null) => Promise<Page<T>>} page
 * @param {number} [most]
 * @returns {Promise<T[]>}
 */
export async function allPages(page, most = 1000) {
  /** @type {T[]} */
  const items = [];
  /** @type {string|null} */
  let cursor = null;
  do {
    const answer = /** @type {Page<T>} */ (await page(cursor));
    items.push(...answer.items);
    cursor = answer.next ?? null;
  } while (cursor && items.length < most);
  return items;
}

/** @param {TemplateStringsArray} parts @param {(string|number)[]} values */
function path(parts, ...values) {
  return parts.reduce((text, part, i) => text + encodeURIComponent(values[i - 1]) + part);
}

/** @param {Record<string, string|number|null|undefined>} values */
function search(values) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value != null) query.set(key, String(value));
  return query.size ? `?${query}` : '';
}
