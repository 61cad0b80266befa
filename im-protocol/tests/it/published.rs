//! What is published in `docs/protocol` is what the code says, and holds for what the code does.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use im_protocol::ErrorCode;
use im_protocol::client::Envelope;
use im_protocol::schema;
use serde_json::Value;

use crate::client_frames::one_of_each;

/// Compares a published file with `expected`; with `WRITE_DOCS=1` in the environment writes it instead.
fn published(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol").join(name);
    if std::env::var_os("WRITE_DOCS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or(found.lines().count().min(expected.lines().count())) + 1;
    assert!(
        found == expected,
        "docs/protocol/{name} differs from the code at line {line}: run `WRITE_DOCS=1 cargo test -p im-protocol --test it \
         published` and commit what it writes"
    );
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    published("frames.schema.json", &format!("{:#}\n", schema::frames()));
}

#[test]
fn the_published_error_codes_are_those_of_the_code() {
    let mut text = String::from(
        "# Error codes\n\nThe list is closed: a client may match on it. Errors on a socket and over HTTP use the same codes; \
         the status is that of\nHTTP. `rate_limited` always says when to try again (`retry_after_ms`, `Retry-After`).\n\n\
         | code | status | meaning |\n|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        writeln!(text, "| `{code}` | {} | {} |", code.status(), code.meaning().trim()).unwrap();
    }
    text.push_str(
        "\nJSON that cannot be read is `invalid_frame` with status 400 over HTTP. A last word on a TCP connection comes as \
         an `error`\nframe; a WebSocket has a close code instead.\n",
    );
    published("errors.md", &text);
}

/// The fields that the schema of a client frame requires, given which fields `frame` has.
fn required(definitions: &Value, frame: &serde_json::Map<String, Value>) -> BTreeSet<String> {
    let listed = |schema: &Value| -> BTreeSet<String> {
        let list = schema["required"].as_array().into_iter().flatten();
        list.map(|field| field.as_str().unwrap().to_owned()).collect()
    };
    let is_this = |form: &&Value| form["properties"]["type"]["const"] == frame["type"];
    let form = definitions["ClientFrame"]["oneOf"].as_array().unwrap().iter().find(is_this).expect("a listed type");
    let mut required = listed(form);
    if let Some(name) = form["$ref"].as_str() {
        let body = &definitions[name.trim_start_matches("#/$defs/")];
        required.extend(listed(body));
        // Of several forms, the one this frame has.
        let forms = body["oneOf"].as_array().or(body["anyOf"].as_array()).into_iter().flatten().map(listed);
        required.extend(forms.filter(|fields| fields.iter().all(|field| frame.contains_key(field))).flatten());
    }
    required
}

#[test]
fn the_schema_requires_of_a_client_frame_what_the_decoder_does() {
    let definitions = &schema::frames()["$defs"];
    let decode = |frame: &Value| Envelope::parse(&frame.to_string()).and_then(|envelope| envelope.body());
    for frame in one_of_each() {
        let whole: Value = serde_json::from_str(&frame.encode(Some(&"7".parse().unwrap()))).unwrap();
        let fields = whole.as_object().unwrap();
        let required = required(definitions, fields);
        for field in fields.keys() {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(field);
            assert_eq!(decode(&without).is_err(), required.contains(field), "{whole} without {field}");
        }
    }
}

/// The closed list of protocol.md, word by word; then what only sockets say.
const CODES: [(u16, &str); 12] = [
    (401, "unauthorized invalid_credentials token_expired"),
    (403, "forbidden not_a_member muted blocked not_friends"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (409, "conflict already_exists client_message_id_reused group_dissolved"),
    (413, "too_large"),
    (422, "invalid_field invalid_frame"),
    (429, "rate_limited"),
    (500, "internal"),
    (503, "unavailable"),
    (401, "hello_required"),
    (0, "unauthorized kicked too_slow going_away replaced silent no_hello too_many_requests invalid_frame"),
];

#[test]
fn the_codes_and_their_statuses_are_those_of_the_protocol() {
    let mut listed = BTreeSet::new();
    for (status, codes) in CODES {
        for name in codes.split_whitespace() {
            let code = ErrorCode::ALL.iter().find(|code| code.as_str() == name).expect(name);
            assert!(status == 0 || code.status() == status, "{name}");
            assert_eq!(serde_json::to_value(code).unwrap(), name, "one name everywhere");
            listed.insert(name);
        }
    }
    let known: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(known, listed, "the list is closed");
    assert_eq!(known.len(), ErrorCode::ALL.len(), "no code twice");
}

#[test]
fn a_connection_ends_with_the_close_code_of_the_protocol_and_the_same_word_on_tcp() {
    use im_protocol::close::CloseReason as Reason;
    let expected = [
        (Reason::Normal, 1000, None),
        (Reason::ProtocolError, 1002, Some("invalid_frame")),
        (Reason::InvalidUtf8, 1007, Some("invalid_frame")),
        (Reason::TooBig, 1009, Some("invalid_frame")),
        (Reason::Unauthorized, 4001, Some("unauthorized")),
        (Reason::Kicked, 4002, Some("kicked")),
        (Reason::TooSlow, 4003, Some("too_slow")),
        (Reason::GoingAway, 4004, Some("going_away")),
        (Reason::Replaced, 4005, Some("replaced")),
        (Reason::Silent, 4006, Some("silent")),
        (Reason::NoHello, 4008, Some("no_hello")),
        (Reason::TooManyRequests, 4029, Some("too_many_requests")),
    ];
    for (reason, close, word) in expected {
        assert_eq!((reason.code(), reason.error_code().map(ErrorCode::as_str)), (close, word));
        assert!(reason.sentence().len() <= 123, "a close frame has no room for more (RFC 6455, 5.5)");
    }
}
