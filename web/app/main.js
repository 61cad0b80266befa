import { ImClient, Sessions } from '../im-client.js';
import { applyLanguage, t } from './i18n.js';
import { openShell } from './shell.js';
import { signInForm } from './signin.js';
import { applyTheme } from './theme.js';

const host = /** @type {HTMLElement} */ (document.getElementById('app'));
const sessions = new Sessions(location.origin);

applyTheme();
applyLanguage();

/** @type {string|null} */
let notice = null;
for (;;) {
  const user = sessions.current() ?? (await signInForm(host, sessions, notice));
  sessions.use(user);
  const client = await ImClient.open({ base: location.origin, user, sessions });
  const reason = await openShell(host, client);
  client.close();
  notice = reason === 'kicked' ? t('kicked_notice') : reason === 'signed_out' ? t('signed_out_notice') : null;
}
