//! Frames from clients: what goes in and out, and what an error tells.

use im_protocol::client::{
    Auth, ClientFrame, Conversations, Envelope, Hello, History, Mark, Presence, Room, Send, Sync, SyncItem, Target,
    Typing,
};
use im_protocol::limits::{MENTIONS, PRESENCE_USERS, SYNC_ITEMS};
use im_protocol::message::{Body, Kind};
use im_protocol::{Content, ErrorCode, FrameId, Terminal, WireError};
use proptest::prelude::*;
use serde_json::{Value, json};

fn id(text: &str) -> FrameId {
    FrameId::parse(text).unwrap()
}

pub(crate) fn one_of_each() -> Vec<ClientFrame> {
    let group = || "g:01J".parse().unwrap();
    let body = Body {
        kind: Kind::Text,
        content: Content::text("hi"),
        mentions: vec!["bob".parse().unwrap()],
        mention_all: true,
        reply_to: Some(41),
    };
    let plain = Body { mentions: vec![], mention_all: false, reply_to: None, ..body.clone() };
    let item = SyncItem { conversation: group(), after: 40, rev: 17 };
    vec![
        ClientFrame::Hello(Hello {
            protocol: Some(1),
            token: "t".into(),
            terminal: Terminal::Web,
            device: "1f3a".parse().unwrap(),
            since: Some("s".into()),
        }),
        ClientFrame::Auth(Auth { token: "t".into() }),
        ClientFrame::Send(Send {
            target: Target::Conversation(group()),
            client_message_id: "c0ffee-1".parse().unwrap(),
            body,
        }),
        ClientFrame::Send(Send {
            target: Target::User("bob".parse().unwrap()),
            client_message_id: "c0ffee-2".parse().unwrap(),
            body: plain,
        }),
        ClientFrame::Delivered(Mark { conversation: group(), seq: 42 }),
        ClientFrame::Read(Mark { conversation: group(), seq: 42 }),
        ClientFrame::Sync(Sync { items: vec![item.clone()], many: false, limit: 200 }),
        ClientFrame::Sync(Sync { items: vec![item.clone()], many: true, limit: 200 }),
        ClientFrame::Sync(Sync { items: vec![item.clone(), item], many: true, limit: 50 }),
        ClientFrame::History(History { conversation: group(), before: Some(42), limit: 20 }),
        ClientFrame::Conversations(Conversations { cursor: Some("c".into()), since: Some("s".into()), limit: 50 }),
        ClientFrame::Join(Room { conversation: "r:01J".parse().unwrap() }),
        ClientFrame::Leave(Room { conversation: "r:01J".parse().unwrap() }),
        ClientFrame::Typing(Typing { conversation: group() }),
        ClientFrame::Presence(Presence { subscribe: vec!["bob".parse().unwrap()], unsubscribe: vec![] }),
        ClientFrame::Ping,
    ]
}

#[test]
fn every_type_of_client_frame_comes_back_as_it_was_with_its_id() {
    for frame in one_of_each() {
        let text = frame.encode(Some(&id("7")));
        let envelope = Envelope::parse(&text).expect(&text);
        assert_eq!(envelope.id, Some(id("7")), "{text}");
        assert_eq!(envelope.body().expect(&text), frame, "{text}");
        let anonymous = frame.encode(None);
        assert!(Envelope::parse(&anonymous).expect(&anonymous).id.is_none(), "{anonymous}");
    }
}

