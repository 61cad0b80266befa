/** An error answer of the server, from the socket or from HTTP, with a code of protocol.md's closed list. */
export class ServerError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, field?: string|null, retryable?: boolean, retryAfterMs?: number|null}} [more]
   */
  constructor(code, message, { status, field, retryable, retryAfterMs } = {}) {
    super(message || code);
    this.name = 'ServerError';
    this.code = code;
    this.status = status;
    this.field = field ?? null;
    /** Whether the same call may succeed later. */
    this.retryable = retryable ?? ['rate_limited', 'unavailable', 'internal'].includes(code);
    /** Milliseconds to wait before it, when the server said so. */
    this.retryAfterMs = retryAfterMs ?? null;
  }
}

/** The server cannot be reached, or the connection ended before the answer came. Nothing is known about the outcome. */
export class Disconnected extends Error {
  constructor(message = 'disconnected') {
    super(message);
    this.name = 'Disconnected';
  }
}

/** There is no session, or it was ended: sign in again. */
export class SignedOut extends Error {
  constructor() {
    super('signed out');
    this.name = 'SignedOut';
  }
}
