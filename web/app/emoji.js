import { h } from './dom.js';
import { icon } from './icons.js';
import { t } from './i18n.js';

const EMOJI = (
  '😀 😄 😁 😅 😂 🤣 😊 😇 🙂 😉 😍 😘 😜 🤪 😎 🤩 🥳 😏 😔 😢 😭 😤 😡 🤯 ' +
  '😱 🤔 🤫 🙄 😴 🤒 👍 👎 👏 🙏 💪 👌 🤝 👋 ✌️ 🤞 🙌 🫶 ❤️ 🧡 💛 💚 💙 💜 ' +
  '💔 💯 🔥 🎉 🎂 🎁 🌹 ☕ 🍻 🍚 🍜 🌞 🌙 ⭐ ✅ ❌ ❓ ❗ 🚀 👀'
).split(' ');

/**
 * A button that offers emoji.
 *
 * @param {(emoji: string) => void} insert
 */
export function emojiButton(insert) {
  const grid = h('div', {
    class: 'emoji-grid',
    testid: 'emoji-grid',
    attrs: { hidden: true, role: 'group', 'aria-label': t('emoji') },
  });
  grid.append(
    ...EMOJI.map((emoji) => h('button', { class: 'emoji', text: emoji, on: { click: () => insert(emoji) } })),
  );
  const button = h(
    'button',
    { class: 'icon-button', label: t('emoji'), testid: 'emoji', on: { click: () => (grid.hidden = !grid.hidden) } },
    icon('smile'),
  );
  const element = h('div', { class: 'emoji-picker' }, grid, button);
  element.addEventListener('focusout', (event) => {
    if (!element.contains(/** @type {Node|null} */ (event.relatedTarget))) grid.hidden = true;
  });
  element.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || grid.hidden) return;
    event.preventDefault();
    grid.hidden = true;
    button.focus();
  });
  return element;
}
