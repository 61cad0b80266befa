/** A message of protocol.md with what the test cares about. */
export function message(seq, more = {}) {
  return {
    conversation: 'g:1',
    seq,
    rev: 0,
    incarnation: 1,
    sender: 'bob',
    client_message_id: `c${seq}`,
    time: 1000 + seq,
    kind: 'text',
    content: { text: `m${seq}` },
    ...more,
  };
}

/** The answer to `sync`. */
export function answer(messages, more = {}) {
  const head = messages.at(-1)?.seq ?? 0;
  return {
    type: 'messages',
    conversation: 'g:1',
    incarnation: 1,
    head,
    rev: 0,
    messages,
    changed: [],
    gaps: [],
    more: false,
    ...more,
  };
}

/** An item of the list of conversations. */
export function item(more = {}) {
  return {
    conversation: 'g:1',
    title: 'g',
    head: 10,
    rev: 0,
    incarnation: 1,
    read: 10,
    unread: 0,
    last: message(10),
    updated: 1010,
    ...more,
  };
}
