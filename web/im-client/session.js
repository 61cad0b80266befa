/** @import {Tokens} from './types.js' */
import { ServerError, SignedOut } from './errors.js';
import { call } from './http.js';
import { randomId } from './ids.js';
import { locked } from './locks.js';

/**
 * @typedef {object} SessionRecord
 * @property {string} user
 * @property {string} access_token
 * @property {string} refresh_token
 * @property {number} renew_at   of this device's clock
 */

const DEVICE = 'im:device';
const LAST = 'im:last';
const TAB = 'im:tab';
const RECORD = 'im:session:';

/** A token is renewed this long before it ends, or a quarter of its life: no call starts with one that ends on its way. */
const RENEW_BEFORE_MS = 60_000;

/**
 * The sessions of this browser profile. Records live in localStorage, where all windows share them; which account a
 * window shows lives in its sessionStorage, so that two accounts can be open side by side.
 */
export class Sessions {
  /** @param {string} base  origin of the server */
  constructor(base) {
    this.base = base;
  }

  /** The random id of this browser profile: all its windows are one device to the server. */
  device() {
    let device = localStorage.getItem(DEVICE);
    if (!device) {
      device = randomId();
      localStorage.setItem(DEVICE, device);
    }
    return device;
  }

  /** Everybody who is signed in in this browser profile. @returns {string[]} */
  accounts() {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(RECORD))
      .map((key) => key.slice(RECORD.length))
      .sort();
  }

  /** The account of this window, in a new one the account used last, if it still has a session. @returns {string|null} */
  current() {
    const user = sessionStorage.getItem(TAB) ?? localStorage.getItem(LAST);
    return user && this.record(user) ? user : null;
  }

  /** @param {string} user */
  use(user) {
    sessionStorage.setItem(TAB, user);
    localStorage.setItem(LAST, user);
  }

  /** Show nobody's account in this window; the sessions stay. */
  useNone() {
    sessionStorage.setItem(TAB, '');
  }

  /** @param {string} user @returns {SessionRecord|null} */
  record(user) {
    const text = localStorage.getItem(RECORD + user);
    return text ? JSON.parse(text) : null;
  }

  /**
   * @param {string} user
   * @param {string} password
   * @param {string} name
   * @throws {ServerError} `already_exists`, `invalid_field`, …
   */
  async signUp(user, password, name) {
    await call(this.base, 'POST', '/v1/accounts', { body: { user, password, name } });
    return this.signIn(user, password);
  }

  /**
   * @param {string} user
   * @param {string} password
   * @returns {Promise<string>} the user, spelled as registered
   * @throws {ServerError} `invalid_credentials`, `rate_limited`, …
   */
  async signIn(user, password) {
    const body = { user, password, terminal: 'web', device: this.device() };
    const tokens = await call(this.base, 'POST', '/v1/sessions', { body });
    // The name may have been typed in another case; the account's own spelling is what conversations are made of.
    const me = await call(this.base, 'GET', '/v1/users/me', { token: tokens.access_token });
    this.#save(me.user, tokens);
    this.use(me.user);
    return me.user;
  }

  /** End the session here and on the server. @param {string} user */
  async signOut(user) {
    const token = await this.token(user).catch(() => null);
    if (token) await call(this.base, 'DELETE', '/v1/sessions/current', { token }).catch(() => null);
    this.forget(user);
  }

  /** Drop the record of a session that is over. @param {string} user */
  forget(user) {
    localStorage.removeItem(RECORD + user);
    if (localStorage.getItem(LAST) === user) localStorage.removeItem(LAST);
    // Not the account used last: nobody asked this window to become somebody else's.
    if (sessionStorage.getItem(TAB) === user) this.useNone();
  }

  /**
   * An access token that is good for a while, renewed if need be. Windows take turns: a refresh token is used once, by
   * one of them, and the others find its successor in the record.
   *
   * @param {string} user
   * @param {string} [refused]  a token that the server refused, whatever its end says
   * @returns {Promise<string>}
   * @throws {SignedOut} when the session is over
   */
  async token(user, refused) {
    const good = () => {
      const record = this.record(user);
      if (!record) throw new SignedOut();
      return record.access_token !== refused && record.renew_at > Date.now() ? record.access_token : null;
    };
    return good() ?? locked(`im:refresh:${user}`, async () => good() ?? this.#refresh(user));
  }

  /** Milliseconds until the token of this user wants renewing; 0 when it is due. @param {string} user */
  renewIn(user) {
    const record = this.record(user);
    return record ? Math.max(0, record.renew_at - Date.now()) : 0;
  }

  /** @param {string} user */
  async #refresh(user) {
    const record = this.record(user);
    if (!record) throw new SignedOut();
    try {
      const tokens = await call(this.base, 'POST', '/v1/sessions/refresh', {
        body: { refresh_token: record.refresh_token },
      });
      this.#save(user, tokens);
      return tokens.access_token;
    } catch (error) {
      if (!(error instanceof ServerError) || error.status !== 401) throw error;
      this.forget(user);
      throw new SignedOut();
    }
  }

  /** @param {string} user @param {Tokens} tokens */
  #save(user, tokens) {
    const life = tokens.expires_in * 1000;
    const renew_at = Date.now() + life - Math.min(RENEW_BEFORE_MS, life / 4);
    /** @type {SessionRecord} */
    const record = { user, access_token: tokens.access_token, refresh_token: tokens.refresh_token, renew_at };
    localStorage.setItem(RECORD + user, JSON.stringify(record));
  }

  /**
   * Call back when another window changed or ended the session of a user.
   *
   * @param {string} user
   * @param {(record: SessionRecord|null) => void} callback
   * @returns {() => void} stop watching
   */
  watch(user, callback) {
    /** @param {StorageEvent} event */
    const listener = (event) => {
      if (event.key === RECORD + user || event.key === null) callback(this.record(user));
    };
    addEventListener('storage', listener);
    return () => removeEventListener('storage', listener);
  }
}
