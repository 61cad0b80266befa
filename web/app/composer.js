/**
 * @import {Context} from './context.js'
 * @import {Message} from '../im-client/types.js'
 */
import { groupOf, isRoom } from '../im-client.js';
import { fill, h, Scope } from './dom.js';
import { emojiButton } from './emoji.js';
import { attempt } from './errors.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { mentionPopup } from './mention.js';
import { gist } from './naming.js';
import { toast } from './toast.js';

const TALLEST_PX = 180;
/** "typing" is repeated this often while one types. */
const TYPING_EVERY_MS = 3_000;
/** A draft is kept on the server once typing pauses this long. */
const DRAFT_PAUSE_MS = 1_000;

/**
 * Where one writes: Enter sends, Shift+Enter is a new line, "@" offers members, Esc gives up a reply.
 *
 * @param {Context} ctx
 * @param {Scope} scope
 * @param {string} conversation
 */
export function composer(ctx, scope, conversation) {
  const { client } = ctx;
  const group = groupOf(conversation);
  /** @type {Message|null} */
  let replyTo = null;
  let typedAt = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let draftTimer;

  const input = h('textarea', {
    class: 'composer-input',
    testid: 'composer',
    attrs: { rows: 1, placeholder: t('message_placeholder'), 'aria-label': t('message_placeholder') },
  });
  const send = h(
    'button',
    { class: 'send', label: t('send'), testid: 'send', attrs: { type: 'submit', disabled: true } },
    icon('send'),
  );
  const replyBar = h('div', { class: 'reply-bar', testid: 'reply-bar', attrs: { hidden: true } });
  const mentions = mentionPopup(ctx, scope, group, input, () => edited());
  input.value = client.list.get(conversation)?.draft ?? '';

  const grow = () => {
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, TALLEST_PX)}px`;
    send.disabled = !input.value.trim();
  };
  const edited = () => {
    grow();
    if (input.value && Date.now() - typedAt > TYPING_EVERY_MS) {
      typedAt = Date.now();
      client.typing(conversation);
    }
    clearTimeout(draftTimer);
    draftTimer = setTimeout(saveDraft, DRAFT_PAUSE_MS);
  };
  const saveDraft = () => {
    clearTimeout(draftTimer);
    const item = client.list.get(conversation);
    const draft = input.value.trim() ? input.value : null;
    if (!item || isRoom(conversation) || (item.draft ?? null) === draft) return;
    client.list.patch(conversation, { draft });
    // Before the first message the server knows no such conversation, and has nowhere to keep it.
    if (item.incarnation > 0) void client.api.changeConversation(conversation, { draft }).catch(() => {});
  };

  /** @param {Message|null} message */
  const reply = (message) => {
    replyTo = message;
    replyBar.hidden = !message;
    fill(
      replyBar,
      ...(message
        ? [
            icon('reply'),
            h(
              'div',
              { class: 'reply-text' },
              h('strong', { text: t('reply_to', { name: client.people.name(message.sender) }) }),
              h('span', { text: gist(ctx, message) }),
            ),
            h(
              'button',
              {
                class: 'icon-button small',
                label: t('cancel'),
                testid: 'reply-cancel',
                on: { click: () => reply(null) },
              },
              icon('close'),
            ),
          ]
        : []),
    );
    input.focus();
  };

  const submit = async () => {
    const text = input.value.trim();
    if (!text) return;
    const most = client.limits.content_bytes;
    if (most && new TextEncoder().encode(JSON.stringify({ text })).length > most)
      return toast(t('error_too_large'), 'error');
    const named = mentions.take(text);
    const reply_to = replyTo?.seq;
    input.value = '';
    typedAt = 0;
    reply(null);
    grow();
    saveDraft();
    await attempt(
      client.send(conversation, {
        kind: 'text',
        content: { text },
        ...(named.users.length ? { mentions: named.users } : {}),
        ...(named.all ? { mention_all: true } : {}),
        ...(reply_to ? { reply_to } : {}),
      }),
    );
  };

  input.addEventListener('input', edited);
  input.addEventListener('keydown', (event) => {
    // While an input method composes, Enter chooses a word and Esc leaves it.
    if (event.isComposing || mentions.key(event)) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      void submit();
    } else if (event.key === 'Escape' && replyTo) {
      event.preventDefault();
      reply(null);
    }
  });
  scope.listen(window, 'pagehide', saveDraft);
  scope.add(
    saveDraft,
    ctx.shell.on('mention', (mention) => mention.conversation === conversation && mentions.insert(mention.user)),
  );
  queueMicrotask(() => {
    grow();
    // On a phone the focus would open the keyboard over what one came to read.
    if (matchMedia('(pointer: fine)').matches) input.focus();
  });

  const insert = (/** @type {string} */ text) => {
    input.setRangeText(text, input.selectionStart, input.selectionEnd, 'end');
    edited();
    input.focus();
  };
  const element = h(
    'form',
    { class: 'composer', on: { submit: (event) => (event.preventDefault(), void submit()) } },
    mentions.element,
    replyBar,
    h('div', { class: 'composer-line' }, emojiButton(insert), input, send),
  );
  return { element, reply };
}
