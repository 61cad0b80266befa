/**
 * @import {Context} from './context.js'
 * @import {Group, Member} from '../im-client/types.js'
 */
import { Emitter } from '../im-client/emitter.js';
import { allPages } from '../im-client.js';

/** Members beyond this are not offered for mentions or listed: nobody reads on that far. */
const MEMBERS_SHOWN = 1000;

/** @type {WeakMap<object, Map<string, GroupInfo>>} */
const known = new WeakMap();

/** What is known of a group, for all views of one client. @param {Context} ctx @param {string} group */
export function groupInfo(ctx, group) {
  /** @type {Map<string, GroupInfo>} */
  const groups = known.get(ctx.client) ?? new Map();
  known.set(ctx.client, groups);
  let info = groups.get(group);
  if (!info) groups.set(group, (info = new GroupInfo(ctx, group)));
  info.refreshSoon();
  return info;
}

/** A group and its members, asked for again when something says that they changed. @extends {Emitter<{changed: null}>} */
export class GroupInfo extends Emitter {
  /** @type {Group|null} */
  group = null;
  /** @type {Member[]} */
  members = [];
  #ctx;
  #id;
  #due = false;

  /** @param {Context} ctx @param {string} group */
  constructor(ctx, group) {
    super();
    this.#ctx = ctx;
    this.#id = group;
    const mine = `g:${group}`;
    // One that nobody looks at is asked for again when it is opened.
    const touched = (/** @type {string} */ conversation) =>
      conversation === mine && ctx.opened() === mine && this.refreshSoon();
    ctx.client.on('changed', touched);
    ctx.client.on('message', ({ conversation, kind }) => kind === 'notification' && touched(conversation));
  }

  /** The member that I am, or undefined. */
  get me() {
    return this.members.find(({ user }) => user === this.#ctx.me);
  }

  /** Whether I run this group. */
  get admin() {
    return this.me?.role === 'owner' || this.me?.role === 'admin';
  }

  /** What a member is called here: my remark, the name taken in this group, the user's own. @param {string} user */
  name(user) {
    const { people } = this.#ctx.client;
    const alias = this.members.find((member) => member.user === user)?.alias;
    const name = people.name(user);
    return alias && name === (people.profile(user)?.name ?? user) ? alias : name;
  }

  /** Ask once for what several events of one change say. */
  refreshSoon() {
    if (this.#due) return;
    this.#due = true;
    setTimeout(() => {
      this.#due = false;
      void this.refresh();
    }, 50);
  }

  async refresh() {
    const { api, people } = this.#ctx.client;
    try {
      const [group, members] = await Promise.all([
        api.group(this.#id),
        allPages((cursor) => api.members(this.#id, cursor), MEMBERS_SHOWN),
      ]);
      this.group = group;
      this.members = members;
      people.learn(members.filter(({ user }) => !people.profile(user)).map(({ user, name }) => ({ user, name })));
      this.emit('changed', null);
    } catch {
      // Not a member any more, or disconnected: what was known stays.
    }
  }
}
