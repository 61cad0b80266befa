//! Any id, content, frame and record.

use std::sync::Arc;

use im_protocol::client::{self, ClientFrame, Hello, History, Mark, Room, Send, Sync, SyncItem, Target};
use im_protocol::close::CloseReason;
use im_protocol::limits::Limits;
use im_protocol::message::{Body, ForwardedFrom};
use im_protocol::record::{About, Audience, Disconnect, Payload, Push, Record};
use im_protocol::server::{
    Answer, Changes, ConversationItem, ConversationView, Conversations, Event, GoAway, Kicked, Messages, Pong,
    Presence, Receipt, RemovedReason, Resync, Sent, Tombstone, Typing, UserPresence, Welcome,
};
use im_protocol::{
    ClientMessageId, ConnectionId, Content, ConversationId, DeviceId, Epoch, ErrorCode, Frame, FrameId, Kind, Message,
    ServerFrame, ServerId, Terminal, UserId, WireError,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

pub(crate) fn user() -> impl Strategy<Value = UserId> {
    "[A-Za-z0-9_.@-]{1,8}".prop_filter_map("me is reserved", |text| text.parse().ok())
}

pub(crate) fn conversation() -> impl Strategy<Value = ConversationId> {
    prop_oneof![
        (user(), user()).prop_map(|(a, b)| ConversationId::direct(&a, &b)),
        "[gr]:[A-Za-z0-9_-]{1,26}".prop_map(|text| text.parse().unwrap()),
    ]
}

/// Text without control characters, of any script.
pub(crate) fn text() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{0,12}"
}

pub(crate) fn frame_id() -> impl Strategy<Value = FrameId> {
    text().prop_map(|text| text.parse().unwrap())
}

fn number() -> impl Strategy<Value = u64> {
    any::<u64>()
}

fn time() -> impl Strategy<Value = i64> {
    any::<i64>()
}

fn flag() -> impl Strategy<Value = bool> {
    any::<bool>()
}

fn message_id() -> impl Strategy<Value = ClientMessageId> {
    "[^\\p{Cc}]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn device() -> impl Strategy<Value = DeviceId> {
    "[^\\p{Cc}]{1,64}".prop_map(|text| text.parse().unwrap())
}

/// Any JSON value, with text that content may hold.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "[^\\p{Cc}]{0,8}|\t|\n".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(text(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn content() -> impl Strategy<Value = Content> {
    btree_map(text(), json(), 0..4).prop_map(|map| Content::of(&map).unwrap())
}

fn terminal() -> impl Strategy<Value = Terminal> {
    select(&Terminal::ALL[..])
}

prop_compose! {
    fn body()(
        // Text needs a text, and notifications are the server's.
        kind in select(&Kind::ALL[1..7]),
        content in content(),
        mut mentions in vec(user(), 0..4),
        mention_all: bool,
        reply_to: Option<u64>,
    ) -> Body {
        let mut seen = Vec::new();
        mentions.retain(|user| !seen.contains(user) && { seen.push(user.clone()); true });
        Body { kind, content, mentions, mention_all, reply_to }
    }
}

prop_compose! {
    fn hello()(
        protocol in select(vec![None, Some(1)]),
        token in text(),
        terminal in terminal(),
        device in device(),
        since in of(text()),
    ) -> Hello {
        Hello { protocol, token, terminal, device, since }
    }
}

prop_compose! {
    fn send()(
        target in prop_oneof![conversation().prop_map(Target::Conversation), user().prop_map(Target::User)],
        client_message_id in message_id(),
        body in body(),
    ) -> Send {
        Send { target, client_message_id, body }
    }
}

prop_compose! {
    fn sync()(
        items in vec((conversation(), any::<u64>(), any::<u64>()), 1..5),
        many: bool,
        limit in 1..=200_u32,
    ) -> Sync {
        let items = items.into_iter().map(|(conversation, after, rev)| SyncItem { conversation, after, rev });
        let items: Vec<_> = if many { items.collect() } else { items.take(1).collect() };
        Sync { items, many, limit }
    }
}

