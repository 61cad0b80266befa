import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Browser, by } from './browser.js';
import { Server } from './server.js';

const ALICE = { user: 'alice', password: 'alice' };
const BOB = { user: 'bob', password: 'bob' };
/** Names of one run do not meet those of another on the same server. */
const RUN = Date.now().toString(36);

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await Browser.start(server.base);
  console.log(`screenshots: ${browser.shots}`);
});
afterEach(async () => {
  await browser?.closeAll();
  assert.deepEqual(browser?.takeProblems() ?? [], [], 'no page reported an error or a violation of its content policy');
});
after(async () => {
  await browser?.stop();
  await server?.stop();
});

/** Two friends with accounts of their own, and the conversation between them. */
async function pair(label) {
  const ann = await server.account(`ann-${label}-${RUN}`, 'Ann Archer');
  const ben = await server.account(`ben-${label}-${RUN}`, 'Ben Baker');
  await server.befriend(ann, ben);
  return { ann, ben, direct: `d:${ann.user}:${ben.user}` };
}

test('the page comes with a content policy that allows nothing inline', async () => {
  const response = await fetch(`${server.base}/`);
  const policy = response.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
});

test('a wrong password is refused in words', async () => {
  const window = await browser.window(await browser.profile());
  await window.page.fill(by('sign-in-user'), ALICE.user);
  await window.page.fill(by('sign-in-password'), 'wrong');
  await window.page.click(by('sign-in-submit'));
  await window.page.locator(by('sign-in-error'), { hasText: 'User name or password is wrong.' }).waitFor();
  await window.shot('sign-in');
});

test('two people sign in on two pages, talk, and see unread counts and read receipts', async () => {
  const alice = await browser.signedIn(ALICE);
  const bob = await browser.signedIn(BOB);
  await alice.openFriend('bob');
  const hello = `Hello Bob ${RUN}`;
  await alice.say(hello);
  await alice.receipt(hello, 'delivered');
  await bob.row('d:alice:bob').locator(by('unread')).waitFor();
  await bob.shot('unread');
  assert.match(await bob.page.title(), /^\(\d+\)/);
  await bob.open('d:alice:bob');
  await bob.message(hello).waitFor();
  await alice.receipt(hello, 'read');
  await bob.row('d:alice:bob').locator(by('unread')).waitFor({ state: 'detached' });
  const answer = `Hello Alice ${RUN}`;
  await bob.say(answer);
  await alice.message(answer).waitFor();
  await bob.receipt(answer, 'read');
  await alice.shot('conversation');
});

test('the other side is seen online, typing, and gone', async () => {
  const { ann, ben, direct } = await pair('presence');
  await server.send(ann, { to: ben.user }, 'hi');
  const one = await browser.signedIn(ann);
  const two = await browser.signedIn(ben);
  await one.open(direct);
  await two.open(direct);
  await one.page.locator(by('chat-subtitle'), { hasText: 'online' }).waitFor();
  await two.page.type(by('composer'), 'thinking');
  await one.page.locator(by('chat-subtitle'), { hasText: 'typing' }).waitFor();
  await two.page.context().close();
  await one.page.locator(by('chat-subtitle'), { hasText: 'last seen' }).waitFor();
});

test('text that looks like a script stays text', async () => {
  const { ann, ben, direct } = await pair('script');
  const evil = '<img src=x onerror="document.title=1"><script>alert(1)</script> &lt;b&gt; javascript:alert(1)';
  await server.call('PATCH', '/v1/users/me', { token: ann.token, body: { name: '<b>Ann</b>' } });
  await server.send(ann, { to: ben.user }, evil);
  const two = await browser.signedIn(ben);
  await two.row(direct).waitFor();
  await two.open(direct);
  await two.shows([evil]);
  await two.page.locator(by('chat-title'), { hasText: '<b>Ann</b>' }).waitFor();
  const made = await two.page.evaluate(() => document.querySelectorAll('#app img, #app script, #app b, #app a[href^="javascript"]').length);
  assert.equal(made, 0);
});

