import assert from 'node:assert/strict';
import test from 'node:test';
import {
  byRecency,
  mergeConversation,
  mergeMessages,
  mergeSpans,
  withMessage,
  withRead,
} from '../../../web/im-client/merge.js';
import { item, message } from './fixtures.js';

test('a changed message replaces the older version whichever comes last', () => {
  const recalled = message(2, { rev: 1, recalled: true, content: {} });
  assert.equal(mergeMessages([message(1), message(2)], [recalled])[1].recalled, true);
  assert.equal(mergeMessages([message(1), recalled], [message(2)])[1].recalled, true);
});

test('older pages and newer pushes make one sorted list with each seq once', () => {
  const list = mergeMessages([message(5), message(6)], [message(4), message(5), message(7), message(3)]);
  assert.deepEqual(
    list.map(({ seq }) => seq),
    [3, 4, 5, 6, 7],
  );
});

test('what two windows hold adds up when it touches', () => {
  const span = { conversation: 'g:1', incarnation: 1, base: 10, seq: 30, rev: 2 };
  assert.deepEqual(mergeSpans({ ...span, base: 31, seq: 40, rev: 1 }, span), { ...span, base: 10, seq: 40, rev: 2 });
});

test('of ranges with a hole between them the newer one stays', () => {
  const old = { conversation: 'g:1', incarnation: 1, base: 1, seq: 20, rev: 0 };
  const fresh = { ...old, base: 500, seq: 520 };
  assert.equal(mergeSpans(old, fresh), fresh);
  assert.equal(mergeSpans(fresh, old), fresh);
});

test('a restored history takes the place of everything held before', () => {
  const old = { conversation: 'g:1', incarnation: 1, base: 1, seq: 20, rev: 0 };
  const restored = { ...old, incarnation: 2, base: 1, seq: 5 };
  assert.equal(mergeSpans(old, restored), restored);
  assert.equal(mergeConversation(item({ read: 10 }), item({ incarnation: 2, read: 3, unread: 2 })).read, 3);
});

test('a read position never moves back to an older one of the server', () => {
  const merged = mergeConversation(item({ read: 10, unread: 0 }), item({ read: 4, unread: 6, mentioned: true }));
  assert.deepEqual([merged.read, merged.unread, merged.mentioned, merged.confirmed], [10, 0, false, 4]);
});

test('a list older than a push does not take the push back', () => {
  const local = item({ head: 12, unread: 2, last: message(12), updated: 1012 });
  const merged = mergeConversation(local, item({ head: 10 }));
  assert.deepEqual([merged.head, merged.last.seq, merged.unread], [12, 12, 2]);
});

test('a recalled last message does not come back with an older list', () => {
  const local = item({ last: message(10, { rev: 3, recalled: true, content: {} }) });
  assert.equal(mergeConversation(local, item()).last.recalled, true);
});

test('messages of others count as unread, mine and notifications do not', () => {
  assert.equal(withMessage(item(), message(11), 'alice').unread, 1);
  assert.equal(withMessage(item(), message(11), 'bob').unread, 0);
  assert.equal(withMessage(item(), message(11, { kind: 'notification' }), 'alice').unread, 0);
});

test('the news of a rename is the new title, and an old one is not', () => {
  const renamed = message(11, {
    kind: 'notification',
    content: { template: 'group_renamed', actor: 'bob', text: 'new' },
  });
  assert.equal(withMessage(item(), renamed, 'alice').title, 'new');
  assert.equal(withMessage(item({ head: 12 }), renamed, 'alice').title, 'g');
});

test('a mention of me or of all is flagged until it is read', () => {
  const mentioned = withMessage(item(), message(11, { mentions: ['alice'] }), 'alice');
  assert.equal(mentioned.mentioned, true);
  assert.equal(withMessage(item(), message(11, { mention_all: true }), 'alice').mentioned, true);
  assert.equal(withRead(mentioned, 11, [], 'alice').mentioned, false);
});

test('reading a part leaves the rest unread', () => {
  const unread = item({ read: 7, unread: 3 });
  const read = withRead(unread, 9, [message(8), message(9), message(10)], 'alice');
  assert.deepEqual([read.read, read.unread], [9, 1]);
  assert.equal(withRead(read, 8, [], 'alice'), read);
});

test('pinned conversations come first and then the newest', () => {
  const order = [
    item({ conversation: 'g:old', updated: 1 }),
    item({ conversation: 'g:new', updated: 2 }),
    item({ conversation: 'g:pin', updated: 0, pinned: true }),
  ];
  assert.deepEqual(
    order.sort(byRecency).map((it) => it.conversation),
    ['g:pin', 'g:new', 'g:old'],
  );
});
