/**
 * @import {Context} from './context.js'
 * @import {JoinRequest, Member} from '../im-client/types.js'
 * @import {Entry} from './menu.js'
 * @import {GroupInfo} from './group-info.js'
 */
import { avatar } from './avatar.js';
import { confirmed } from './dialog.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { below, openMenu } from './menu.js';
import { entryRow, section } from './rows.js';

const RANK = { owner: 0, admin: 1, member: 2 };
const MUTE_MS = 3_600_000;

/**
 * The members, those who run the group first, each with what I may do to them.
 *
 * @param {Context} ctx
 * @param {GroupInfo} info
 * @param {string} id
 * @param {Member[]} members
 * @param {(work: Promise<unknown>) => Promise<void>} change
 */
export function memberRows(ctx, info, id, members, change) {
  const { people } = ctx.client;
  const sorted = [...members].sort(
    (a, b) => RANK[a.role] - RANK[b.role] || info.name(a.user).localeCompare(info.name(b.user)),
  );
  return sorted.map((member) => {
    const { user, role } = member;
    const entries = memberActions(ctx, info, id, member, change);
    const more = h(
      'button',
      {
        class: 'icon-button small',
        label: t('more'),
        testid: 'member-menu',
        on: { click: () => openMenu(below(more), entries) },
      },
      icon('more'),
    );
    return entryRow({
      picture: avatar(user, info.name(user), {
        url: people.profile(user)?.avatar,
        online: user !== ctx.me && people.presence(user)?.online,
      }),
      title: user === ctx.me ? `${info.name(user)} (${t('you')})` : info.name(user),
      line: [user, muted(member) ? t('muted') : ''].filter(Boolean).join(' · '),
      testid: 'member',
      id: user,
      run: () => ctx.showPanel({ kind: 'person', user }),
      actions: [
        role === 'member' ? null : h('span', { class: `tag ${role}`, text: t(`role_${role}`), testid: 'role' }),
        entries.length ? more : null,
      ],
    });
  });
}

/** @param {Member} member */
function muted(member) {
  return (member.muted_until ?? 0) > Date.now();
}

/**
 * @param {Context} ctx
 * @param {GroupInfo} info
 * @param {string} id
 * @param {Member} member
 * @param {(work: Promise<unknown>) => Promise<void>} change
 * @returns {Entry[]}
 */
function memberActions(ctx, info, id, member, change) {
  const { api } = ctx.client;
  const { user, role } = member;
  const mine = info.me?.role ?? 'member';
  if (user === ctx.me || RANK[mine] >= RANK[role]) return [];
  const name = info.name(user);
  const kick = async () => {
    if (await confirmed(t('kick_confirm', { name }), t('kick'))) await change(api.removeMember(id, user));
  };
  const transfer = async () => {
    if (await confirmed(t('transfer_confirm', { name }), t('transfer')))
      await change(api.changeMember(id, user, { role: 'owner' }));
  };
  /** @type {Entry[]} */
  const entries = [];
  if (mine === 'owner') {
    const admin = role === 'admin';
    entries.push({
      text: admin ? t('make_member') : t('make_admin'),
      icon: 'person',
      testid: 'member-role',
      run: () => void change(api.changeMember(id, user, { role: admin ? 'member' : 'admin' })),
    });
    entries.push({ text: t('transfer'), icon: 'retry', testid: 'member-transfer', run: () => void transfer() });
  }
  entries.push({
    text: muted(member) ? t('unmute_member') : t('mute_member'),
    icon: 'bell_off',
    testid: 'member-mute',
    run: () => void change(api.changeMember(id, user, { muted_until: muted(member) ? 0 : Date.now() + MUTE_MS })),
  });
  entries.push({ text: t('kick'), icon: 'door', danger: true, testid: 'member-kick', run: () => void kick() });
  return entries;
}

/**
 * Who asks to be let in; empty when nobody does.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {GroupInfo} info
 * @param {string} id
 */
export function joinRequests(ctx, scope, info, id) {
  const { api, people } = ctx.client;
  const element = h('div', { testid: 'join-requests' });
  /** @type {JoinRequest[]} */
  let open = [];
  const ask = async () => {
    open = info.admin ? (await api.joinRequests(id).catch(() => ({ items: [] }))).items : [];
    show();
  };
  const show = coalesced(() => {
    if (scope.ended) return;
    /** @param {string} request @param {'accept'|'reject'} verdict */
    const answer = async (request, verdict) => {
      await attempt(api.answerJoinRequest(id, request, verdict));
      await Promise.all([ask(), info.refresh()]);
    };
    const rows = open.map(({ id: request, user, message }) =>
      entryRow({
        picture: avatar(user, people.name(user)),
        title: people.name(user),
        line: message || user,
        testid: 'join-request',
        id: user,
        actions: [
          h('button', {
            class: 'button small primary',
            text: t('accept'),
            testid: 'join-accept',
            on: { click: () => void answer(request, 'accept') },
          }),
          h('button', {
            class: 'button small',
            text: t('reject'),
            testid: 'join-reject',
            on: { click: () => void answer(request, 'reject') },
          }),
        ],
      }),
    );
    fill(element, rows.length ? section(t('join_requests'), h('ul', { class: 'rows' }, ...rows)) : null);
  });
  scope.add(
    info.on('changed', () => void ask()),
    ctx.client.on('people', show),
  );
  void ask();
  return element;
}