pub(crate) fn client_frame() -> impl Strategy<Value = ClientFrame> {
    let mark = || (conversation(), number()).prop_map(|(conversation, seq)| Mark { conversation, seq });
    let room = || conversation().prop_map(|conversation| Room { conversation });
    prop_oneof![
        hello().prop_map(ClientFrame::Hello),
        text().prop_map(|token| ClientFrame::Auth(client::Auth { token })),
        send().prop_map(ClientFrame::Send),
        mark().prop_map(ClientFrame::Delivered),
        mark().prop_map(ClientFrame::Read),
        sync().prop_map(ClientFrame::Sync),
        (conversation(), of(number()), 1..=200_u32)
            .prop_map(|(conversation, before, limit)| ClientFrame::History(History { conversation, before, limit })),
        (of(text()), of(text()), 1..=200_u32).prop_map(|(cursor, since, limit)| {
            ClientFrame::Conversations(client::Conversations { cursor, since, limit })
        }),
        room().prop_map(ClientFrame::Join),
        room().prop_map(ClientFrame::Leave),
        conversation().prop_map(|conversation| ClientFrame::Typing(client::Typing { conversation })),
        (vec(user(), 0..4), vec(user(), 0..4)).prop_map(|(subscribe, unsubscribe)| {
            ClientFrame::Presence(client::Presence { subscribe, unsubscribe })
        }),
        Just(ClientFrame::Ping),
    ]
}

prop_compose! {
    fn message()(
        (conversation, seq, rev, incarnation) in (conversation(), number(), number(), any::<u32>()),
        (sender, client_message_id, time, kind) in (user(), of(message_id()), time(), select(&Kind::ALL[..])),
        (content, mentions, mention_all, reply_to) in (content(), vec(user(), 0..3), flag(), of(number())),
        forwarded_from in of((conversation(), number()).prop_map(|(conversation, seq)| ForwardedFrom { conversation, seq })),
        (recalled, edited) in any::<(bool, Option<i64>)>(),
        reactions in btree_map(text(), vec(user(), 0..3), 0..3),
    ) -> Message {
        Message {
            conversation, seq, rev, incarnation, sender, client_message_id, time, kind, content, mentions, mention_all,
            reply_to, forwarded_from, recalled, edited, reactions,
        }
    }
}

fn reason() -> impl Strategy<Value = RemovedReason> {
    select(vec![RemovedReason::Left, RemovedReason::Kicked, RemovedReason::Dissolved, RemovedReason::Deleted])
}

prop_compose! {
    fn view()(
        (conversation, title) in (conversation(), text()),
        (head, rev, incarnation, read, unread) in any::<(u64, u64, u32, u64, u64)>(),
        (last, draft) in (of(message()), of(text())),
        (pinned, do_not_disturb, mentioned, updated) in any::<(bool, bool, bool, i64)>(),
    ) -> ConversationView {
        ConversationView {
            conversation, title, head, rev, incarnation, read, unread, last, pinned, do_not_disturb, draft, mentioned,
            updated,
        }
    }
}

fn item() -> impl Strategy<Value = ConversationItem> {
    prop_oneof![
        view().prop_map(|view| ConversationItem::Present(Box::new(view))),
        (conversation(), reason())
            .prop_map(|(conversation, reason)| Tombstone { conversation, removed: true, reason })
            .prop_map(ConversationItem::Removed),
    ]
}

prop_compose! {
    fn welcome()(
        (id, user, terminal, device) in (of(frame_id()), user(), terminal(), device()),
        (connection, server, epoch, time, token_expires) in any::<(u64, u16, u64, i64, i64)>(),
        (since, changes) in (text(), of((vec(item(), 0..3), of(text()), flag()))),
    ) -> Welcome {
        Welcome {
            id, protocol: 1, user, terminal, device, connection: ConnectionId(connection), server: ServerId(server),
            epoch: Epoch(epoch), time, token_expires, heartbeat_ms: 25_000, limits: Limits::default(), since,
            changes: changes.map(|(items, next, reset)| Changes { items, next, reset }),
        }
    }
}

prop_compose! {
    fn messages()(
        (id, conversation) in (of(frame_id()), conversation()),
        (incarnation, head, rev, more, last) in any::<(u32, u64, u64, bool, bool)>(),
        (messages, changed, gaps) in (vec(message(), 0..3), vec(message(), 0..3), vec(any::<(u64, u64)>(), 0..3)),
    ) -> Messages {
        Messages { id, conversation, incarnation, head, rev, messages, changed, gaps, more, last }
    }
}