test('a group is made, everyone reads the same event in their own words, mentions and readers are seen', async () => {
  const { ann, ben } = await pair('group');
  const cat = await server.account(`cat-group-${RUN}`, 'Cat Cole');
  await server.befriend(ann, cat);
  const one = await browser.signedIn(ann);
  const two = await browser.signedIn(ben);
  await one.page.click(by('new-menu'));
  await one.page.click(by('new-group'));
  await one.page.fill(by('group-name'), 'Climbing');
  await one.page.click(`${by('pick-row')}[data-id="${ben.user}"]`);
  await one.page.click(`${by('pick-row')}[data-id="${cat.user}"]`);
  await one.shot('group-dialog');
  await one.page.click(by('group-create'));
  await one.page.locator(by('notice'), { hasText: 'You created the group with Ben Baker, Cat Cole' }).waitFor();

  const group = two.page.locator(by('conversation'), { hasText: 'Climbing' });
  await group.locator(by('conversation-preview'), { hasText: 'Ann Archer created the group with you, Cat Cole' }).waitFor();
  await one.page.type(by('composer'), 'Look here @ben');
  await one.page.locator(by('mention-offer'), { hasText: 'Ben Baker' }).waitFor();
  await one.page.press(by('composer'), 'Enter');
  await one.page.press(by('composer'), 'Enter');
  await one.message('Look here @Ben Baker').waitFor();
  await group.locator(by('mention-flag')).waitFor();
  await two.shot('mention');
  await group.click();
  await two.page.locator(by('mention'), { hasText: '@Ben Baker' }).waitFor();

  await one.page.locator(by('read-count'), { hasText: '1' }).waitFor();
  await one.page.click(by('readers-open'));
  await one.page.locator(`${by('reader')}[data-id="${ben.user}"]`).waitFor();
  assert.equal(await one.page.locator(by('reader')).count(), 1);
  await one.page.click(by('chat-info'));
  await one.page.locator(by('member')).nth(2).waitFor();
  await one.shot('group');
});

test('a group is run from its panel: renamed, an admin made, a member removed', async () => {
  const { ann, ben } = await pair('panel');
  const { conversation } = await server.call('POST', '/v1/groups', { token: ann.token, body: { name: 'Before', members: [ben.user] } });
  const one = await browser.signedIn(ann);
  const two = await browser.signedIn(ben);
  await one.open(conversation);
  await one.page.click(by('chat-info'));
  await one.page.click(by('group-rename'));
  await one.page.fill(by('ask-field'), 'After');
  await one.page.click(by('ask-save'));
  await one.page.locator(by('group-title'), { hasText: 'After' }).waitFor();
  await two.row(conversation).locator(by('conversation-title'), { hasText: 'After' }).waitFor();

  const member = one.page.locator(`${by('member')}[data-id="${ben.user}"]`);
  await member.locator(by('member-menu')).click();
  await one.page.click(by('member-role'));
  await member.locator(by('role'), { hasText: 'admin' }).waitFor();
  await member.locator(by('member-menu')).click();
  await one.page.click(by('member-kick'));
  await one.page.click(by('confirm'));
  await member.waitFor({ state: 'detached' });
  await two.page.locator(by('toast'), { hasText: 'You were removed from “After”.' }).waitFor();
  await two.row(conversation).waitFor({ state: 'detached' });
});

test('a reply quotes, and a recalled message is gone for both', async () => {
  const { ann, ben, direct } = await pair('recall');
  await server.send(ben, { to: ann.user }, 'Shall we?');
  const one = await browser.signedIn(ann);
  const two = await browser.signedIn(ben);
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
  const { ann, ben, direct } = await pair('history');
  const texts = Array.from({ length: 130 }, (_, i) => `line ${i + 1}`);
  for (const text of texts) await sendSlowly(ann, ben, text);
  const two = await browser.signedIn(ben);
  await two.open(direct);
  await two.page.locator(by('divider')).waitFor({ state: 'attached' });
  await two.until('everything loaded by scrolling up', (count) => {
    document.querySelector('[data-testid="scroller"]').scrollTop = 0;
    return document.querySelectorAll('[data-testid="message"]').length === count || document.querySelectorAll('[data-testid="message"]').length;
  }, texts.length);
  await two.shows(texts);
  await two.page.locator(by('beginning')).waitFor({ state: 'attached' });
  await two.page.click(by('jump'));
  await two.page.locator(by('jump')).waitFor({ state: 'hidden' });
  await two.row(direct).locator(by('unread')).waitFor({ state: 'detached' });
});

test('a killed server takes nothing with it: what was written meanwhile arrives once, in order', async (t) => {
  if (!server.ours) return t.skip('the server at IM_BASE_URL is not ours to kill');
  const { ann, ben, direct } = await pair('kill');
  await server.send(ann, { to: ben.user }, 'before');
  const one = await browser.signedIn(ann);
  const two = await browser.signedIn(ben);
  await one.open(direct);
  await two.open(direct);
  await one.shows(['before']);
  await server.kill();
  await one.page.locator(by('banner'), { hasText: 'No connection' }).waitFor();
  const written = ['one', 'two', 'three', 'four', 'five'];
  for (const text of written) await one.say(text);
  await one.receipt('five', 'queued');
  await one.shot('offline');
  await server.run();
  await one.receipt('five', 'read');
  await one.shows(['before', ...written]);
  await two.shows(['before', ...written]);
  await one.page.locator(by('banner')).waitFor({ state: 'hidden' });
});

