import assert from 'node:assert/strict';
import { test } from 'node:test';
import { by } from './browser.js';
import { openStage } from './stage.js';

const stage = openStage();

test('the keyboard reaches everything: search, rows, a new line, and the way back', async () => {
  const { ann, ben, direct } = await stage.pair('keyboard');
  await stage.server.send(ben, { to: ann.user }, 'hi');
  const one = await stage.browser.signedIn(ann);
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
  const { ann, ben, direct } = await stage.pair('narrow');
  await stage.server.send(ben, { to: ann.user }, 'Shall we meet at the station, or rather in front of the museum?');
  const one = await stage.browser.signedIn(ann, {
    viewport: { width: 390, height: 780 },
    hasTouch: true,
    isMobile: true,
  });
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
  const { ann, ben, direct } = await stage.pair('dark');
  await stage.server.send(ben, { to: ann.user }, 'Good night');
  const one = await stage.browser.signedIn(ann, { colorScheme: 'dark' });
  await one.open(direct);
  const brightness = () =>
    one.page.evaluate(() =>
      Number(getComputedStyle(document.querySelector('[data-testid="shell"]')).backgroundColor.match(/\d+/)[0]),
    );
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
  const { ann, ben } = await stage.pair('chinese');
  const { conversation } = await stage.server.call('POST', '/v1/groups', {
    token: ben.token,
    body: { name: '周末爬山', members: [ann.user] },
  });
  const one = await stage.browser.signedIn(ann, { locale: 'zh-CN' });
  await one.open(conversation);
  await one.page.locator(by('notice'), { hasText: 'Ben Baker创建了群组，成员有你' }).waitFor();
  await one.shot('chinese');
  await one.page.click(by('tab-settings'));
  await one.page.selectOption(by('language'), 'en');
  await one.page.locator(by('notice'), { hasText: 'Ben Baker created the group with you' }).waitFor();
});
