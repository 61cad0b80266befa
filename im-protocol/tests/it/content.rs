//! Content: what is let in, how it is stored, when two are the same.

use im_protocol::Content;
use im_protocol::content::ContentError;
use im_protocol::text::{Controls, forbidden_character, free_text, name};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::any;

fn read(text: &str) -> Result<Content, ContentError> {
    Content::read(serde_json::from_str::<&RawValue>(text).expect(text))
}

fn compact(text: &str) -> String {
    read(text).expect(text).as_str().to_owned()
}

#[test]
fn white_space_and_needless_escapes_are_dropped() {
    assert_eq!(compact("{ \"text\" :\n [ 1 , { } , [ ] , null , true ] }"), r#"{"text":[1,{},[],null,true]}"#);
    assert_eq!(compact(r#"{"text":"\u0068\u00e9\/ \ud83d\ude00 \u6f22"}"#), r#"{"text":"hé/ 😀 漢"}"#);
    assert_eq!(compact(r#"{"text":"a\u000ab\tc\"\\"}"#), r#"{"text":"a\nb\tc\"\\"}"#);
}

#[test]
fn control_characters_are_refused_wherever_they_stand_but_tab_and_newline_are_not() {
    for bad in
        [r#"{"text":"\u0000"}"#, r#"{"a":[{"b":"\r"}]}"#, r#"{"\u0007":1}"#, "{\"a\":\"\u{7f}\"}", r#"{"a":"\u0085"}"#]
    {
        assert!(matches!(read(bad), Err(ContentError::Invalid(_))), "{bad}");
    }
    assert!(read(r#"{"text":"\t\n"}"#).is_ok());
}

#[test]
fn lone_surrogates_are_refused() {
    for bad in [r#"{"a":"\ud83d"}"#, r#"{"a":"\ude00"}"#, r#"{"a":"\ud83d\ud83d"}"#, r#"{"\ud83d":1}"#] {
        assert!(matches!(read(bad), Err(ContentError::Invalid(_))), "{bad}");
    }
}

#[test]
fn numbers_out_of_range_and_bottomless_nesting_are_refused() {
    assert!(matches!(read(r#"{"a":1e999}"#), Err(ContentError::Invalid(_))));
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(100)).is_ok());
    assert!(matches!(read(&nested(10_000)), Err(ContentError::Invalid(_))));
}

#[test]
fn only_an_object_is_content() {
    for bad in ["[]", "\"text\"", "7", "null"] {
        assert_eq!(read(bad), Err(ContentError::NotAnObject), "{bad}");
    }
}

#[test]
fn contents_are_the_same_when_their_json_values_are() {
    let same = [
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":1.0}"#),
        (r#"{"a":[1e2]}"#, r#"{"a":[100]}"#),
        (r#"{"a":"h"}"#, r#"{"a":"\u0068"}"#),
    ];
    for (a, b) in same {
        assert_eq!(read(a), read(b));
    }
    let different = [
        (r#"{"a":1}"#, r#"{"a":2}"#),
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        (r#"{"a":1}"#, r#"{"b":1}"#),
        (r#"{"a":null}"#, "{}"),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
        (r#"{"a":[1]}"#, r#"{"a":[1,1]}"#),
        (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551614}"#),
        (r#"{"a":"é"}"#, r#"{"a":"e\u0301"}"#),
    ];
    for (a, b) in different {
        assert_ne!(read(a), read(b));
    }
}

proptest! {
    #[test]
    fn reading_keeps_the_value_and_reading_again_changes_nothing(value in any::json()) {
        let object = serde_json::json!({ "value": value });
        let spaced = read(&format!("{object:#}")).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(spaced.as_str()).unwrap(), &object);
        prop_assert_eq!(compact(spaced.as_str()), spaced.as_str());
    }
}

#[test]
fn the_text_of_a_message_is_its_field_text() {
    assert_eq!(Content::text("a \"b\"").text_field().as_deref(), Some("a \"b\""));
    assert_eq!(read(r#"{"text":7}"#).unwrap().text_field(), None);
    assert_eq!(Content::empty().text_field(), None);
}

#[test]
fn names_are_trimmed_and_bounded_and_hold_no_control_characters() {
    assert_eq!(name("  漢字 ", 2), Ok("漢字"));
    for bad in ["", "  ", "abc", "a\nb", "\u{1b}[", "a\u{0}"] {
        assert!(name(bad, 2).is_err(), "{bad:?}");
    }
    assert_eq!(forbidden_character("a\nb", Controls::TabAndNewline), None);
    assert_eq!(forbidden_character("a\nb", Controls::Refused), Some('\n'));
}

#[test]
fn longer_texts_may_be_empty_and_have_lines() {
    assert!(free_text("", 3).is_ok() && free_text("a\nb", 3).is_ok());
    assert!(free_text("abcd", 3).is_err() && free_text("\r", 3).is_err());
}
