import { Disconnected, ServerError, SignedOut } from '../im-client.js';
import { isText, t } from './i18n.js';
import { toast } from './toast.js';

/** @param {string} code  of protocol.md's list */
export function codeText(code) {
  const key = `error_${code}`;
  return isText(key) ? t(key) : t('error_internal');
}

/** @param {unknown} error */
export function errorText(error) {
  if (error instanceof ServerError) return codeText(error.code);
  if (error instanceof Disconnected) return t('error_unreachable');
  if (error instanceof SignedOut) return t('error_unauthorized');
  return String(error);
}

/**
 * Do what a click asked for, and say so when it failed.
 *
 * @template T
 * @param {Promise<T>} work
 * @returns {Promise<T|undefined>}
 */
export async function attempt(work) {
  try {
    return await work;
  } catch (error) {
    toast(errorText(error), 'error');
    return undefined;
  }
}
