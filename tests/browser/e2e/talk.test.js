import assert from 'node:assert/strict';
import { test } from 'node:test';
import { by } from './browser.js';
import { openStage } from './stage.js';

const stage = openStage();
/** What `dev` makes. */
const ALICE = { user: 'alice', password: 'alice' };
const BOB = { user: 'bob', password: 'bob' };

test('the page comes with a content policy that allows nothing inline', async () => {
  const response = await fetch(`${stage.server.base}/`);
  const policy = response.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
});

test('a wrong password is refused in words', async () => {
  const window = await stage.browser.window(await stage.browser.profile());
  await window.page.fill(by('sign-in-user'), ALICE.user);
  await window.page.fill(by('sign-in-password'), 'wrong');
  await window.page.click(by('sign-in-submit'));
  await window.page.locator(by('sign-in-error'), { hasText: 'User name or password is wrong.' }).waitFor();
  await window.shot('sign-in');
});

test('two people sign in on two pages, talk, and see unread counts and read receipts', async () => {
  const alice = await stage.browser.signedIn(ALICE);
  const bob = await stage.browser.signedIn(BOB);
  await alice.openFriend('bob');
  const hello = `Hello Bob ${stage.run}`;
  await alice.say(hello);
  await alice.receipt(hello, 'delivered');
  await bob.row('d:alice:bob').locator(by('unread')).waitFor();
  await bob.shot('unread');
  assert.match(await bob.page.title(), /^\(\d+\)/);
  await bob.open('d:alice:bob');
  await bob.message(hello).waitFor();
  await alice.receipt(hello, 'read');
  await bob.row('d:alice:bob').locator(by('unread')).waitFor({ state: 'detached' });
  const answer = `Hello Alice ${stage.run}`;
  await bob.say(answer);
  await alice.message(answer).waitFor();
  await bob.receipt(answer, 'read');
  await alice.shot('conversation');
});

test('the other side is seen online, typing, and gone', async () => {
  const { ann, ben, direct } = await stage.pair('presence');
  await stage.server.send(ann, { to: ben.user }, 'hi');
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
  await one.open(direct);
  await two.open(direct);
  await one.page.locator(by('chat-subtitle'), { hasText: 'online' }).waitFor();
  await two.page.type(by('composer'), 'thinking');
  await one.page.locator(by('chat-subtitle'), { hasText: 'typing' }).waitFor();
  await two.page.context().close();
  await one.page.locator(by('chat-subtitle'), { hasText: 'last seen' }).waitFor();
});

test('text that looks like a script stays text', async () => {
  const { ann, ben, direct } = await stage.pair('script');
  const evil = '<img src=x onerror="document.title=1"><script>alert(1)</script> &lt;b&gt; javascript:alert(1)';
  await stage.server.call('PATCH', '/v1/users/me', { token: ann.token, body: { name: '<b>Ann</b>' } });
  await stage.server.send(ann, { to: ben.user }, evil);
  const two = await stage.browser.signedIn(ben);
  await two.row(direct).waitFor();
  await two.open(direct);
  await two.shows([evil]);
  await two.page.locator(by('chat-title'), { hasText: '<b>Ann</b>' }).waitFor();
  const made = await two.page.evaluate(
    () => document.querySelectorAll('#app img, #app script, #app b, #app a[href^="javascript"]').length,
  );
  assert.equal(made, 0);
});

test('a reply quotes, and a recalled message is gone for both', async () => {
  const { ann, ben, direct } = await stage.pair('recall');
  await stage.server.send(ben, { to: ann.user }, 'Shall we?');
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
  await one.open(direct);
  await two.open(direct);
  await one.act('Shall we?', 'action-reply');
  await one.say('Yes, at noon');
  await two.message('Yes, at noon').locator(by('quote'), { hasText: 'Shall we?' }).waitFor();
  await one.act('Yes, at noon', 'action-recall');
  await one.page.click(by('confirm'));
  await one.page.locator(by('recalled'), { hasText: 'You recalled a message' }).waitFor();
  await two.page.locator(by('recalled'), { hasText: 'Ann Archer recalled a message' }).waitFor();
  await two.shows(['Shall we?']);
  await two.shot('recall');
});

test('older messages come in while scrolling up and what is read stays in place', async () => {
  const { ann, ben, direct } = await stage.pair('history');
  const texts = Array.from({ length: 130 }, (_, i) => `line ${i + 1}`);
  for (const text of texts) await stage.server.sendPatiently(ann, ben, text);
  const two = await stage.browser.signedIn(ben);
  await two.open(direct);
  await two.page.locator(by('divider')).waitFor({ state: 'attached' });
  await two.until(
    'everything loaded by scrolling up',
    (count) => {
      document.querySelector('[data-testid="scroller"]').scrollTop = 0;
      return (
        document.querySelectorAll('[data-testid="message"]').length === count ||
        document.querySelectorAll('[data-testid="message"]').length
      );
    },
    texts.length,
  );
  await two.shows(texts);
  await two.page.locator(by('beginning')).waitFor({ state: 'attached' });
  await two.page.click(by('jump'));
  await two.page.locator(by('jump')).waitFor({ state: 'hidden' });
  await two.row(direct).locator(by('unread')).waitFor({ state: 'detached' });
});

test('a message that is refused for good says why and can be dropped', async () => {
  const { ann, ben, direct } = await stage.pair('blocked');
  await stage.server.send(ann, { to: ben.user }, 'before');
  await stage.server.call('PUT', `/v1/blocks/${ann.user}`, { token: ben.token });
  const one = await stage.browser.signedIn(ann);
  await one.open(direct);
  await one.say('are you there?');
  await one.page.locator(by('failure'), { hasText: 'does not take messages' }).waitFor();
  await one.shot('failed');
  await stage.server.call('DELETE', `/v1/blocks/${ann.user}`, { token: ben.token });
  await one.page.click(by('failed-retry'));
  await one.receipt('are you there?', 'sent');
  await stage.server.call('PUT', `/v1/blocks/${ann.user}`, { token: ben.token });
  await one.say('again');
  await one.page.click(by('failed-delete'));
  await one.shows(['before', 'are you there?']);
});

test('a draft is kept with its conversation', async () => {
  const { ann, ben, direct } = await stage.pair('draft');
  await stage.server.send(ben, { to: ann.user }, 'hi');
  const one = await stage.browser.signedIn(ann);
  await one.open(direct);
  await one.page.fill(by('composer'), 'half a thought');
  await one.page.keyboard.press('Escape');
  await one.row(direct).locator(by('draft-flag')).waitFor();
  await one.page.reload();
  await one.open(direct);
  assert.equal(await one.page.inputValue(by('composer')), 'half a thought');
});
