/** @import {Context} from './context.js' */
import { openDialog } from './dialog.js';
import { h } from './dom.js';
import { attempt } from './errors.js';
import { t } from './i18n.js';
import { pickPeople } from './pick-people.js';

/** @param {Context} ctx */
export function openGroupDialog(ctx) {
  const name = h('input', {
    class: 'field',
    testid: 'group-name',
    attrs: {
      placeholder: t('group_name_optional'),
      'aria-label': t('group_name_optional'),
      maxlength: 64,
      autofocus: true,
    },
  });
  const create = h('button', {
    class: 'button primary',
    text: t('create_group'),
    testid: 'group-create',
    attrs: { type: 'submit', disabled: true },
  });
  const people = pickPeople(
    ctx,
    () => true,
    (count) => (create.disabled = count === 0),
  );
  openDialog(
    t('new_group'),
    (close) => {
      /** @param {Event} event */
      const submit = async (event) => {
        event.preventDefault();
        create.disabled = true;
        const made = await attempt(ctx.client.api.createGroup(people.picked(), name.value.trim()));
        create.disabled = false;
        if (!made) return;
        await ctx.client.refresh();
        close();
        ctx.open(made.conversation);
      };
      return [
        h(
          'form',
          { class: 'stack', on: { submit } },
          name,
          people.element,
          h(
            'div',
            { class: 'dialog-actions' },
            h('button', { class: 'button', text: t('cancel'), on: { click: close } }),
            create,
          ),
        ),
      ];
    },
    { testid: 'group-dialog' },
  );
}
