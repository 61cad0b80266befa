import assert from 'node:assert/strict';
import { test } from 'node:test';
import { by } from './browser.js';
import { openStage } from './stage.js';

const stage = openStage();

test('somebody new signs up, is found, asked, and becomes a friend', async () => {
  const { ann } = await stage.pair('friends');
  const user = `dan-${stage.run}`;
  const two = await stage.browser.window(await stage.browser.profile());
  await two.page.click(by('sign-in-toggle'));
  await two.page.fill(by('sign-in-user'), user);
  await two.page.fill(by('sign-up-name'), 'Dan Doe');
  await two.page.fill(by('sign-in-password'), 'dan-password');
  await two.page.click(by('sign-in-submit'));
  await two.page.waitForSelector(`${by('shell')}[data-user="${user}"]`);
  await two.online();
  const one = await stage.browser.signedIn(ann);
  await one.page.click(by('new-menu'));
  await one.page.click(by('add-friend'));
  await one.page.fill(by('add-friend-query'), user);
  await one.page.fill(by('add-friend-message'), 'It is Ann');
  await one.page.click(`${by('add-friend-row')}[data-id="${user}"] ${by('add-friend-send')}`);
  await two.page.locator(by('badge-contacts'), { hasText: '1' }).waitFor();
  await two.page.click(by('tab-contacts'));
  await two.page.locator(by('friend-request'), { hasText: 'It is Ann' }).waitFor();
  await two.shot('friend-request');
  await two.page.click(by('friend-accept'));
  await two.page.locator(`${by('friend')}[data-id="${ann.user}"]`).waitFor();
  await one.page.keyboard.press('Escape');
  await one.openFriend(user);
  await one.say('Welcome');
  await two.page.click(by('tab-chats'));
  await two.page.locator(by('conversation-preview'), { hasText: 'Welcome' }).waitFor();
});

test('two accounts live side by side in two windows of one profile', async () => {
  const { ann, ben, direct } = await stage.pair('tabs');
  const context = await stage.browser.profile();
  const left = await stage.browser.window(context);
  await left.signIn(ann);
  const right = await stage.browser.window(context);
  await right.page.waitForSelector(`${by('shell')}[data-user="${ann.user}"]`);
  await right.page.click(by('tab-settings'));
  await right.page.click(by('switch-account'));
  await right.page.locator(by('continue'), { hasText: ann.user }).waitFor();
  await right.signIn(ben);
  await left.openFriend(ben.user);
  await left.say('to the next window');
  await right.open(direct);
  await right.message('to the next window').waitFor();
  await left.page.reload();
  await left.page.waitForSelector(`${by('shell')}[data-user="${ann.user}"]`);
});

test('two windows of one account show the same and send each message once', async () => {
  const { ann, ben, direct } = await stage.pair('windows');
  await stage.server.send(ben, { to: ann.user }, 'hi');
  const context = await stage.browser.profile();
  const left = await stage.browser.window(context);
  await left.signIn(ann);
  const right = await stage.browser.window(context);
  await right.page.waitForSelector(`${by('shell')}[data-user="${ann.user}"]`);
  await right.online();
  await left.open(direct);
  await left.row(direct).locator(by('unread')).waitFor({ state: 'detached' });
  await right.row(direct).locator(by('unread')).waitFor({ state: 'detached' });
  await right.open(direct);
  await left.say('from the left');
  await right.message('from the left').waitFor();
  await right.say('from the right');
  await left.shows(['hi', 'from the left', 'from the right']);
  await right.shows(['hi', 'from the left', 'from the right']);
  await left.receipt('from the right', 'sent');
});

test('a sign-in on another device ends this one in words', async () => {
  const { ann } = await stage.pair('kicked');
  const first = await stage.browser.signedIn(ann);
  await stage.browser.signedIn(ann);
  await first.page.locator(by('sign-in-notice'), { hasText: 'another device' }).waitFor();
});

test('signing out leaves nothing of the user in the browser', async () => {
  const { ann, ben } = await stage.pair('signout');
  await stage.server.send(ben, { to: ann.user }, 'secret');
  const one = await stage.browser.signedIn(ann);
  await one.page.click(by('tab-settings'));
  await one.page.click(by('sign-out'));
  await one.page.click(by('confirm'));
  await one.page.waitForSelector(by('sign-in-form'));
  const left = await one.page.evaluate(
    async (user) => ({
      databases: (await indexedDB.databases()).map(({ name }) => name),
      record: localStorage.getItem(`im:session:${user}`),
    }),
    ann.user,
  );
  assert.deepEqual(left, { databases: [], record: null });
});

test('a token that ends is renewed by one window for all, and a refused one is replaced', async () => {
  const { ann, ben, direct } = await stage.pair('token');
  await stage.server.send(ben, { to: ann.user }, 'hi');
  const context = await stage.browser.profile();
  const left = await stage.browser.window(context);
  await left.signIn(ann);
  let renewals = 0;
  context.on('request', (request) => (renewals += Number(request.url().endsWith('/v1/sessions/refresh'))));
  /** @param {object} changes  to the record of the session */
  const change = (changes) =>
    left.page.evaluate(
      ([key, changes]) =>
        localStorage.setItem(key, JSON.stringify({ ...JSON.parse(localStorage.getItem(key)), ...changes })),
      [`im:session:${ann.user}`, changes],
    );
  await change({ renew_at: 0 });
  const [right] = await Promise.all([stage.browser.window(context), left.page.reload()]);
  await Promise.all([left.online(), right.online()]);
  assert.equal(renewals, 1);
  await change({ access_token: 'rubbish' });
  await left.page.reload();
  await left.online();
  assert.equal(renewals, 2);
  await left.open(direct);
  await left.say('still here');
  await left.receipt('still here', 'sent');
});
