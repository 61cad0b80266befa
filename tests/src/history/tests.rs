//! A good history is green, and each thing that must never happen is named.

use super::*;

const CONVERSATION: &str = "g:1";

fn view(client: &str, user: &str, seq: u64) -> View {
    View {
        client: client.into(),
        user: user.into(),
        conversation: CONVERSATION.into(),
        seq,
        sender: "alice".into(),
        client_message_id: Some(format!("m{seq}")),
        content: format!("content {seq}"),
    }
}

/// Alice sends five messages; she and Bob see them all, and read them again in the end.
fn good() -> Vec<Record> {
    let (conversation, user) = (|| CONVERSATION.to_owned(), || "alice".to_owned());
    let mut history = vec![];
    for member in ["alice", "bob"] {
        history.push(Record::Stint { conversation: conversation(), user: member.into(), joined: 1, left: None });
    }
    for seq in 1..=5 {
        let client_message_id = format!("m{seq}");
        history.push(Record::Sent {
            conversation: conversation(),
            user: user(),
            client_message_id: client_message_id.clone(),
            content: format!("content {seq}"),
        });
        history.push(Record::Acked { conversation: conversation(), user: user(), client_message_id, seq });
    }
    for (client, user) in [("alice-web", "alice"), ("bob-web", "bob")] {
        history.extend((1..=5).map(|seq| Record::Seen(view(client, user, seq))));
        history.extend((1..=5).map(|seq| Record::Synced(view(client, user, seq))));
    }
    history
}

fn names(history: &[Record]) -> Vec<&'static str> {
    let mut names: Vec<_> = check(history).iter().map(Violation::name).collect();
    names.dedup();
    names
}

/// Where Bob sees a seq, live.
fn seen_by_bob(history: &[Record], seq: u64) -> usize {
    history.iter().position(|record| *record == Record::Seen(view("bob-web", "bob", seq))).unwrap()
}

#[test]
fn a_good_history_is_green() {
    assert_eq!(check(&good()), []);
}

#[test]
fn a_history_survives_its_file() {
    let mut file = vec![];
    write(&good(), &mut file).unwrap();
    assert_eq!(read(file.as_slice()).unwrap(), good());
}

#[test]
fn a_message_that_one_member_never_got_is_lost() {
    let mut history = good();
    history.retain(|record| !matches!(record, Record::Seen(v) | Record::Synced(v) if v.user == "bob" && v.seq == 5));
    assert_eq!(names(&history), ["lost"]);
}

#[test]
fn an_acked_message_that_is_not_stored_is_lost() {
    let mut history = good();
    history.push(Record::Sent {
        conversation: CONVERSATION.into(),
        user: "alice".into(),
        client_message_id: "m6".into(),
        content: String::new(),
    });
    assert_eq!(names(&history), [""; 0], "a message that was sent and never acked may be nowhere");
    history.push(Record::Acked {
        conversation: CONVERSATION.into(),
        user: "alice".into(),
        client_message_id: "m6".into(),
        seq: 6,
    });
    assert_eq!(names(&history), ["lost"]);
}

#[test]
fn a_dropped_message_in_the_middle_is_a_gap() {
    let mut history = good();
    history.remove(seen_by_bob(&history, 3));
    assert_eq!(names(&history), ["gap"]);
    history.push(Record::Skipped { client: "bob-web".into(), conversation: CONVERSATION.into(), seq: 3 });
    assert_eq!(names(&history), [""; 0], "a gap that was named is none");
}

#[test]
fn two_swapped_messages_are_a_reorder() {
    let mut history = good();
    let at = seen_by_bob(&history, 2);
    history.swap(at, at + 1);
    assert_eq!(names(&history), ["reorder"]);
}

#[test]
fn messages_stored_against_the_order_of_their_sender_are_a_reorder() {
    let mut history = good();
    let sent = |history: &[Record], wanted: &str| {
        history.iter().position(|r| matches!(r, Record::Sent { client_message_id, .. } if client_message_id == wanted))
    };
    let (two, three) = (sent(&history, "m2").unwrap(), sent(&history, "m3").unwrap());
    history.swap(two, three);
    assert_eq!(names(&history), ["reorder"]);
}

#[test]
fn a_doubled_message_is_a_duplicate() {
    let mut history = good();
    let at = seen_by_bob(&history, 4);
    history.insert(at, history[at].clone());
    assert_eq!(names(&history), ["duplicate"]);
}

#[test]
fn a_message_stored_under_two_seqs_is_a_duplicate() {
    let mut history = good();
    for (client, user) in [("alice-web", "alice"), ("bob-web", "bob")] {
        history.push(Record::Synced(View {
            client_message_id: Some("m1".into()),
            content: "content 1".into(),
            ..view(client, user, 6)
        }));
    }
    assert_eq!(names(&history), ["duplicate"]);
}

#[test]
fn a_message_that_nobody_sent_is_a_phantom() {
    let mut history = good();
    for (client, user) in [("alice-web", "alice"), ("bob-web", "bob")] {
        history.push(Record::Synced(view(client, user, 6)));
    }
    assert_eq!(names(&history), ["phantom"]);
}

#[test]
fn a_message_with_a_content_that_was_never_sent_is_a_phantom() {
    let mut history = good();
    for record in &mut history {
        if let Record::Seen(view) | Record::Synced(view) = record
            && view.seq == 2
        {
            view.content = "something else".into();
        }
    }
    assert_eq!(names(&history), ["phantom"]);
}

#[test]
fn a_message_shown_to_one_who_is_no_member_is_a_leak() {
    let mut history = good();
    history.push(Record::Seen(view("eve-web", "eve", 5)));
    assert!(names(&history).contains(&"leak"));
}

#[test]
fn a_message_shown_to_a_member_after_the_stint_is_a_leak() {
    let mut history = good();
    history[1] = Record::Stint { conversation: CONVERSATION.into(), user: "bob".into(), joined: 1, left: Some(5) };
    assert_eq!(names(&history), ["leak"]);
}

#[test]
fn two_contents_under_one_seq_are_a_fork() {
    let mut history = good();
    let at = seen_by_bob(&history, 3);
    history[at] = Record::Seen(View { content: "forked".into(), ..view("bob-web", "bob", 3) });
    assert_eq!(names(&history), ["fork"]);
}