test('a lost network is noticed, and everything that was missed comes with it', async () => {
  const { ann, ben, direct } = await pair('network');
  await server.send(ann, { to: ben.user }, 'before');
  const two = await browser.signedIn(ben);
  await two.open(direct);
  await two.shows(['before']);
  await two.page.context().setOffline(true);
  await two.page.waitForSelector(`${by('banner')}:not([data-state="online"])`, { state: 'attached' });
  await server.send(ann, { to: ben.user }, 'while away');
  await two.say('from the tunnel');
  await two.receipt('from the tunnel', 'queued');
  await two.page.context().setOffline(false);
  await two.shows(['before', 'while away', 'from the tunnel']);
  await two.receipt('from the tunnel', 'sent');
});

test('a reload keeps what was not sent and doubles nothing', async () => {
  const { ann, ben, direct } = await pair('reload');
  await server.send(ben, { to: ann.user }, 'before');
  const one = await browser.signedIn(ann);
  await one.open(direct);
  await one.shows(['before']);
  // The page can be loaded, the socket cannot be opened: what is written must wait in the store.
  await one.page.context().routeWebSocket(/\/v1\/connect$/, (socket) => socket.close());
  await one.page.reload();
  await one.shows(['before']);
  await one.say('written while away');
  await one.say('and another');
  await one.receipt('and another', 'queued');
  await one.page.reload();
  await one.shows(['before', 'written while away', 'and another']);
  const fresh = await one.page.context().newPage();
  await fresh.close();
  await one.page.context().unrouteAll?.();
  const again = await reopened(one);
  await again.open(direct);
  await again.shows(['before', 'written while away', 'and another']);
  await again.receipt('and another', 'sent');
  await again.page.reload();
  await again.shows(['before', 'written while away', 'and another']);
});

