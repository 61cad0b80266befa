import { Disconnected, ServerError } from './errors.js';

/**
 * One call of the HTTP API.
 *
 * @param {string} base  origin of the server, without a slash at the end
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, token?: string}} [options]
 * @returns {Promise<any>} the JSON body, or null for 204
 * @throws {ServerError} for every answer that is not 2xx
 * @throws {Disconnected} when there was no answer
 */
export async function call(base, method, path, { body, token } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  let text;
  try {
    response = await fetch(base + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
    });
    text = await response.text();
  } catch (error) {
    throw new Disconnected(String(error));
  }
  const json = parse(text);
  if (response.ok) return json;
  const seconds = Number(response.headers.get('retry-after'));
  throw new ServerError(
    json?.code ?? (response.status >= 500 ? 'unavailable' : 'internal'),
    json?.detail ?? json?.title ?? response.statusText,
    {
      status: response.status,
      field: json?.field,
      retryAfterMs: seconds > 0 ? seconds * 1000 : null,
    },
  );
}

/** @param {string} text */
function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null; // a proxy's error page
  }
}
