/** @import {Context} from './context.js' */
import { avatar } from './avatar.js';
import { fill, h, Scope } from './dom.js';
import { groupInfo } from './group-info.js';
import { t } from './i18n.js';

const SHOWN = 8;

/**
 * The members offered after an "@" in a group.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string|null} group  null: nothing is offered
 * @param {HTMLTextAreaElement} input
 * @param {() => void} onEdit  the text was changed from here
 */
export function mentionPopup(ctx, scope, group, input, onEdit) {
  const info = group ? groupInfo(ctx, group) : null;
  const element = h('ul', { class: 'mentions', testid: 'mentions', attrs: { role: 'listbox', hidden: true } });
  /** What was chosen so far: the word in the text, and whom it means; null means all. @type {Map<string, string|null>} */
  const chosen = new Map();
  /** @type {{user: string|null, name: string}[]} */
  let offers = [];
  let active = 0;
  let from = 0;
  /** A word after "@" is being typed: members that are read only now are still offered. */
  let asking = false;

  const close = () => {
    asking = false;
    offers = [];
    element.hidden = true;
  };
  const look = () => {
    const before = input.value.slice(0, input.selectionStart);
    const match = /(^|\s)@([^\s@]*)$/u.exec(before) ?? /(\p{Script=Han})@([^\s@]*)$/u.exec(before);
    if (!info || !match) return close();
    asking = true;
    from = before.length - match[2].length - 1;
    const low = match[2].toLowerCase();
    const all = { user: null, name: t('mention_all_token') };
    const members = info.members
      .filter(({ user }) => user !== ctx.me)
      .map(({ user }) => ({ user, name: info.name(user) }));
    offers = [...(info.members.length > 2 ? [all] : []), ...members]
      .filter(({ user, name }) => `${name} ${user ?? ''}`.toLowerCase().includes(low))
      .slice(0, SHOWN);
    active = 0;
    show();
  };
  const show = () => {
    element.hidden = !offers.length;
    fill(
      element,
      ...offers.map(({ user, name }, i) =>
        h(
          'li',
          {
            class: 'mention-offer',
            testid: 'mention-offer',
            attrs: { role: 'option', 'aria-selected': String(i === active), 'data-id': user ?? '@all' },
            on: { pointerdown: (event) => (event.preventDefault(), choose(i)) },
          },
          avatar(user ?? '@', name, { size: 'small' }),
          h('span', { text: user ? name : `${name} · ${t('mention_all')}` }),
        ),
      ),
    );
  };
  /** @param {number} i */
  const choose = (i) => {
    const { user, name } = offers[i];
    write(user, name, from, input.selectionStart);
    close();
  };
  /** @param {string|null} user @param {string} name @param {number} start @param {number} end */
  const write = (user, name, start, end) => {
    chosen.set(`@${name}`, user);
    input.setRangeText(`@${name} `, start, end, 'end');
    input.focus();
    onEdit();
  };

  input.addEventListener('input', look);
  input.addEventListener('blur', close);
  if (info) scope.add(info.on('changed', () => asking && look()));

  return {
    element,
    /** Put a member in, as if chosen here. @param {string} user */
    insert: (user) => write(user, info?.name(user) ?? user, input.selectionStart, input.selectionEnd),
    /** Whether a key was meant for the offers. @param {KeyboardEvent} event */
    key: (event) => {
      if (element.hidden) return false;
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        active = (active + (event.key === 'ArrowDown' ? 1 : offers.length - 1)) % offers.length;
        show();
      } else if (event.key === 'Enter' || event.key === 'Tab') choose(active);
      else if (event.key === 'Escape') close();
      else return false;
      event.preventDefault();
      return true;
    },
    /** Whom a finished text mentions; the next one starts afresh. @param {string} text */
    take: (text) => {
      if (!info || !text.includes('@')) return { users: [], all: false };
      const named = [...chosen].filter(([token]) => text.includes(token)).map(([, user]) => user);
      // Typed by hand: an exact user name, or the word for everybody.
      for (const { user } of info.members)
        if (new RegExp(`(^|\\s)@${user.replace(/[.]/g, '\\.')}(?![\\w.@-])`).test(text)) named.push(user);
      const all = named.includes(null) || /(^|\s)@(all|所有人)(?!\w)/.test(text);
      chosen.clear();
      return { users: [...new Set(named.filter((user) => user !== null))], all };
    },
  };
}
