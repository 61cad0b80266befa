import { h } from './dom.js';

const LINK = /\bhttps?:\/\/[^\s<>"'，。；、）】》]+/gi;

/**
 * Plain text as nodes: links can be clicked, mentions stand out. Nothing in it is ever read as HTML.
 *
 * @param {string} text
 * @param {{token: string, mine: boolean}[]} mentions  the "@name" to look for
 * @returns {(Node|string)[]}
 */
export function rich(text, mentions) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const url = match[0].replace(/[.,;:!?)\]]+$/, '');
    nodes.push(...mentioned(text.slice(end, match.index), mentions));
    nodes.push(h('a', { text: url, attrs: { href: url, target: '_blank', rel: 'noopener noreferrer nofollow' } }));
    end = match.index + url.length;
  }
  nodes.push(...mentioned(text.slice(end), mentions));
  return nodes;
}

/** @param {string} text @param {{token: string, mine: boolean}[]} mentions @returns {(Node|string)[]} */
function mentioned(text, mentions) {
  let best = { at: -1, token: '', mine: false };
  for (const { token, mine } of mentions) {
    const at = text.indexOf(token);
    if (at >= 0 && (best.at < 0 || at < best.at || (at === best.at && token.length > best.token.length)))
      best = { at, token, mine };
  }
  if (best.at < 0) return text ? [text] : [];
  const mark = h('span', { class: best.mine ? 'mention mine' : 'mention', text: best.token, testid: 'mention' });
  return [
    ...(best.at ? [text.slice(0, best.at)] : []),
    mark,
    ...mentioned(text.slice(best.at + best.token.length), mentions),
  ];
}
