import { language, t } from './i18n.js';

const DAY_MS = 86_400_000;

const locale = () => (language() === 'zh' ? 'zh-CN' : navigator.language.startsWith('en') ? navigator.language : 'en');

/** @param {number} time  Unix milliseconds */
export function clock(time) {
  return new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(time);
}

/** Calendar days from `time` to now. @param {number} time */
function daysAgo(time) {
  return Math.round((new Date().setHours(0, 0, 0, 0) - new Date(time).setHours(0, 0, 0, 0)) / DAY_MS);
}

/** The day of a message: today, yesterday, a weekday, a date. @param {number} time */
export function day(time) {
  const ago = daysAgo(time);
  if (ago <= 0) return t('today');
  if (ago === 1) return t('yesterday');
  if (ago < 7) return new Intl.DateTimeFormat(locale(), { weekday: 'long' }).format(time);
  const sameYear = new Date(time).getFullYear() === new Date().getFullYear();
  return new Intl.DateTimeFormat(locale(), {
    year: sameYear ? undefined : 'numeric',
    month: 'long',
    day: 'numeric',
  }).format(time);
}

/** For a narrow column: the hour today, else the day. @param {number} time */
export function short(time) {
  const ago = daysAgo(time);
  if (ago <= 0) return clock(time);
  if (ago === 1) return t('yesterday');
  if (ago < 7) return new Intl.DateTimeFormat(locale(), { weekday: 'short' }).format(time);
  return new Intl.DateTimeFormat(locale(), { year: '2-digit', month: 'numeric', day: 'numeric' }).format(time);
}

/** @param {number} time */
export function full(time) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23' }).format(time);
}

/** When somebody was last here. @param {number|null|undefined} time */
export function lastSeen(time) {
  if (!time) return t('offline');
  const minutes = Math.floor((Date.now() - time) / 60_000);
  if (minutes < 1) return t('seen_now');
  if (minutes < 60) return t('seen_minutes', { minutes });
  return t('seen_at', { time: daysAgo(time) <= 0 ? clock(time) : full(time) });
}

/** @param {number} time */
export function dayKey(time) {
  return new Date(time).toDateString();
}
