/** @import {Welcome} from './types.js' */
/** @import {Sessions} from './session.js' */
import { fullJitter } from './backoff.js';
import { Disconnected, ServerError, SignedOut } from './errors.js';
import { Socket } from './socket.js';

/**
 * `connecting`: at work on it · `online`: welcomed · `waiting`: until the next try · `kicked`: another device took over ·
 * `replaced`: too many windows of this device · `signed_out`: the session is over · `stopped`: asked to
 *
 * @typedef {'connecting'|'online'|'waiting'|'kicked'|'replaced'|'signed_out'|'stopped'} ConnectionState
 */

/** Protocol.md's close codes that decide what comes next; every other code means: try again. */
const CLOSE = { unauthorized: 4001, kicked: 4002, replaced: 4005 };
/** The interface is reported down: how long a socket may take to prove that it is not (a server on this machine is still there). */
const OFFLINE_PROBE_MS = 2_000;

/**
 * Keeps one Socket to the server: reconnects with full jitter, renews the token before it ends, and stops for good
 * when it was kicked, replaced or signed out.
 */
export class Connection {
  /** @type {ConnectionState} */
  state = 'stopped';
  /** When the next try comes, of this device's clock, while `waiting`. @type {number|null} */
  retryAt = null;
  /** @type {Socket|null} */
  #socket = null;
  #attempt = 0;
  /** @type {number|null} milliseconds that the server asked for */
  #reconnectAfter = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #renewal;
  #token = '';
  /** @type {string|undefined} */
  #refused;
  /** @type {(() => void)[]} */
  #unlisten = [];

  /**
   * @param {object} options
   * @param {string} options.base  origin of the server
   * @param {string} options.user
   * @param {Sessions} options.sessions
   * @param {() => Promise<string|null>} options.since  the token of what is known already
   * @param {(welcome: Welcome) => void} options.onWelcome  called before any push
   * @param {(frame: any) => void} options.onPush
   * @param {(state: ConnectionState) => void} options.onState
   */
  constructor(options) {
    this.options = options;
    this.url = options.base.replace(/^http/, 'ws') + '/v1/connect';
  }

  /** Connect and stay connected. */
  start() {
    this.#unlisten = [
      listen('online', () => this.wake()),
      listen('offline', () => this.#socket?.probe(OFFLINE_PROBE_MS)),
      this.options.sessions.watch(this.options.user, (record) => this.#sessionChanged(record?.access_token)),
    ];
    void this.#connect();
  }

  /** Disconnect and stay so. @param {ConnectionState} [state] why */
  stop(state = 'stopped') {
    for (const unlisten of this.#unlisten) unlisten();
    this.#unlisten = [];
    clearTimeout(this.#retry);
    clearTimeout(this.#renewal);
    this.#setState(state);
    this.#socket?.drop();
    this.#socket = null;
  }

  /** Try now instead of later; when connected, find out whether that still holds. */
  wake() {
    if (this.state === 'online') this.#socket?.probe();
    if (this.state !== 'waiting') return;
    this.#attempt = 0;
    clearTimeout(this.#retry);
    void this.#connect();
  }

  /**
   * @param {Record<string, any>} frame
   * @returns {Promise<any>}
   * @throws {ServerError|Disconnected}
   */
  async ask(frame) {
    if (!this.#socket || this.state !== 'online') throw new Disconnected();
    return this.#socket.ask(frame);
  }

  /** @param {Record<string, any>} frame @param {(frame: any) => void} each */
  async askMany(frame, each) {
    if (!this.#socket || this.state !== 'online') throw new Disconnected();
    return this.#socket.askMany(frame, each);
  }

  /** @param {Record<string, any>} frame */
  tell(frame) {
    if (this.state === 'online') this.#socket?.tell(frame);
  }

  async #connect() {
    const { user, sessions, since, onWelcome, onPush } = this.options;
    this.#setState('connecting');
    try {
      this.#token = await sessions.token(user, this.#refused);
      const known = await since();
      if (this.state !== 'connecting') return;
      const socket = new Socket(this.url, {
        onPush: (frame) => this.#pushed(frame, onPush),
        onClose: (code) => this.#lost(socket, code),
      });
      this.#socket = socket;
      const welcome = await socket.hello({ token: this.#token, device: sessions.device(), since: known });
      if (this.#socket !== socket) return;
      this.#attempt = 0;
      this.#refused = undefined;
      this.#setState('online');
      onWelcome(welcome);
      this.#scheduleRenewal();
    } catch (error) {
      if (error instanceof SignedOut) return this.stop('signed_out');
      if (error instanceof ServerError) {
        this.#reconnectAfter = error.retryAfterMs;
        if (error.code === 'unauthorized' || error.code === 'token_expired') this.#refused = this.#token;
      }
      if (this.#socket) this.#socket.drop();
      else if (this.state === 'connecting') this.#later();
    }
  }

  /** @param {any} frame @param {(frame: any) => void} onPush */
  #pushed(frame, onPush) {
    if (frame.type === 'goaway') this.#reconnectAfter = frame.reconnect_after_ms;
    // The close that follows may get lost; the frame alone is enough.
    else if (frame.type === 'kicked') this.#kicked(frame.reason === 'signed_out' ? 'signed_out' : 'kicked');
    else onPush(frame);
  }

  /** @param {'kicked'|'signed_out'} state  another device took over, or ended this session */
  #kicked(state) {
    this.options.sessions.forget(this.options.user);
    this.stop(state);
  }

  /** @param {Socket} socket @param {number} code */
  #lost(socket, code) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    clearTimeout(this.#renewal);
    if (this.state !== 'online' && this.state !== 'connecting') return;
    if (code === CLOSE.kicked) return this.#kicked('kicked');
    if (code === CLOSE.replaced) return this.stop('replaced');
    if (code === CLOSE.unauthorized) this.#refused = this.#token;
    this.#later();
  }

  #later() {
    const wait = this.#reconnectAfter ?? fullJitter(this.#attempt, Math.random);
    this.#reconnectAfter = null;
    this.#attempt += 1;
    this.retryAt = Date.now() + wait;
    this.#setState('waiting');
    this.#retry = setTimeout(() => void this.#connect(), wait);
  }

  #scheduleRenewal() {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => void this.#renew(), this.options.sessions.renewIn(this.options.user) + 1);
  }

  async #renew() {
    if (this.state !== 'online') return;
    try {
      const token = await this.options.sessions.token(this.options.user);
      await this.#present(token);
      this.#scheduleRenewal();
    } catch (error) {
      if (error instanceof SignedOut) return this.stop('signed_out');
      // The token lives on for a minute; without success by then the server closes and the reconnect renews.
      this.#renewal = setTimeout(() => void this.#renew(), 5_000);
    }
  }

  /** Tell the open socket about a newer token. @param {string} token */
  async #present(token) {
    if (token === this.#token || this.state !== 'online') return;
    this.#token = token;
    await this.ask({ type: 'auth', token });
  }

  /** Another window renewed or ended the session. @param {string|undefined} token */
  #sessionChanged(token) {
    if (!token) return this.stop('signed_out');
    this.#present(token).then(
      () => this.#scheduleRenewal(),
      () => {},
    );
  }

  /** @param {ConnectionState} state */
  #setState(state) {
    if (state !== 'waiting') this.retryAt = null;
    if (this.state === state) return;
    this.state = state;
    this.options.onState(state);
  }
}

/** @param {string} type @param {() => void} callback @returns {() => void} */
function listen(type, callback) {
  addEventListener(type, callback);
  return () => removeEventListener(type, callback);
}
