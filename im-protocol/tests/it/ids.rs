//! Ids: which texts are one, and what they tell.

use im_protocol::{ClientMessageId, ConnectionId, ConversationId, ConversationKind, DeviceId, GroupId, UserId};
use proptest::prelude::*;

use crate::any;

#[test]
fn a_user_id_has_1_to_64_of_the_allowed_characters_and_is_not_me() {
    for good in ["a", "A.b_c@d-9", "mexico", &"x".repeat(64)] {
        assert!(UserId::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "me", "Me", "ME", "a b", "a:b", "é", "a/b", "a\n", "a\0", &"x".repeat(65)] {
        assert!(UserId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_conversation_is_direct_a_group_or_a_room() {
    let kind = |text: &str| ConversationId::parse(text).map(|conversation| conversation.kind());
    assert_eq!(kind("d:alice:bob"), Ok(ConversationKind::Direct));
    assert_eq!(kind("d:a:a"), Ok(ConversationKind::Direct));
    assert_eq!(kind("g:01J"), Ok(ConversationKind::Group));
    assert_eq!(kind("r:01J"), Ok(ConversationKind::Room));
    for bad in ["", "d:", "d:a", "d:bob:alice", "d:a:b:c", "d:a:me", "g:", "g:a:b", "g:a.b", "x:1", "G:1", " g:1"] {
        assert!(kind(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn short_ids_have_1_to_64_characters_and_no_control_characters() {
    for good in ["x", &"漢".repeat(64)] {
        assert!(ClientMessageId::parse(good).is_ok() && DeviceId::parse(good).is_ok());
    }
    for bad in ["", "a\tb", "a\u{7f}", "a\u{85}", &"漢".repeat(65)] {
        assert!(ClientMessageId::parse(bad).is_err() && DeviceId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_connection_is_16_lower_case_hex_digits() {
    assert_eq!("00000000000000ff".parse(), Ok(ConnectionId(255)));
    for bad in ["", "ff", "00000000000000FF", "+0000000000000ff", "00000000000000ff0"] {
        assert!(bad.parse::<ConnectionId>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn a_direct_conversation_is_the_same_from_both_ends(a in any::user(), b in any::user()) {
        let conversation = ConversationId::direct(&a, &b);
        prop_assert_eq!(&conversation, &ConversationId::direct(&b, &a));
        prop_assert_eq!(ConversationId::parse(conversation.as_str()), Ok(conversation.clone()));
        prop_assert_eq!(conversation.peer(&a), Some(b.clone()));
        prop_assert_eq!(conversation.peer(&b), Some(a.clone()));
        let (first, second) = conversation.ends().unwrap();
        prop_assert!(first <= second);
    }

    #[test]
    fn a_group_and_its_conversation_name_each_other(key in "[A-Za-z0-9_-]{1,62}") {
        let group: GroupId = key.parse().unwrap();
        prop_assert_eq!(ConversationId::group(&group).as_group(), Some(group));
    }

    #[test]
    fn an_id_goes_over_the_wire_as_it_is(user in any::user(), conversation in any::conversation(), connection: u64) {
        prop_assert_eq!(serde_json::to_value(&user).unwrap(), user.as_str());
        let text = serde_json::to_string(&(&user, &conversation, ConnectionId(connection))).unwrap();
        let back: (UserId, ConversationId, ConnectionId) = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back, (user, conversation, ConnectionId(connection)));
    }

    #[test]
    fn a_stranger_is_no_end_of_a_conversation(a in any::user(), b in any::user(), c in any::user()) {
        prop_assume!(c != a && c != b);
        prop_assert_eq!(ConversationId::direct(&a, &b).peer(&c), None);
    }
}
