import assert from 'node:assert/strict';
import test from 'node:test';
import { Disconnected, ServerError } from '../../../web/im-client/errors.js';
import { Outbox } from '../../../web/im-client/outbox.js';
import { MemoryStore } from '../../../web/im-client/store-memory.js';

const body = (text) => ({ kind: 'text', content: { text } });

/** An outbox whose server is a function of the frame. */
function outbox(serve, store = new MemoryStore()) {
  const frames = [];
  let online = true;
  const it = new Outbox({
    me: `u${Math.random()}`,
    store,
    online: () => online,
    ask: async (frame) => (frames.push(frame), serve(frame, frames.length)),
    onChange: () => {},
    onSent: (unsent) => void it.drop(unsent.client_message_id),
  });
  return { it, frames, store, setOnline: (value) => (online = value) };
}

async function until(condition) {
  for (const end = Date.now() + 5000; !condition();) {
    assert.ok(Date.now() < end, 'in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('messages leave one by one in the order they were written', async () => {
  const { it, frames } = outbox(async (_frame, n) => ({ seq: n }));
  await Promise.all(['a', 'b', 'c', 'd'].map((text) => it.add('g:1', body(text))));
  await until(() => !it.waiting);
  assert.deepEqual(
    frames.map((frame) => frame.content.text),
    ['a', 'b', 'c', 'd'],
  );
});

test('an interrupted message is sent again under the same id', async () => {
  const { it, frames } = outbox(async (_frame, n) => {
    if (n === 1) throw new Disconnected();
    return { seq: 1 };
  });
  await it.add('g:1', body('a'));
  await until(() => frames.length === 1);
  await until(() => (void it.pump(), !it.waiting));
  assert.equal(frames.length, 2);
  assert.equal(frames[0].client_message_id, frames[1].client_message_id);
});

test('a refusal for a while is tried again and keeps the order', async () => {
  const { it, frames } = outbox(async (_frame, n) => {
    if (n === 1) throw new ServerError('rate_limited', '', { retryable: true, retryAfterMs: 5 });
    return { seq: n };
  });
  await it.add('g:1', body('a'));
  await it.add('g:1', body('b'));
  await until(() => !it.waiting);
  assert.deepEqual(
    frames.map((frame) => frame.content.text),
    ['a', 'a', 'b'],
  );
});

test('a refusal for good fails the message alone and leaves the choice to the user', async () => {
  const { it, frames } = outbox(async (frame) => {
    if (frame.content.text === 'bad') throw new ServerError('blocked', '');
    return { seq: 1 };
  });
  const { client_message_id } = await it.add('d:a:b', body('bad'));
  await it.add('g:1', body('good'));
  await until(() => !it.waiting);
  assert.deepEqual(
    it.of('d:a:b').map(({ state, code }) => [state, code]),
    [['failed', 'blocked']],
  );
  await it.retry(client_message_id);
  await until(() => frames.length === 3);
  await until(() => !it.waiting);
  await it.drop(client_message_id);
  assert.deepEqual(it.of('d:a:b'), []);
});

test('what was queued while disconnected is there after a reload', async () => {
  const first = outbox(async () => ({ seq: 1 }));
  first.setOnline(false);
  await first.it.add('g:1', body('later'));
  const second = outbox(async () => ({ seq: 1 }), first.store);
  await second.it.load();
  await second.it.pump();
  second.it.close();
  assert.deepEqual(
    second.frames.map((frame) => frame.content.text),
    ['later'],
  );
  assert.deepEqual(await first.store.unsent(), []);
});
