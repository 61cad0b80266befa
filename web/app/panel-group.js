/**
 * @import {Context} from './context.js'
 * @import {JoinRule} from '../im-client/types.js'
 */
import { avatar } from './avatar.js';
import { asked, confirmed, openDialog } from './dialog.js';
import { coalesced, fill, h, Scope } from './dom.js';
import { attempt } from './errors.js';
import { groupInfo } from './group-info.js';
import { icon } from './icons.js';
import { counted, t } from './i18n.js';
import { joinRequests, memberRows } from './panel-members.js';
import { pickPeople } from './pick-people.js';
import { section } from './rows.js';
import { toast } from './toast.js';

/**
 * About a group: what it says of itself, who is in it, and what I may do.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} id
 */
export function groupPanel(ctx, scope, id) {
  const { api } = ctx.client;
  const info = groupInfo(ctx, id);
  const element = h('div', { class: 'stack', testid: 'group-panel' });
  const requests = joinRequests(ctx, scope, info, id);

  /** Do it, then show what came of it. @param {Promise<unknown>} work */
  const change = async (work) => {
    await attempt(work);
    await info.refresh();
  };
  const rename = async () => {
    const name = await asked(t('group_name'), { value: info.group?.name ?? '' });
    if (name) await change(api.changeGroup(id, { name }));
  };
  const announce = async () => {
    const announcement = await asked(t('announcement'), { value: info.group?.announcement ?? '', multiline: true });
    if (announcement !== null) await change(api.changeGroup(id, { announcement }));
  };
  const alias = async () => {
    const text = await asked(t('my_alias'), { value: info.me?.alias ?? '' });
    if (text !== null) await change(api.changeMember(id, ctx.me, { alias: text }));
  };
  const invite = () => {
    const members = new Set(info.members.map(({ user }) => user));
    const add = h('button', {
      class: 'button primary',
      text: t('invite'),
      testid: 'invite-send',
      attrs: { disabled: true },
    });
    const people = pickPeople(
      ctx,
      (user) => !members.has(user),
      (count) => (add.disabled = count === 0),
    );
    openDialog(
      t('invite'),
      (close) => {
        add.addEventListener('click', () => {
          add.disabled = true;
          void change(api.invite(id, people.picked())).then(close);
        });
        return [
          h(
            'div',
            { class: 'stack' },
            people.element,
            h(
              'div',
              { class: 'dialog-actions' },
              h('button', { class: 'button', text: t('cancel'), on: { click: close } }),
              add,
            ),
          ),
        ];
      },
      { testid: 'invite-dialog' },
    );
  };
  const leave = async () => {
    if (info.me?.role === 'owner') return toast(t('owner_must_transfer'));
    if (await confirmed(t('leave_group_confirm'), t('leave_group'))) await attempt(api.removeMember(id, ctx.me));
  };
  const dissolve = async () => {
    if (await confirmed(t('dissolve_group_confirm'), t('dissolve_group'))) await attempt(api.dissolveGroup(id));
  };

  const rules = () => {
    const { group } = info;
    if (!group || !info.admin) return null;
    const muted = h('input', {
      testid: 'group-muted',
      attrs: { type: 'checkbox' },
      props: { checked: Boolean(group.muted) },
      on: { change: () => void change(api.changeGroup(id, { muted: muted.checked })) },
    });
    const join = h(
      'select',
      {
        class: 'field',
        testid: 'group-join',
        attrs: { 'aria-label': t('join_rule') },
        on: { change: () => void change(api.changeGroup(id, { join: /** @type {JoinRule} */ (join.value) })) },
      },
      ...[
        ['open', t('join_open')],
        ['approval', t('join_approval')],
        ['invite', t('join_invite')],
      ].map(([value, text]) => h('option', { text, attrs: { value, selected: value === group.join } })),
    );
    return h(
      'div',
      { class: 'settings-list' },
      h('label', { class: 'setting' }, h('span', { text: t('mute_all') }), muted),
      h('label', { class: 'setting' }, h('span', { text: t('join_rule') }), join),
    );
  };

  const show = coalesced(() => {
    if (scope.ended) return;
    const { group, members } = info;
    if (!group) return fill(element, h('p', { class: 'hint', text: t('loading') }));
    /** @param {string} text @param {Parameters<typeof icon>[0]} name @param {() => void} run @param {string} testid @param {boolean} [danger] */
    const action = (text, name, run, testid, danger) =>
      h(
        'button',
        { class: danger ? 'action danger' : 'action', testid, on: { click: run } },
        icon(name),
        h('span', { text }),
      );
    const edit = (/** @type {() => void} */ run, /** @type {string} */ testid) =>
      info.admin
        ? h('button', { class: 'icon-button small', label: t('edit'), testid, on: { click: run } }, icon('edit'))
        : null;
    fill(
      element,
      h(
        'div',
        { class: 'card' },
        avatar(group.conversation, group.name, { size: 'large' }),
        h(
          'div',
          { class: 'card-title' },
          h('h3', { text: group.name, testid: 'group-title' }),
          edit(() => void rename(), 'group-rename'),
        ),
        h('p', { class: 'muted small', text: counted('member', 'members_count', group.members) }),
      ),
      section(
        t('announcement'),
        h(
          'div',
          { class: 'announcement' },
          h('p', {
            class: group.announcement ? 'pre' : 'pre muted',
            text: group.announcement || t('no_announcement'),
            testid: 'group-announcement',
          }),
          edit(() => void announce(), 'group-announce'),
        ),
      ),
      rules(),
      info.admin ? requests : null,
      section(
        `${t('members')} · ${group.members}`,
        group.join !== 'invite' || info.admin ? action(t('invite'), 'person_plus', invite, 'group-invite') : null,
        h('ul', { class: 'rows', testid: 'members' }, ...memberRows(ctx, info, id, members, change)),
      ),
      h(
        'div',
        { class: 'actions' },
        action(t('my_alias'), 'edit', () => void alias(), 'group-alias'),
        action(t('leave_group'), 'door', () => void leave(), 'group-leave', true),
        info.me?.role === 'owner'
          ? action(t('dissolve_group'), 'trash', () => void dissolve(), 'group-dissolve', true)
          : null,
      ),
    );
  });
  scope.add(info.on('changed', show), ctx.client.on('people', show));
  show();
  return element;
}
