/**
 * The shapes of protocol.md that the browser client reads and writes. Times are Unix milliseconds of the server,
 * `seq` counts from 1 and `rev` from 0 within a conversation, both without gaps.
 *
 * @typedef {'text'|'image'|'file'|'voice'|'video'|'location'|'custom'|'notification'} Kind
 *
 * @typedef {object} Message
 * @property {string} conversation
 * @property {number} seq
 * @property {number} rev             the conversation's when this message was made or last changed
 * @property {number} incarnation     raised when the history was restored from a backup
 * @property {string} sender
 * @property {string|null} [client_message_id]
 * @property {number} time
 * @property {Kind} kind
 * @property {Record<string, any>} content   `{text}` for text; a {@link Notice} for notifications; `{}` when recalled
 * @property {string[]} [mentions]
 * @property {boolean} [mention_all]
 * @property {number|null} [reply_to]
 * @property {boolean} [recalled]
 *
 * @typedef {object} Notice           the content of a notification
 * @property {string} template
 * @property {string} actor
 * @property {string[]} [users]       at most 20 of them
 * @property {number} [count]         all of them
 * @property {string} [text]
 *
 * @typedef {object} Messages         the answer to `sync` and `history`
 * @property {string} conversation
 * @property {number} incarnation
 * @property {number} head
 * @property {number} rev             where to go on asking for changes
 * @property {Message[]} messages     oldest first
 * @property {Message[]} [changed]    with seq ≤ the asked `after` and rev > the asked one
 * @property {[number, number][]} [gaps]   seqs `[from, to]` that this user never gets
 * @property {boolean} [more]
 *
 * @typedef {object} Conversation     an item of the list, kept locally as well
 * @property {string} conversation
 * @property {string} title
 * @property {number} head
 * @property {number} rev
 * @property {number} incarnation
 * @property {number} read
 * @property {number} unread
 * @property {Message|null} [last]
 * @property {boolean} [pinned]
 * @property {boolean} [do_not_disturb]
 * @property {string|null} [draft]
 * @property {boolean} [mentioned]
 * @property {number} updated
 * @property {number} [confirmed]     local: the read position that the server is known to have
 *
 * @typedef {object} Removal          an item of the list that says: forget this one
 * @property {string} conversation
 * @property {true} removed
 * @property {'left'|'kicked'|'dissolved'|'deleted'} reason
 *
 * @typedef {object} ConversationPage
 * @property {(Conversation|Removal)[]} items
 * @property {string|null} [next]
 * @property {string|null} [since]
 * @property {boolean} [reset]
 *
 * @typedef {object} Limits           a missing one is not enforced here
 * @property {number} [content_bytes]
 * @property {number} [group_members]
 * @property {number} [members_per_call]
 *
 * @typedef {object} Welcome
 * @property {string} user
 * @property {string} connection
 * @property {number} time
 * @property {number} token_expires
 * @property {number} heartbeat_ms
 * @property {Limits} [limits]
 * @property {string|null} [since]
 * @property {ConversationPage|null} [changes]
 *
 * @typedef {object} Body             what a sender decides about a message
 * @property {Kind} kind
 * @property {Record<string, any>} content
 * @property {string[]} [mentions]
 * @property {boolean} [mention_all]
 * @property {number|null} [reply_to]
 *
 * @typedef {'queued'|'sent'|'failed'} UnsentState
 *     `sent`: acked, and shown until its own message arrives in order
 *
 * @typedef {object} Unsent           a message on its way out
 * @property {string} client_message_id
 * @property {string} conversation
 * @property {number} created         of this device's clock, gives the order of the queue
 * @property {Body} body
 * @property {UnsentState} state
 * @property {number} [seq]           once acked
 * @property {string} [code]          the error code that failed it
 *
 * @typedef {object} Span             what the local store holds of a conversation: every visible seq of `[base, seq]`
 * @property {string} conversation
 * @property {number} incarnation
 * @property {number} base            lowest seq held; `seq + 1` when nothing is held
 * @property {number} seq             the cursor: everything up to here was applied
 * @property {number} rev             every change up to here was applied
 *
 * @typedef {object} Receipt
 * @property {string} conversation
 * @property {string} user
 * @property {number} delivered
 * @property {number} read
 *
 * @typedef {object} Presence
 * @property {string} user
 * @property {boolean} online
 * @property {string[]} [terminals]
 * @property {number|null} [last_seen]
 *
 * @typedef {object} Profile
 * @property {string} user
 * @property {string} name
 * @property {string|null} [avatar]
 *
 * @typedef {{user: string, name: string, remark?: string|null}} Friend
 * @typedef {{id: string, from: string, to: string, message?: string, time: number}} FriendRequest
 * @typedef {{id: string, user: string, name?: string, message?: string, time?: number}} JoinRequest
 * @typedef {'owner'|'admin'|'member'} Role
 * @typedef {{user: string, name: string, alias?: string|null, role: Role, muted_until?: number|null, joined: number}} Member
 * @typedef {'open'|'approval'|'invite'} JoinRule
 *
 * @typedef {object} Group
 * @property {string} group
 * @property {string} conversation
 * @property {string} name
 * @property {string} owner
 * @property {string|null} [announcement]
 * @property {number} members
 * @property {JoinRule} join
 * @property {boolean} [muted]
 *
 * @typedef {{id: string, terminal: string, device: string, created: number, last_seen: number, current: boolean}} SessionInfo
 * @typedef {{user: string, read: number}} Reader
 * @typedef {{access_token: string, refresh_token: string, expires_in: number}} Tokens   expires_in: seconds
 */

/**
 * @template T
 * @typedef {{items: T[], next?: string|null}} Page
 */

export {};
