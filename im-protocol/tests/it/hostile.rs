//! Whatever comes in: no decoder panics, and none takes much more memory than it was given.

use im_protocol::client::Envelope;
use im_protocol::record::Record;
use im_protocol::{Content, Frame, ServerFrame};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::any;

/// A decoder's peak may be this many times its input …
const TIMES: u64 = 8;
/// … and this many bytes for what does not grow with it: the sentence of an error, the first growth of a list.
const CONSTANT: u64 = 4096;

/// Gives `input` to every decoder, and measures the one that takes most.
fn peak(input: &[u8]) -> u64 {
    let measure = |decode: &dyn Fn()| allocation_counter::measure(decode).bytes_max;
    let text = std::str::from_utf8(input).ok();
    let client = || drop(text.map(|text| Envelope::parse(text).and_then(|envelope| envelope.body())));
    let server = || drop(text.map(ServerFrame::decode));
    let content = || drop(text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()).map(Content::read));
    let record = || drop(serde_json::from_slice::<Record>(input));
    [measure(&client), measure(&server), measure(&content), measure(&record)].into_iter().max().unwrap_or(0)
}

fn check(input: &[u8]) -> Result<(), TestCaseError> {
    let peak = peak(input);
    let bound = TIMES * input.len() as u64 + CONSTANT;
    prop_assert!(peak <= bound, "{peak} bytes for {} of input", input.len());
    Ok(())
}

/// Bytes with some of them changed, taken away or doubled.
fn spoiled(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = bytes.len().max(1);
    proptest::collection::vec((0..len, any::<u8>(), 0..4_u8), 1..6).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, byte, what) in changes {
            let at = at.min(bytes.len().saturating_sub(1));
            match what {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_within_bounds(input: Vec<u8>) {
        check(&input)?;
    }

    #[test]
    fn any_json_is_decoded_within_bounds(value in any::json()) {
        check(&serde_json::to_vec(&value).unwrap())?;
    }

    #[test]
    fn spoiled_client_frames_are_decoded_within_bounds(
        input in any::client_frame().prop_flat_map(|frame| spoiled(frame.encode(None).into_bytes()))
    ) {
        check(&input)?;
    }

    #[test]
    fn spoiled_server_frames_are_decoded_within_bounds(
        input in any::server_frame().prop_flat_map(|frame| spoiled(Frame::encode(&frame).bytes().to_vec()))
    ) {
        check(&input)?;
    }

    #[test]
    fn spoiled_records_are_decoded_within_bounds(
        input in any::record().prop_flat_map(|record| spoiled(serde_json::to_vec(&record).unwrap()))
    ) {
        check(&input)?;
    }
}

/// What an attacker would write: 100 KB of the smallest thing that costs something, everywhere a frame takes a list,
/// an object or a text.
#[test]
fn frames_made_to_blow_up_are_decoded_within_bounds() {
    let many = |item: &str| {
        let mut list = item.repeat(100_000 / item.len());
        list.pop();
        list
    };
    let mut inputs = vec![
        "[".repeat(100_000),
        format!("{{{}", r#""a":{"#.repeat(20_000)),
        format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(100_000)),
        format!(r#"{{"type":"{}"}}"#, "x".repeat(100_000)),
        format!(r#"{{"type":"send","kind":"{}"}}"#, "x".repeat(100_000)),
        format!(r#"{{"type":"{}"}}"#, r"\u0061".repeat(16_000)),
        format!(r#"{{"type":"delivered","conversation":"g:1","seq":"{}"}}"#, "x".repeat(100_000)),
        format!(r#"{{"type":"delivered","{}":[1"#, "x".repeat(100_000)),
        format!(r#"{{"type":"event","event":"friend_accepted","data":{{"user":"a","x":[{}]}}}}"#, many("0,")),
        format!(r#"{{"type":"conversations","since":"","items":[{{"x":[{}]}}]}}"#, many("0,")),
        format!(r#"{{"type":"message","reactions":{{{}}}}}"#, many(r#""":[],"#)),
        format!(r#"{{"type":"messages","gaps":[{}]}}"#, many("[0,0],")),
        format!(r#"{{"epoch":1,"from":1,"payload":{{"push":{{"frame":[{}]}}}}}}"#, many("0,")),
        format!(r#"{{"a":[{}]}}"#, many("0,")),
        format!(r#"{{"a":[{}]}}"#, many("1e9,")),
        format!(r#"{{"a":"{}"}}"#, r"\n".repeat(50_000)),
    ];
    for field in ["mentions", "subscribe", "unsubscribe", "items", "users", "content", "messages", "changed"] {
        for item in ["0,", "\"\",", "{},", "[],", "null,", "\"aa\","] {
            for kind in ["send", "presence", "sync", "messages", "conversations"] {
                inputs.push(format!(r#"{{"type":"{kind}","{field}":[{}]}}"#, many(item)));
            }
        }
    }
    for input in inputs {
        let (peak, len) = (peak(input.as_bytes()), input.len() as u64);
        let start: String = input.chars().take(60).collect();
        assert!(peak <= TIMES * len + CONSTANT, "{start}…: {peak} bytes for {len} of input");
    }
}

#[test]
fn an_error_does_not_repeat_a_whole_frame() {
    let text = format!(r#"{{"type":"delivered","conversation":"g:1","seq":"{}"}}"#, "x".repeat(100_000));
    let error = Envelope::parse(&text).unwrap().body().unwrap_err();
    assert!(error.message.len() < 1000, "{}", error.message.len());
}
