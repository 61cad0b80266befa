/**
 * ImCluster in the browser: a device of one user, without dependencies and without a build step.
 *
 * ```js
 * import { ImClient, Sessions } from '/web/im-client.js';
 * const sessions = new Sessions(location.origin);
 * const user = sessions.current() ?? (await sessions.signIn('alice', 'alice'));
 * const client = await ImClient.open({ base: location.origin, user, sessions });
 * client.on('message', (message) => console.log(message.sender, message.content.text));
 * await client.send('d:alice:bob', { kind: 'text', content: { text: 'hi' } });
 * ```
 */
export { allPages } from './im-client/api.js';
export { ImClient } from './im-client/client.js';
export { Disconnected, ServerError, SignedOut } from './im-client/errors.js';
export { directConversation, groupOf, isRoom, peerOf } from './im-client/ids.js';
export { Sessions } from './im-client/session.js';
export { Timeline } from './im-client/timeline.js';
