//! What one side encodes is what the other side decodes.

use im_protocol::client::Envelope;
use im_protocol::record::Record;
use im_protocol::{Frame, ServerFrame};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::Value;

use crate::any;

proptest! {
    #[test]
    fn every_client_frame_comes_back_as_it_was_with_its_id(frame in any::client_frame(), id in of(any::frame_id())) {
        let text = frame.encode(id.as_ref());
        let envelope = Envelope::parse(&text).expect(&text);
        prop_assert_eq!(&envelope.id, &id);
        prop_assert_eq!(envelope.body().expect(&text), frame);
    }

    #[test]
    fn every_server_frame_comes_back_as_it_was(frame in any::server_frame()) {
        let encoded = Frame::encode(&frame);
        let text = std::str::from_utf8(encoded.bytes()).unwrap();
        prop_assert_eq!(ServerFrame::decode(text).expect(text), Some(frame));
    }

    #[test]
    fn every_record_comes_back_as_it_was(record in any::record()) {
        let bytes = serde_json::to_vec(&record).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Record>(&bytes).unwrap(), record);
    }

    /// `null` in a field and no such field are taken alike: both fail, or both give the same frame.
    #[test]
    fn null_and_absent_are_the_same_in_client_frames(frame in any::client_frame(), id in of(any::frame_id())) {
        let decode = |text: &str| Envelope::parse(text).and_then(|envelope| Ok((envelope.id.clone(), envelope.body()?)));
        for (null, absent) in without_each_field(&frame.encode(id.as_ref())) {
            prop_assert_eq!(decode(&null).ok(), decode(&absent).ok(), "{} and {}", null, absent);
        }
    }

    #[test]
    fn null_and_absent_are_the_same_in_server_frames(frame in any::server_frame()) {
        let encoded = Frame::encode(&frame);
        for (null, absent) in without_each_field(std::str::from_utf8(encoded.bytes()).unwrap()) {
            let (null, absent) = (ServerFrame::decode(&null).ok(), ServerFrame::decode(&absent).ok());
            prop_assert_eq!(null, absent);
        }
    }

    #[test]
    fn fields_nobody_knows_are_ignored(frame in any::client_frame(), extra in any::json()) {
        let mut object: serde_json::Map<String, Value> = serde_json::from_str(&frame.encode(None)).unwrap();
        object.insert("of a later version".into(), extra);
        let text = serde_json::to_string(&object).unwrap();
        prop_assert_eq!(Envelope::parse(&text).unwrap().body().unwrap(), frame);
    }
}

/// The object `text` with each of its fields set to null, and with the field taken away.
fn without_each_field(text: &str) -> Vec<(String, String)> {
    let whole: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
    let of = |key: &String| {
        let (mut null, mut absent) = (whole.clone(), whole.clone());
        null.insert(key.clone(), Value::Null);
        absent.remove(key);
        (serde_json::to_string(&null).unwrap(), serde_json::to_string(&absent).unwrap())
    };
    whole.keys().map(of).collect()
}

#[test]
fn an_event_is_read_whatever_the_order_of_its_fields() {
    let text = r#"{"data":{"conversation":"g:1","seq":1,"rev":1,"message":{"conversation":"g:1","seq":1,"rev":1,
        "incarnation":1,"sender":"a","client_message_id":null,"time":1,"kind":"text","content":{"text":"hi"}}},
        "event":"message_changed","type":"event"}"#;
    assert!(matches!(ServerFrame::decode(text), Ok(Some(ServerFrame::Event(_)))));
}

#[test]
fn frames_and_events_of_a_later_version_are_no_errors() {
    assert_eq!(ServerFrame::decode(r#"{"type":"hologram","x":1}"#), Ok(None));
    assert_eq!(ServerFrame::decode(r#"{"type":"event","event":"hologram","data":[1]}"#), Ok(None));
}
