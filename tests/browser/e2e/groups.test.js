import assert from 'node:assert/strict';
import { test } from 'node:test';
import { by } from './browser.js';
import { openStage } from './stage.js';

const stage = openStage();

test('a group is made, everyone reads the same event in their own words, mentions and readers are seen', async () => {
  const { ann, ben } = await stage.pair('group');
  const cat = await stage.server.account(`cat-group-${stage.run}`, 'Cat Cole');
  await stage.server.befriend(ann, cat);
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
  await one.page.click(by('new-menu'));
  await one.page.click(by('new-group'));
  await one.page.fill(by('group-name'), 'Climbing');
  await one.page.click(`${by('pick-row')}[data-id="${ben.user}"]`);
  await one.page.click(`${by('pick-row')}[data-id="${cat.user}"]`);
  await one.shot('group-dialog');
  await one.page.click(by('group-create'));
  await one.page.locator(by('notice'), { hasText: 'You created the group with Ben Baker, Cat Cole' }).waitFor();

  const group = two.page.locator(by('conversation'), { hasText: 'Climbing' });
  await group
    .locator(by('conversation-preview'), { hasText: 'Ann Archer created the group with you, Cat Cole' })
    .waitFor();
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
  const { ann, ben } = await stage.pair('panel');
  const { conversation } = await stage.server.call('POST', '/v1/groups', {
    token: ann.token,
    body: { name: 'Before', members: [ben.user] },
  });
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
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

test('a group is found by its name and joined once an admin agrees', async () => {
  const { ann, ben } = await stage.pair('join');
  const name = `Chess ${stage.run}`;
  const { group, conversation } = await stage.server.call('POST', '/v1/groups', {
    token: ann.token,
    body: { name, members: [] },
  });
  await stage.server.call('PATCH', `/v1/groups/${group}`, { token: ann.token, body: { join: 'approval' } });
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
  await two.page.fill(by('search'), name);
  await two.page.click(`${by('found-group')}[data-id="${group}"] ${by('found-group-join')}`);
  await two.page.locator(by('toast'), { hasText: 'Request sent' }).waitFor();
  await one.open(conversation);
  await one.page.click(by('chat-info'));
  await one.page.click(`${by('join-request')}[data-id="${ben.user}"] ${by('join-accept')}`);
  await two.row(conversation).waitFor();
  await two.open(conversation);
  await two.say('Thank you');
  await one.message('Thank you').waitFor();
});

test('a chat room is open to whoever has its id, while they are in it', async () => {
  const { ann, ben } = await stage.pair('room');
  const one = await stage.browser.signedIn(ann);
  const two = await stage.browser.signedIn(ben);
  await one.page.click(by('new-menu'));
  await one.page.click(by('rooms'));
  await one.page.fill(by('room-name'), 'Lobby');
  await one.page.click(by('room-create'));
  await one.page.locator(by('chat-title'), { hasText: 'Lobby' }).waitFor();
  const room = await one.page.getAttribute(by('chat'), 'data-conversation');
  await one.say('Anybody here?');
  await one.receipt('Anybody here?', 'sent');
  await two.page.click(by('new-menu'));
  await two.page.click(by('rooms'));
  await two.page.fill(by('room-id'), room.slice(2));
  await two.page.click(by('room-join'));
  await two.shows(['Anybody here?']);
  await two.say('Yes');
  await one.shows(['Anybody here?', 'Yes']);
  await one.page.reload();
  await one.open(room);
  await one.shows(['Anybody here?', 'Yes']);
  await two.page.click(by('chat-menu'));
  await two.page.click(by('room-leave'));
  await two.row(room).waitFor({ state: 'detached' });
});