prop_compose! {
    fn error()(
        (id, code, message, field) in (of(frame_id()), select(ErrorCode::ALL), text(), of(text())),
        (retryable, retry_after_ms, last) in any::<(bool, Option<u64>, bool)>(),
        conversation in of(conversation()),
    ) -> WireError {
        WireError { id, code, message, field, retryable, retry_after_ms, conversation, last }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (conversation(), number(), number(), message()).prop_map(|(conversation, seq, rev, message)| {
            Event::MessageChanged { conversation, seq, rev, message: Box::new(message) }
        }),
        (conversation(), number()).prop_map(|(conversation, seq)| Event::ReadElsewhere { conversation, seq }),
        (conversation(), number(), number()).prop_map(|(conversation, seq, count)| Event::ReadCount {
            conversation,
            seq,
            count
        }),
        (text(), user(), text(), time()).prop_map(|(id, from, message, time)| Event::FriendRequest {
            id,
            from,
            message,
            time
        }),
        user().prop_map(|user| Event::FriendAccepted { user }),
        conversation().prop_map(|conversation| Event::ConversationChanged { conversation }),
        (conversation(), reason())
            .prop_map(|(conversation, reason)| Event::ConversationRemoved { conversation, reason }),
    ]
}

prop_compose! {
    fn presence()(
        id in of(frame_id()),
        users in vec((user(), flag(), vec(terminal(), 0..3), of(time())), 0..3),
    ) -> Presence {
        let users = users.into_iter();
        let users = users.map(|(user, online, terminals, last_seen)| UserPresence { user, online, terminals, last_seen });
        Presence { id, users: users.collect() }
    }
}

pub(crate) fn server_frame() -> impl Strategy<Value = ServerFrame> {
    let sent = (of(frame_id()), conversation(), message_id(), any::<(u64, i64, bool)>());
    let conversations = (of(frame_id()), vec(item(), 0..3), of(text()), text(), flag());
    prop_oneof![
        welcome().prop_map(|frame| ServerFrame::Welcome(Box::new(frame))),
        sent.prop_map(|(id, conversation, client_message_id, (seq, time, duplicate))| {
            ServerFrame::Sent(Sent { id, conversation, seq, client_message_id, time, duplicate })
        }),
        message().prop_map(|frame| ServerFrame::Message(Box::new(frame))),
        messages().prop_map(ServerFrame::Messages),
        conversations.prop_map(|(id, items, next, since, reset)| {
            ServerFrame::Conversations(Conversations { id, items, next, since, reset })
        }),
        (conversation(), user(), number(), number()).prop_map(|(conversation, user, delivered, read)| {
            ServerFrame::Receipt(Receipt { conversation, user, delivered, read })
        }),
        (conversation(), user()).prop_map(|(conversation, user)| ServerFrame::Typing(Typing { conversation, user })),
        presence().prop_map(ServerFrame::Presence),
        event().prop_map(ServerFrame::Event),
        (of(conversation()), of(number()), of(number()))
            .prop_map(|(conversation, head, rev)| ServerFrame::Resync(Resync { conversation, head, rev })),
        (text(), number())
            .prop_map(|(reason, reconnect_after_ms)| ServerFrame::GoAway(GoAway { reason, reconnect_after_ms })),
        text().prop_map(|reason| ServerFrame::Kicked(Kicked { reason })),
        of(frame_id()).prop_map(|id| ServerFrame::Ok(Answer { id })),
        (of(frame_id()), time()).prop_map(|(id, time)| ServerFrame::Pong(Pong { id, time })),
        error().prop_map(ServerFrame::Error),
    ]
}

fn audience() -> impl Strategy<Value = Audience> {
    prop_oneof![
        (vec(user(), 0..4), of(any::<u64>().prop_map(ConnectionId)))
            .prop_map(|(users, except)| Audience::Users { users, except }),
        (conversation(), number(), number()).prop_map(|(conversation, seq, members_version)| {
            Audience::Members { conversation, seq, members_version }
        }),
        conversation().prop_map(|conversation| Audience::Room { conversation }),
        user().prop_map(|user| Audience::Watchers { user }),
    ]
}

prop_compose! {
    fn push()(
        audience in audience(),
        frame in server_frame(),
        about in of((conversation(), number(), number())),
    ) -> Push {
        let about = about.map(|(conversation, head, rev)| About { conversation, head, rev });
        Push { audience, frame: Frame::encode(&frame), about }
    }
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let disconnect = (user(), vec(any::<u64>().prop_map(ConnectionId), 0..4)).prop_map(|(user, connections)| {
        Payload::Disconnect(Disconnect { user, connections, reason: CloseReason::Kicked })
    });
    let trace = of("00-[0-9a-f]{32}-[0-9a-f]{16}-01".prop_map(Arc::from));
    (any::<(u64, u16)>(), prop_oneof![push().prop_map(Payload::Push), disconnect], trace).prop_map(
        |((epoch, from), payload, trace)| Record { epoch: Epoch(epoch), from: ServerId(from), payload, trace },
    )
}
