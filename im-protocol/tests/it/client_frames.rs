//! Frames from clients: what one side encodes is what the other side decodes.

use im_protocol::client::{
    Auth, ClientFrame, Conversations, Envelope, Hello, History, Mark, Presence, Room, Send, Sync, SyncItem, Target,
    Typing,
};
use im_protocol::message::{Body, Kind};
use im_protocol::{Content, FrameId, Terminal};

fn id(text: &str) -> FrameId {
    FrameId::parse(text).unwrap()
}

fn one_of_each() -> Vec<ClientFrame> {
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