#[test]
fn a_send_to_a_person_says_to_and_a_send_to_a_conversation_says_conversation() {
    let text: Vec<_> = one_of_each().iter().map(|frame| frame.encode(None)).filter(|t| t.contains("c0ffee")).collect();
    assert!(text[0].contains(r#""conversation":"g:01J""#) && !text[0].contains(r#""to""#), "{}", text[0]);
    assert!(text[1].contains(r#""to":"bob""#) && !text[1].contains(r#""conversation""#), "{}", text[1]);
}

/// The frame, or the error with everything it carries.
fn decode(frame: &Value) -> Result<ClientFrame, WireError> {
    Envelope::parse(&frame.to_string())?.body()
}

/// Code and field of the error that `frame` gets, which must carry the frame's `id`.
#[track_caller]
fn refused(mut frame: Value) -> (ErrorCode, Option<String>) {
    frame["id"] = json!("7");
    let error = decode(&frame).expect_err("it is refused");
    assert_eq!(error.id, Some(id("7")), "{error}");
    (error.code, error.field)
}

fn a_send() -> Value {
    json!({"type": "send", "conversation": "g:1", "client_message_id": "c", "kind": "text", "content": {"text": "hi"}})
}

fn a_send_with(field: &str, value: Value) -> Value {
    let mut frame = a_send();
    frame[field] = value;
    frame
}

#[test]
fn an_error_in_a_body_carries_the_id_and_the_field() {
    use ErrorCode::{InvalidField, InvalidFrame};
    let cases = [
        (a_send_with("conversation", json!(7)), InvalidFrame, "conversation"),
        (a_send_with("conversation", Value::Null), InvalidFrame, "conversation"),
        (a_send_with("conversation", json!("x:1")), InvalidField, "conversation"),
        (a_send_with("to", json!("bob")), InvalidFrame, "to"),
        (a_send_with("client_message_id", json!("")), InvalidField, "client_message_id"),
        (a_send_with("kind", json!("smell")), InvalidField, "kind"),
        (a_send_with("kind", json!("notification")), InvalidField, "kind"),
        (a_send_with("content", json!("hi")), InvalidFrame, "content"),
        (a_send_with("content", json!({"text": 7})), InvalidField, "content.text"),
        (a_send_with("content", json!({"text": "\u{0}"})), InvalidField, "content"),
        (a_send_with("mentions", json!(["bob", "no way"])), InvalidField, "mentions[1]"),
        (a_send_with("mentions", json!(["bob", 7])), InvalidFrame, "mentions[1]"),
        (a_send_with("mention_all", json!("yes")), InvalidFrame, "mention_all"),
        (a_send_with("reply_to", json!(-1)), InvalidFrame, "reply_to"),
        (json!({"type": "delivered", "conversation": "g:1"}), InvalidFrame, "seq"),
        (json!({"type": "read", "conversation": "g:1", "seq": 1.5}), InvalidFrame, "seq"),
        (json!({"type": "sync", "items": []}), InvalidField, "items"),
        (
            json!({"type": "sync", "items": [{"conversation": "g:1", "after": 0}, {"conversation": "g:1"}]}),
            InvalidFrame,
            "items[1].after",
        ),
        (json!({"type": "sync", "items": [{"conversation": "g:1", "after": "0"}]}), InvalidFrame, "items[0].after"),
        (
            json!({"type": "hello", "protocol": 2, "token": "t", "terminal": "web", "device": "d"}),
            InvalidField,
            "protocol",
        ),
        (json!({"type": "hello", "token": "t", "terminal": "fridge", "device": "d"}), InvalidField, "terminal"),
        (json!({"type": "hello", "token": "t", "terminal": "web"}), InvalidFrame, "device"),
        (json!({"type": "auth"}), InvalidFrame, "token"),
        (json!({"type": "presence", "subscribe": ["me"]}), InvalidField, "subscribe[0]"),
        (json!({"type": "hologram"}), InvalidFrame, "type"),
        (json!({"type": 7}), InvalidFrame, "type"),
        (json!({}), InvalidFrame, "type"),
    ];
    for (frame, code, field) in cases {
        assert_eq!(refused(frame.clone()), (code, Some(field.to_owned())), "{frame}");
    }
}

#[test]
fn what_is_no_json_object_is_an_invalid_frame_without_an_id() {
    for text in ["", "7", "[]", "\"ping\"", "{", "{}}", "{\"type\":\"ping\"} x", "\u{0}", "{\"type\":}"] {
        let error = Envelope::parse(text).and_then(|envelope| envelope.body()).expect_err(text);
        assert_eq!((error.code, error.id), (ErrorCode::InvalidFrame, None), "{text}");
    }
}

#[test]
fn an_id_must_be_a_string_of_up_to_64_characters() {
    let envelope = |id: Value| Envelope::parse(&json!({"type": "ping", "id": id}).to_string()).map(|e| e.id);
    assert_eq!(envelope(Value::Null), Ok(None));
    assert_eq!(envelope(json!("é".repeat(64))), Ok(Some(id(&"é".repeat(64)))));
    for wrong in [json!(7), json!({}), json!("é".repeat(65))] {
        let error = envelope(wrong.clone()).unwrap_err();
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidFrame, Some("id")), "{wrong}");
    }
}

#[test]
fn lists_in_a_frame_are_bounded() {
    let users = |count| json!(vec!["bob"; count]);
    assert!(decode(&a_send_with("mentions", users(MENTIONS))).is_ok());
    assert_eq!(refused(a_send_with("mentions", users(MENTIONS + 1))).0, ErrorCode::InvalidFrame);
    assert!(decode(&json!({"type": "presence", "subscribe": users(PRESENCE_USERS)})).is_ok());
    assert_eq!(refused(json!({"type": "presence", "subscribe": users(PRESENCE_USERS + 1)})).0, ErrorCode::InvalidFrame);
    let items = |count| json!({"type": "sync", "items": vec![json!({"conversation": "g:1", "after": 0}); count]});
    assert!(decode(&items(SYNC_ITEMS)).is_ok());
    assert_eq!(refused(items(SYNC_ITEMS + 1)).0, ErrorCode::InvalidFrame);
}

#[test]
fn someone_mentioned_twice_is_mentioned_once() {
    let Ok(ClientFrame::Send(send)) = decode(&a_send_with("mentions", json!(["bob", "al", "bob"]))) else { panic!() };
    assert_eq!(send.body.mentions, ["bob".parse().unwrap(), "al".parse().unwrap()]);
}

#[test]
fn a_limit_defaults_to_50() {
    let Ok(ClientFrame::History(history)) = decode(&json!({"type": "history", "conversation": "g:1"})) else {
        panic!()
    };
    assert_eq!(history.limit, 50);
}

proptest! {
    #[test]
    fn a_limit_is_clamped_never_refused(limit in prop_oneof![0..3_u32, 199..202_u32, any::<u32>()]) {
        let expected = limit.clamp(1, 200);
        for frame in [
            json!({"type": "history", "conversation": "g:1", "limit": limit}),
            json!({"type": "conversations", "limit": limit}),
            json!({"type": "sync", "conversation": "g:1", "after": 0, "limit": limit}),
        ] {
            let got = match decode(&frame).unwrap() {
                ClientFrame::History(frame) => frame.limit,
                ClientFrame::Conversations(frame) => frame.limit,
                ClientFrame::Sync(frame) => frame.limit,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(got, expected);
        }
    }
}

#[test]
fn a_token_is_not_shown() {
    for frame in one_of_each() {
        let (ClientFrame::Hello(_) | ClientFrame::Auth(_)) = frame else { continue };
        let text = frame.encode(None).replace(r#""t""#, r#""secret-token""#);
        let shown = format!("{:?}", Envelope::parse(&text).unwrap().body().unwrap());
        assert!(!shown.contains("secret-token"), "{shown}");
    }
}
