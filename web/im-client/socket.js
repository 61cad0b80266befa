/** @import {Welcome} from './types.js' */
import { Disconnected, ServerError } from './errors.js';

/** An answer that takes longer means a dead connection; the server answers from memory or one commit. */
const ANSWER_TIMEOUT_MS = 15_000;
/** How long the first silence after a ping may last. */
const PONG_TIMEOUT_MS = 8_000;

/**
 * One WebSocket from hello to its close: frames out, answers matched by id, everything else to `onPush`. It never
 * reconnects; see Connection.
 */
export class Socket {
  /** @type {WebSocket} */
  #ws;
  #nextId = 1;
  /** @type {Map<string, {resolve: (frame: any) => void, reject: (error: Error) => void, timer: ReturnType<typeof setTimeout>, many?: (frame: any) => boolean}>} */
  #asked = new Map();
  #lastSent = 0;
  #lastHeard = 0;
  #closed = false;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #heart;

  /**
   * @param {string} url
   * @param {{onPush: (frame: any) => void, onClose: (code: number) => void}} handlers  onClose is called once
   */
  constructor(url, { onPush, onClose }) {
    this.onPush = onPush;
    this.onClose = onClose;
    this.#ws = new WebSocket(url);
    this.#ws.onmessage = (event) => this.#receive(event.data);
    this.#ws.onclose = (event) => this.#end(event.code);
  }

  /**
   * Wait for the handshake and say hello.
   *
   * @param {{token: string, device: string, since: string|null}} hello
   * @returns {Promise<Welcome>}
   */
  async hello({ token, device, since }) {
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.drop(), ANSWER_TIMEOUT_MS);
      this.#ws.addEventListener('open', () => (clearTimeout(timer), resolve(null)), { once: true });
      this.#ws.addEventListener('close', () => (clearTimeout(timer), reject(new Disconnected())), { once: true });
    });
    const welcome = await this.ask({ type: 'hello', protocol: 1, token, terminal: 'web', device, since });
    this.#beat(welcome.heartbeat_ms);
    return welcome;
  }

  /**
   * Send a frame and wait for its answer.
   *
   * @param {Record<string, any>} frame  without an id
   * @returns {Promise<any>}
   * @throws {ServerError} for an `error` frame
   * @throws {Disconnected} when the connection ends first, or the answer is too late
   */
  ask(frame) {
    return this.#asking(frame, undefined);
  }

  /**
   * Send a frame that gets several answers.
   *
   * @param {Record<string, any>} frame
   * @param {(frame: any) => void} each  called for every answer, errors included, the last with `last: true`
   * @returns {Promise<any>} the last
   */
  askMany(frame, each) {
    return this.#asking(frame, (answer) => (each(answer), answer.last === true));
  }

  /** Send a frame that is never answered. @param {Record<string, any>} frame */
  tell(frame) {
    if (this.#closed || this.#ws.readyState !== WebSocket.OPEN) return;
    this.#ws.send(JSON.stringify(frame));
    this.#lastSent = Date.now();
  }

  /** Find out now whether the other side is still there. @param {number} deadline  milliseconds */
  probe(deadline = PONG_TIMEOUT_MS) {
    const asked = Date.now();
    this.ask({ type: 'ping' }).catch(() => {});
    setTimeout(() => {
      if (!this.#closed && this.#lastHeard < asked) this.drop();
    }, deadline);
  }

  /** End it without waiting for the other side, which may be gone. @param {number} [code] what onClose is told */
  drop(code = 1006) {
    if (this.#closed) return;
    this.#ws.onclose = null;
    this.#ws.onmessage = null;
    this.#ws.close(1000);
    this.#end(code);
  }

  /**
   * @param {Record<string, any>} frame
   * @param {((frame: any) => boolean)|undefined} many
   */
  #asking(frame, many) {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Disconnected());
      const id = String(this.#nextId++);
      const timer = setTimeout(() => this.drop(), ANSWER_TIMEOUT_MS);
      this.#asked.set(id, { resolve, reject, timer, many });
      this.tell({ ...frame, id });
    });
  }

  /** @param {string} data */
  #receive(data) {
    this.#lastHeard = Date.now();
    const frame = JSON.parse(data);
    const asked = frame.id == null ? undefined : this.#asked.get(frame.id);
    if (!asked) return this.onPush(frame);
    if (asked.many && !asked.many(frame)) return;
    clearTimeout(asked.timer);
    this.#asked.delete(frame.id);
    if (frame.type !== 'error' || asked.many) return asked.resolve(frame);
    const { code, message, field, retryable, retry_after_ms: retryAfterMs } = frame;
    asked.reject(new ServerError(code, message, { field, retryable, retryAfterMs }));
  }

  /** @param {number} period  milliseconds of silence that the server allows us */
  #beat(period) {
    // Looked at twice per period: a timer of a hidden window may come late.
    this.#heart = setInterval(() => {
      if (Date.now() - this.#lastSent >= period / 2) this.probe();
    }, period / 2);
  }

  /** @param {number} code */
  #end(code) {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#heart);
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(new Disconnected());
    }
    this.#asked.clear();
    this.onClose(code);
  }
}