test('two windows of one account show the same and send each message once', async () => {
  const { ann, ben, direct } = await pair('windows');
  await server.send(ben, { to: ann.user }, 'hi');
  const context = await browser.profile();
  const left = await browser.window(context);
  await left.signIn(ann);
  const right = await browser.window(context);
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

test('two accounts live side by side in two windows of one profile', async () => {
  const { ann, ben, direct } = await pair('tabs');
  const context = await browser.profile();
  const left = await browser.window(context);
  await left.signIn(ann);
  const right = await browser.window(context);
  await right.page.waitForSelector(by('shell'));
  await right.page.evaluate(() => localStorage.removeItem('im:last'));
  const other = await browser.window(context);
  await other.signIn(ben);
  await left.openFriend(ben.user);
  await left.say('to the next window');
  await other.open(direct);
  await other.message('to the next window').waitFor();
  await left.page.reload();
  await left.page.waitForSelector(`${by('shell')}[data-user="${ann.user}"]`);
});

test('a sign-in on another device ends this one in words', async () => {
  const { ann } = await pair('kicked');
  const first = await browser.signedIn(ann);
  await browser.signedIn(ann);
  await first.page.locator(by('sign-in-notice'), { hasText: 'another device' }).waitFor();
});

test('somebody new signs up, is found, asked, and becomes a friend', async () => {
  const { ann } = await pair('friends');
  const user = `dan-${RUN}`;
  const two = await browser.window(await browser.profile());
  await two.page.click(by('sign-in-toggle'));
  await two.page.fill(by('sign-in-user'), user);
  await two.page.fill(by('sign-up-name'), 'Dan Doe');
  await two.page.fill(by('sign-in-password'), 'dan-password');
  await two.page.click(by('sign-in-submit'));
  await two.page.waitForSelector(`${by('shell')}[data-user="${user}"]`);
  await two.online();
  const one = await browser.signedIn(ann);
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

test('a message that is refused for good says why and can be dropped', async () => {
  const { ann, ben, direct } = await pair('blocked');
  await server.send(ann, { to: ben.user }, 'before');
  await server.call('PUT', `/v1/blocks/${ann.user}`, { token: ben.token });
  const one = await browser.signedIn(ann);
  await one.open(direct);
  await one.say('are you there?');
  await one.page.locator(by('failure'), { hasText: 'does not take messages' }).waitFor();
  await one.shot('failed');
  await server.call('DELETE', `/v1/blocks/${ann.user}`, { token: ben.token });
  await one.page.click(by('failed-retry'));
  await one.receipt('are you there?', 'sent');
  await server.call('PUT', `/v1/blocks/${ann.user}`, { token: ben.token });
  await one.say('again');
  await one.page.click(by('failed-delete'));
  await one.shows(['before', 'are you there?']);
});

test('a draft is kept with its conversation', async () => {
  const { ann, ben, direct } = await pair('draft');
  await server.send(ben, { to: ann.user }, 'hi');
  const one = await browser.signedIn(ann);
  await one.open(direct);
  await one.page.fill(by('composer'), 'half a thought');
  await one.page.keyboard.press('Escape');
  await one.row(direct).locator(by('draft-flag')).waitFor();
  await one.page.reload();
  await one.open(direct);
  assert.equal(await one.page.inputValue(by('composer')), 'half a thought');
});

test('the keyboard reaches everything: search, rows, a new line, and the way back', async () => {
  const { ann, ben, direct } = await pair('keyboard');
  await server.send(ben, { to: ann.user }, 'hi');
  const one = await browser.signedIn(ann);
  await one.row(direct).waitFor();
  await one.page.keyboard.press('Control+k');
  await one.page.keyboard.type('Ben');
  await one.page.locator(by('found-chat')).waitFor();
  await one.page.keyboard.press('ArrowDown');
  await one.page.keyboard.press('Enter');
  await one.page.waitForSelector(by('composer'));
  await one.page.focus(by('composer'));
  await one.page.keyboard.type('two');
  await one.page.keyboard.press('Shift+Enter');
  await one.page.keyboard.type('lines');
  await one.page.keyboard.press('Enter');
  await one.shows(['hi', 'two\nlines']);
  await one.page.keyboard.press('Escape');
  await one.page.waitForSelector(by('nothing-open'));
});

test('a narrow screen shows one thing at a time, with a way back', async () => {
  const { ann, ben, direct } = await pair('narrow');
  await server.send(ben, { to: ann.user }, 'Shall we meet at the station, or rather in front of the museum?');
  const one = await browser.signedIn(ann, { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true });
  await one.row(direct).waitFor();
  await one.shot('narrow-list');
  await one.open(direct);
  assert.equal(await one.page.isVisible(by('conversations')), false);
  await one.say('At the station');
  await one.receipt('At the station', 'sent');
  await one.shot('narrow-chat');
  const overflow = await one.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, 'nothing sticks out sideways');
  await one.page.click(by('back'));
  await one.page.locator(by('conversations')).waitFor();
});

test('dark follows the system and can be switched', async () => {
  const { ann, ben, direct } = await pair('dark');
  await server.send(ben, { to: ann.user }, 'Good night');
  const one = await browser.signedIn(ann, { colorScheme: 'dark' });
  await one.open(direct);
  const brightness = () => one.page.evaluate(() => Number(getComputedStyle(document.querySelector('[data-testid="shell"]')).backgroundColor.match(/\d+/)[0]));
  assert.ok((await brightness()) < 60);
  await one.shot('dark');
  await one.page.click(by('tab-settings'));
  await one.page.selectOption(by('theme'), 'light');
  assert.ok((await brightness()) > 200);
  await one.page.reload();
  await one.page.waitForSelector(by('shell'));
  assert.ok((await brightness()) > 200);
});

test('the page speaks Chinese to who does, and can be switched', async () => {
  const { ann, ben } = await pair('chinese');
  const { conversation } = await server.call('POST', '/v1/groups', { token: ben.token, body: { name: '周末爬山', members: [ann.user] } });
  const one = await browser.signedIn(ann, { locale: 'zh-CN' });
  await one.open(conversation);
  await one.page.locator(by('notice'), { hasText: 'Ben Baker创建了群组，成员有你' }).waitFor();
  await one.shot('chinese');
  await one.page.click(by('tab-settings'));
  await one.page.selectOption(by('language'), 'en');
  await one.page.locator(by('notice'), { hasText: 'Ben Baker created the group with you' }).waitFor();
});

test('signing out leaves nothing of the user in the browser', async () => {
  const { ann, ben } = await pair('signout');
  await server.send(ben, { to: ann.user }, 'secret');
  const one = await browser.signedIn(ann);
  await one.page.click(by('tab-settings'));
  await one.page.click(by('sign-out'));
  await one.page.click(by('confirm'));
  await one.page.waitForSelector(by('sign-in-form'));
  const left = await one.page.evaluate(async (user) => ({ databases: (await indexedDB.databases()).map(({ name }) => name), record: localStorage.getItem(`im:session:${user}`) }), ann.user);
  assert.deepEqual(left, { databases: [], record: null });
});

/** Send, waiting as long as the server says when it is too fast for it. */
async function sendSlowly(from, to, text) {
  for (;;) {
    try {
      return await server.send(from, { to: to.user }, text);
    } catch (error) {
      if (!/ 429 /.test(error.message)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

/** The same profile in a new window, the old one closed. */
async function reopened(window) {
  const fresh = await browser.window(window.page.context());
  await window.page.close();
  await fresh.online();
  return fresh;
}
