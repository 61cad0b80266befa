/** @returns {string} 128 random bits as hex: a `client_message_id` or a `device` */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * The direct conversation of two users; user ids are ASCII, so comparing code units is sorting by byte.
 *
 * @param {string} a
 * @param {string} b
 */
export function directConversation(a, b) {
  return a < b ? `d:${a}:${b}` : `d:${b}:${a}`;
}

/**
 * The other side of a direct conversation (oneself in `d:a:a`), or null for groups and rooms.
 *
 * @param {string} conversation
 * @param {string} me
 */
export function peerOf(conversation, me) {
  if (!conversation.startsWith('d:')) return null;
  const [, a, b] = conversation.split(':');
  return a === me ? b : a;
}

/** @param {string} conversation @returns {string|null} the group's id, or null */
export function groupOf(conversation) {
  return conversation.startsWith('g:') ? conversation.slice(2) : null;
}

/** @param {string} conversation */
export function isRoom(conversation) {
  return conversation.startsWith('r:');
}
