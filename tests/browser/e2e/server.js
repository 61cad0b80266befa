import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
const READY_MS = 30_000;

/** The server under test: the one at IM_BASE_URL, or one started here on a data folder of its own. */
export class Server {
  #process = null;
  #data = null;
  #ports = [];
  #log = '';

  /** Whether this test started it, and so may kill it. */
  get ours() {
    return this.#process !== null;
  }

  static async start() {
    const server = new Server();
    if (process.env.IM_BASE_URL) {
      server.base = process.env.IM_BASE_URL.replace(/\/$/, '');
      await server.#ready();
      return server;
    }
    server.#ports = await Promise.all([freePort(), freePort(), freePort()]);
    server.#data = await mkdtemp(join(tmpdir(), 'im-browser-'));
    server.base = `http://127.0.0.1:${server.#ports[0]}`;
    await server.run();
    return server;
  }

  /** Start it (again) on the same ports and data. */
  async run() {
    const [http, tcp, management] = this.#ports.map((port) => `127.0.0.1:${port}`);
    const args = [
      'dev',
      '--data',
      this.#data,
      '--listen',
      http,
      '--tcp-listen',
      tcp,
      '--management-listen',
      management,
    ];
    this.#process = spawn(binary(), args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr])
      stream.on('data', (chunk) => (this.#log = (this.#log + chunk).slice(-20_000)));
    await this.#ready();
  }

  /** kill -9: no goodbye, no flush. */
  async kill() {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }

  async stop() {
    if (!this.#process) return;
    await this.kill();
    await rm(this.#data, { recursive: true, force: true });
  }

  async #ready() {
    for (const end = Date.now() + READY_MS; ;) {
      const answer = await fetch(`${this.base}/`).catch(() => null);
      if (answer?.ok) return;
      if (this.#process?.exitCode !== null && this.#process) throw new Error(`the server ended:\n${this.#log}`);
      if (Date.now() > end) throw new Error(`no answer from ${this.base} within ${READY_MS} ms\n${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** One call of the HTTP API, which has to succeed. */
  async call(method, path, { token, body } = {}) {
    const headers = {
      ...(body ? { 'content-type': 'application/json' } : {}),
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    };
    const response = await fetch(this.base + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** A new account with its name as password, signed in by a device of its own kind, so that no page is kicked. */
  async account(user, name = user) {
    await this.call('POST', '/v1/accounts', { body: { user, password: `${user}-password`, name } });
    const { access_token: token } = await this.call('POST', '/v1/sessions', {
      body: { user, password: `${user}-password`, terminal: 'bot', device: `bot-${user}` },
    });
    return { user, name, password: `${user}-password`, token };
  }

  async befriend(a, b) {
    const { id } = await this.call('POST', '/v1/friend-requests', {
      token: a.token,
      body: { user: b.user, message: '' },
    });
    await this.call('POST', `/v1/friend-requests/${id}/accept`, { token: b.token });
  }

  /** Send by HTTP, as a backend would. */
  send(from, target, text) {
    const body = { ...target, client_message_id: `${Math.random()}`.slice(2), kind: 'text', content: { text } };
    return this.call('POST', '/v1/messages', { token: from.token, body });
  }

  /** Send, waiting when the server finds it too fast. */
  async sendPatiently(from, to, text) {
    for (;;) {
      try {
        return await this.send(from, { to: to.user }, text);
      } catch (error) {
        if (!/ 429 /.test(error.message)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }
}

/** The binary to start: the one built last, because an older one would test what is no more. */
function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, 'target');
  const candidates = process.env.IM_SERVER_BIN
    ? [process.env.IM_SERVER_BIN]
    : ['release', 'debug'].map((profile) => join(target, profile, 'im-server'));
  const [newest] = candidates
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  if (!newest)
    throw new Error(
      `no im-server at ${candidates.join(' or ')}: run "cargo build --release -p im-server", or set IM_SERVER_BIN, or IM_BASE_URL of one that runs`,
    );
  return newest;
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
