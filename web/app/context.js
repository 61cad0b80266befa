/**
 * @import {ImClient} from '../im-client.js'
 * @import {Emitter} from '../im-client/emitter.js'
 *
 * @typedef {'chats'|'contacts'|'settings'} Tab
 * @typedef {{kind: 'info'}|{kind: 'readers', seq: number}|{kind: 'person', user: string}} Panel
 *
 * @typedef {object} ShellEvents
 * @property {string|null} open      another conversation was opened, or none
 * @property {Panel|null} panel
 * @property {Tab} tab
 * @property {null} language
 * @property {{conversation: string, user: string}} mention   put this user into the composer
 */

/**
 * What every view works with.
 *
 * @typedef {object} Context
 * @property {ImClient} client
 * @property {string} me
 * @property {Emitter<ShellEvents>} shell
 * @property {() => string|null} opened                      the conversation that is open
 * @property {(conversation: string|null) => void} open
 * @property {(user: string) => void} openDirect             the direct conversation with a user, new or old
 * @property {(panel: Panel|null) => void} showPanel
 * @property {(tab: Tab) => void} showTab
 * @property {(reason: 'signed_out'|'kicked'|null) => void} leave   back to the sign-in form
 */

export {};
