import assert from 'node:assert/strict';
import test from 'node:test';
import { Cursor } from '../../../web/im-client/cursor.js';
import { answer, message } from './fixtures.js';

const seqs = (messages) => messages.map(({ seq }) => seq);

test('the next message is applied at once', () => {
  const cursor = new Cursor(4, 0, 1);
  assert.deepEqual(seqs(cursor.push(message(5))), [5]);
  assert.equal(cursor.behind, false);
});

test('a message that came too early waits for the one before it', () => {
  const cursor = new Cursor(4, 0, 1);
  assert.deepEqual(cursor.push(message(6)), []);
  assert.equal(cursor.behind, true);
  assert.deepEqual(seqs(cursor.push(message(5))), [5, 6]);
  assert.equal(cursor.behind, false);
});

test('a message that was applied before is dropped', () => {
  const cursor = new Cursor(4, 0, 1);
  cursor.push(message(5));
  assert.deepEqual(cursor.push(message(5)), []);
  assert.equal(cursor.seq, 5);
});

test('an answer fills the hole and releases what was held', () => {
  const cursor = new Cursor(4, 0, 1);
  cursor.push(message(8));
  const applied = cursor.answer(answer([message(5), message(6), message(7)], { head: 8 }));
  assert.deepEqual(seqs(applied), [5, 6, 7, 8]);
});

test('a gap is stepped over only when the server names it', () => {
  const cursor = new Cursor(4, 0, 1);
  assert.deepEqual(seqs(cursor.answer(answer([message(7)], { head: 7 }))), []);
  assert.deepEqual(seqs(cursor.answer(answer([message(7)], { head: 7, gaps: [[5, 6]] }))), [7]);
});

test('a gap at the end of an answer moves the cursor without a message', () => {
  const cursor = new Cursor(4, 0, 1);
  assert.deepEqual(cursor.answer(answer([], { head: 6, gaps: [[5, 6]] })), []);
  assert.equal(cursor.seq, 6);
  assert.equal(cursor.behind, false);
});

test('an answer older than what was pushed meanwhile doubles nothing', () => {
  const cursor = new Cursor(4, 0, 1);
  cursor.push(message(5));
  cursor.push(message(6));
  assert.deepEqual(cursor.answer(answer([message(5)], { head: 5 })), []);
  assert.equal(cursor.seq, 6);
});

test('the rev moves over changes without a hole and stays before one', () => {
  const cursor = new Cursor(4, 3, 1);
  cursor.change(4, message(2, { rev: 4 }));
  assert.equal(cursor.rev, 4);
  cursor.change(6, message(3, { rev: 6 }));
  assert.equal(cursor.rev, 4);
  assert.equal(cursor.behind, true);
  cursor.answer(answer([], { head: 4, rev: 6 }));
  assert.equal(cursor.behind, false);
});

test('a change that overtakes its message waits for its turn and is not undone by it', () => {
  const cursor = new Cursor(4, 0, 1);
  const recalled = message(6, { rev: 1, recalled: true });
  assert.deepEqual(cursor.change(1, recalled), []);
  cursor.push(message(6));
  assert.deepEqual(
    cursor.push(message(5)).map((it) => [it.seq, it.recalled ?? false]),
    [
      [5, false],
      [6, true],
    ],
  );
});

test('a message made after changes that were missed says so', () => {
  const cursor = new Cursor(4, 3, 1);
  cursor.push(message(5, { rev: 5 }));
  assert.equal(cursor.behind, true);
});

test('any order and any doubling of pushes ends in the stored order', () => {
  let seed = 7;
  const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  for (let round = 0; round < 200; round++) {
    const cursor = new Cursor(0, 0, 1);
    const applied = [];
    const all = Array.from({ length: 12 }, (_, i) => i + 1);
    const pushed = [...all, ...all].sort(() => random(3) - 1);
    for (const seq of pushed) applied.push(...seqs(cursor.push(message(seq))));
    assert.deepEqual(applied, all);
  }
});

test('what was held before a change of which the answer tells is pulled again', () => {
  const cursor = new Cursor(4, 0, 1);
  cursor.push(message(7, { rev: 0 }));
  assert.deepEqual(seqs(cursor.answer(answer([message(5), message(6)], { head: 7, rev: 3 }))), [5, 6]);
  assert.equal(cursor.behind, true);
  const recalled = message(7, { rev: 3, recalled: true });
  assert.deepEqual(cursor.answer(answer([recalled], { head: 7, rev: 3 })), [recalled]);
});

test('a push from before a change that was applied is pulled instead', () => {
  const cursor = new Cursor(4, 3, 1);
  assert.deepEqual(cursor.push(message(5, { rev: 2 })), []);
  assert.equal(cursor.behind, true);
});
