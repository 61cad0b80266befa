import assert from 'node:assert/strict';
import test from 'node:test';
import { directConversation, groupOf, peerOf, randomId } from '../../../web/im-client/ids.js';

test('a direct conversation has one name from both sides', () => {
  assert.equal(directConversation('bob', 'alice'), 'd:alice:bob');
  assert.equal(directConversation('alice', 'bob'), 'd:alice:bob');
});

test('user ids are sorted by byte, capitals first', () => {
  assert.equal(directConversation('alice', 'Bob'), 'd:Bob:alice');
});

test('the other side of a direct conversation is found, also when it is me', () => {
  assert.equal(peerOf('d:alice:bob', 'alice'), 'bob');
  assert.equal(peerOf('d:alice:bob', 'bob'), 'alice');
  assert.equal(peerOf('d:alice:alice', 'alice'), 'alice');
  assert.equal(peerOf('g:1', 'alice'), null);
  assert.equal(groupOf('g:1'), '1');
});

test('random ids fit the wire and do not repeat', () => {
  const ids = new Set(Array.from({ length: 100 }, randomId));
  assert.equal(ids.size, 100);
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/);
});
