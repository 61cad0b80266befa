import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import { Browser } from './browser.js';
import { Server } from './server.js';

/**
 * A server and a browser for the tests of one file. After each test everything that it opened is closed, and no page may
 * have reported an error or a violation of its content policy.
 */
export function openStage() {
  const stage = {
    /** Names of one run do not meet those of another on the same server. */
    run: Date.now().toString(36),
    server: null,
    browser: null,
    /** Two friends with accounts of their own, and the conversation between them. */
    async pair(label) {
      const ann = await stage.server.account(`ann-${label}-${stage.run}`, 'Ann Archer');
      const ben = await stage.server.account(`ben-${label}-${stage.run}`, 'Ben Baker');
      await stage.server.befriend(ann, ben);
      return { ann, ben, direct: `d:${ann.user}:${ben.user}` };
    },
  };
  before(async () => {
    stage.server = await Server.start();
    stage.browser = await Browser.start(stage.server.base);
    console.log(`screenshots: ${stage.browser.shots}`);
  });
  afterEach(async () => {
    if (!stage.browser) return; // it could not be started, which is what has to be told
    await stage.browser.closeAll();
    assert.deepEqual(stage.browser.takeProblems(), []);
  });
  after(async () => {
    await stage.browser?.stop();
    await stage.server?.stop();
  });
  return stage;
}
