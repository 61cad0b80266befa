//! What a test's clients saw, written down for the [history checker](crate::history).

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::json;

use crate::client::Client;
use crate::history::{self, Record, Recorder, View};
use crate::stage::Person;

/// People have been members of a conversation since message 1, and are still.
pub fn members<'a>(recorder: &Recorder, conversation: &str, people: impl IntoIterator<Item = &'a Person>) {
    for person in people {
        let (conversation, user) = (conversation.to_owned(), person.id.clone());
        recorder.add(Record::Stint { conversation, user, joined: 1, left: None });
    }
}

/// Reads a conversation from its beginning to its head, as a client that has nothing.
pub async fn read_again(
    recorder: &Recorder,
    client: &Client,
    name: &str,
    person: &Person,
    conversation: &str,
) -> Vec<View> {
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let frame = json!({"type": "sync", "conversation": conversation, "after": after, "limit": 200});
        let answer = client.expect(frame, "messages").await;
        assert_eq!(answer["gaps"], json!([]), "{answer}");
        for message in answer["messages"].as_array().expect("messages") {
            let view = View::of(name, &person.id, message);
            after = view.seq;
            recorder.add(Record::Synced(view.clone()));
            all.push(view);
        }
        if answer["more"] == false {
            assert_eq!(answer["head"], after, "the head is the last message");
            return all;
        }
    }
}

/// Fails if the history, by way of a file, has a violation. The file stays for those who want to know more.
pub fn check(recorder: &Recorder, file: &Path) {
    history::write(&recorder.history(), File::create(file).expect("a file")).expect("a history can be written");
    let history = history::read(BufReader::new(File::open(file).expect("the file"))).expect("a history can be read");
    let violations: Vec<String> = history::check(&history).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{violations:#?}; the history is in {}", file.display());
}
