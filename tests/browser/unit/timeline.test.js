import assert from 'node:assert/strict';
import test from 'node:test';
import { MemoryStore } from '../../../web/im-client/store-memory.js';
import { Timeline } from '../../../web/im-client/timeline.js';
import { answer, message } from './fixtures.js';

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => message(from + i));

/** A timeline on a server that holds messages 1 … head. */
function timeline(head, { store = new MemoryStore(), change = (it) => it } = {}) {
  const asked = [];
  const arrived = [];
  const serve = (frame) => {
    if (frame.type === 'sync')
      return answer(range(frame.after + 1, Math.min(head, frame.after + frame.limit)), {
        head,
        more: frame.after + frame.limit < head,
      });
    const last = Math.min(head, (frame.before ?? Infinity) - 1);
    const first = Math.max(1, last - frame.limit + 1);
    return answer(range(first, last), { head, more: first > 1 });
  };
  const it = new Timeline({
    conversation: 'g:1',
    store,
    ask: async (frame) => (asked.push(frame), change(serve(frame))),
    tell: () => {},
    onMessages: (messages) => arrived.push(...messages.map(({ seq }) => seq)),
    onChange: () => {},
  });
  return { it, asked, arrived, store };
}

const seqs = (it) => it.messages.map(({ seq }) => seq);

test('a conversation opens with its newest page and grows upwards', async () => {
  const { it } = timeline(100);
  await it.catchUp();
  assert.deepEqual([seqs(it)[0], seqs(it).at(-1), it.complete], [81, 100, false]);
  while (await it.older());
  assert.deepEqual(
    seqs(it),
    range(1, 100).map(({ seq }) => seq),
  );
  assert.equal(it.complete, true);
});

test('a reload finds what was there and asks only for the rest', async () => {
  const before = timeline(50);
  await before.it.catchUp();
  await before.it.older();
  const { it, asked } = timeline(53, { store: before.store });
  await it.load();
  assert.equal(seqs(it).at(-1), 50);
  it.heard(53, 0);
  await it.catchUp();
  assert.deepEqual(
    asked.map(({ type, after }) => [type, after]),
    [['sync', 50]],
  );
  assert.equal(seqs(it).at(-1), 53);
});

test('older messages come from the store when it has them', async () => {
  const before = timeline(200);
  await before.it.catchUp();
  for (let i = 0; i < 3; i++) await before.it.older();
  const { it, asked } = timeline(200, { store: before.store });
  await it.load();
  await it.older();
  assert.deepEqual(asked, []);
  assert.equal(seqs(it)[0], 200 - 60 - 40 + 1);
});

test('far behind it starts over with the newest page instead of pulling everything', async () => {
  const before = timeline(10);
  await before.it.catchUp();
  const { it, arrived } = timeline(5000, { store: before.store });
  await it.load();
  it.heard(5000, 0);
  await it.catchUp();
  assert.deepEqual([seqs(it)[0], seqs(it).at(-1), arrived.length], [4981, 5000, 20]);
});

test('another incarnation forgets what was held and starts over', async () => {
  const before = timeline(50);
  await before.it.catchUp();
  const restored = (it) => ({
    ...it,
    incarnation: 2,
    messages: it.messages.map((m) => ({ ...m, incarnation: 2, content: { text: 'restored' } })),
  });
  const { it } = timeline(30, { store: before.store, change: restored });
  await it.load();
  it.heard(30, 0, 2);
  await it.catchUp();
  assert.equal(seqs(it).at(-1), 30);
  assert.ok(it.messages.every((m) => m.content.text === 'restored'));
});

test('message 1 of a new conversation needs no question', async () => {
  const { it, asked, arrived } = timeline(1);
  it.push(message(1));
  assert.deepEqual([arrived, asked], [[1], []]);
});

test('an answer without progress ends the asking', async () => {
  const { it, asked } = timeline(5);
  await it.catchUp();
  it.heard(9, 0); // the list knows of more than this user may see
  await it.catchUp();
  assert.equal(asked.length, 2);
});
