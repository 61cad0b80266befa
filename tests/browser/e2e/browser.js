import { existsSync } from 'node:fs';
import { mkdtemp, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.IM_CHROMIUM ?? '/usr/bin/chromium';
const DEADLINE_MS = 15_000;
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** What a browser says about a server that is away, or an HTTP error that the page shows in words. */
const NETWORK = /Failed to load resource|WebSocket connection to|net::ERR_/;

export const by = (testid) => `[data-testid="${testid}"]`;

/** A browser process; every profile in it is empty and its own. */
export class Browser {
  static async start(base) {
    if (!existsSync(EXECUTABLE))
      throw new Error(`no Chromium at ${EXECUTABLE}: "apt-get install chromium", or set IM_CHROMIUM to another one`);
    const browser = new Browser();
    browser.base = base;
    browser.shots = process.env.IM_SCREENSHOTS ?? (await mkdtemp(join(tmpdir(), 'im-screenshots-')));
    await mkdir(browser.shots, { recursive: true });
    browser.chromium = await chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
    browser.problems = [];
    return browser;
  }

  /** A new profile. */
  async profile(options = {}) {
    const context = await this.chromium.newContext({
      viewport: { width: 1280, height: 800 },
      locale: 'en-US',
      colorScheme: 'light',
      ...options,
    });
    context.setDefaultTimeout(DEADLINE_MS);
    return context;
  }

  /** A window of a profile, showing the page. */
  async window(context) {
    const page = await context.newPage();
    page.on('pageerror', (error) => this.problems.push(`uncaught: ${error.stack}`));
    page.on('console', (message) => {
      if (message.type() === 'error' && !NETWORK.test(message.text())) this.problems.push(`console: ${message.text()}`);
    });
    await page.goto(this.base);
    return new Window(this, page);
  }

  /** A window of a new profile in which somebody is signed in. */
  async signedIn(account, options) {
    const window = await this.window(await this.profile(options));
    await window.signIn(account);
    return window;
  }

  /** Errors that the pages reported since the last call, among them every violation of the content policy. */
  takeProblems() {
    return this.problems.splice(0);
  }

  /** Close what a test opened. */
  async closeAll() {
    await Promise.all(this.chromium.contexts().map((context) => context.close()));
  }

  stop() {
    return this.chromium.close();
  }
}

/** One window, by what a person does in it and sees. */
export class Window {
  constructor(browser, page) {
    this.browser = browser;
    this.page = page;
  }

  async signIn({ user, password }) {
    await this.page.fill(by('sign-in-user'), user);
    await this.page.fill(by('sign-in-password'), password);
    await this.page.click(by('sign-in-submit'));
    await this.page.waitForSelector(`${by('shell')}[data-user="${user}"]`);
    await this.online();
  }

  online() {
    return this.page.waitForSelector(`${by('banner')}[data-state="online"]`, { state: 'attached' });
  }

  row(conversation) {
    return this.page.locator(`${by('conversation')}[data-conversation="${conversation}"]`);
  }

  async open(conversation) {
    await this.row(conversation).click();
    await this.page.waitForSelector(`${by('chat')}[data-conversation="${conversation}"]`);
    await this.page.waitForSelector(by('composer'));
  }

  /** Open the direct conversation with a friend. */
  async openFriend(user) {
    await this.page.click(by('tab-contacts'));
    await this.page.click(`${by('friend')}[data-id="${user}"]`);
    await this.page.waitForSelector(by('composer'));
    await this.page.click(by('tab-chats'));
  }

  async say(text) {
    await this.page.fill(by('composer'), text);
    await this.page.press(by('composer'), 'Enter');
  }

  /** A message that is shown, by its text. */
  message(text) {
    return this.page.locator(by('message')).filter({ has: this.page.locator('.text', { hasText: exactly(text) }) });
  }

  /** Wait until a message of mine has come this far: queued, sent, delivered, read, failed. */
  async receipt(text, state) {
    await this.message(text)
      .locator(`${by('receipt')}[data-state="${state}"]`)
      .first()
      .waitFor();
  }

  /** Wait until these texts are shown, in this order, each once and nothing else. */
  async shows(texts) {
    await this.until(
      `exactly [${texts}]`,
      (expected) => {
        const shown = [...document.querySelectorAll('[data-testid="message"] .text')].map(
          (element) => element.textContent,
        );
        return JSON.stringify(shown) === JSON.stringify(expected) || shown;
      },
      texts,
    );
  }

  /** Wait until a function of the page is true; what it returns instead is told when time is up. */
  async until(what, condition, argument) {
    let last;
    for (const end = Date.now() + DEADLINE_MS; Date.now() < end;) {
      last = await this.page.evaluate(condition, argument);
      if (last === true) return;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    throw new Error(`not within ${DEADLINE_MS} ms: ${what}; there was ${JSON.stringify(last)}`);
  }

  /** Choose from the menu of a message. */
  async act(text, action) {
    const message = this.message(text).first();
    await message.hover();
    await message.locator(by('message-menu')).click();
    await this.page.click(by(action));
  }

  async shot(name) {
    await this.page.screenshot({ path: `${this.browser.shots}/${name}.png` });
  }
}

function exactly(text) {
  return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
}
