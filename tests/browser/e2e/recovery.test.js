import assert from 'node:assert/strict';
import { test } from 'node:test';
import { by } from './browser.js';
import { openStage } from './stage.js';

const stage = openStage();

test('a killed server takes nothing with it: what was written meanwhile arrives once, in order', async (t) => {
  if (!stage.server.ours) return t.skip('the server at IM_BASE_URL is not ours to kill');
  const { ann, ben, direct } = await stage.pair('kill');
  await stage.server.send(ann, { to: ben.user }, 'before');
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
  await one.open(direct);
  await two.open(direct);
  await one.shows(['before']);
  await stage.server.kill();
  await one.page.locator(by('banner'), { hasText: 'No connection' }).waitFor();
  const written = ['one', 'two', 'three', 'four', 'five'];
  for (const text of written) await one.say(text);
  await one.receipt('five', 'queued');
  await one.shot('offline');
  await stage.server.run();
  await one.receipt('five', 'read');
  await one.shows(['before', ...written]);
  await two.shows(['before', ...written]);
  await one.page.locator(by('banner')).waitFor({ state: 'hidden' });
});

test('a lost network is noticed, and everything that was missed comes with it', async () => {
  const { ann, ben, direct } = await stage.pair('network');
  await stage.server.send(ann, { to: ben.user }, 'before');
  const two = await stage.browser.signedIn(ben);
  await two.open(direct);
  await two.shows(['before']);
  await two.page.context().setOffline(true);
  await two.page.waitForSelector(`${by('banner')}:not([data-state="online"])`, { state: 'attached' });
  await stage.server.send(ann, { to: ben.user }, 'while away');
  await two.say('from the tunnel');
  await two.receipt('from the tunnel', 'queued');
  await two.page.context().setOffline(false);
  await two.shows(['before', 'while away', 'from the tunnel']);
  await two.receipt('from the tunnel', 'sent');
});

test('a reload keeps what was not sent and doubles nothing', async () => {
  const { ann, ben, direct } = await stage.pair('reload');
  await stage.server.send(ben, { to: ann.user }, 'before');
  const one = await stage.browser.signedIn(ann);
  await one.open(direct);
  await one.shows(['before']);
  // The page can be loaded, the socket cannot be opened: what is written must wait in the store.
  let cut = true;
  await one.page
    .context()
    .routeWebSocket(/\/v1\/connect$/, (socket) => (cut ? socket.close() : socket.connectToServer()));
  await one.page.reload();
  await one.shows(['before']);
  await one.say('written while away');
  await one.say('and another');
  await one.receipt('and another', 'queued');
  await one.page.reload();
  await one.shows(['before', 'written while away', 'and another']);
  cut = false;
  await one.page.reload();
  await one.receipt('and another', 'sent');
  await one.shows(['before', 'written while away', 'and another']);
  await one.page.reload();
  await one.online();
  await one.shows(['before', 'written while away', 'and another']);
  const stored = await stage.server.call('GET', `/v1/conversations/${direct}/messages`, { token: ben.token });
  assert.deepEqual(
    stored.messages.map((message) => message.content.text),
    ['before', 'written while away', 'and another'],
  );
});

test('messages written while the connection breaks again and again arrive once, in order', async () => {
  const { ann, ben, direct } = await stage.pair('breaks');
  await stage.server.send(ann, { to: ben.user }, 'before');
  const context = await stage.browser.profile();
  const sockets = new Set();
  await context.routeWebSocket(/\/v1\/connect$/, (socket) => {
    const server = socket.connectToServer();
    sockets.add(() => socket.close().then(() => server.close()));
  });
  const one = await stage.browser.window(context);
  await one.signIn(ann);
  const two = await stage.browser.signedIn(ben);
  await one.open(direct);
  await two.open(direct);
  const written = Array.from({ length: 40 }, (_, i) => `line ${i + 1}`);
  for (const [i, text] of written.entries()) {
    await one.say(text);
    // A different moment of the exchange every time: before the frame, before the ack, after it.
    if (i % 4 === 3) for (const cut of sockets) (sockets.delete(cut), void cut().catch(() => {}));
    if (i === 20) await one.page.reload().then(() => one.page.waitForSelector(by('composer')));
  }
  await one.receipt('line 40', 'read');
  await one.shows(['before', ...written]);
  await two.shows(['before', ...written]);
  const stored = await stage.server.call('GET', `/v1/conversations/${direct}/messages?limit=200`, { token: ben.token });
  assert.deepEqual(
    stored.messages.map((message) => message.content.text),
    ['before', ...written],
  );
});
