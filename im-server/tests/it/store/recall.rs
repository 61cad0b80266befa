//! Taking a message back.

use im_protocol::{Content, ConversationId, ErrorCode, WireError};
use im_server::store::{Outcome, RecallFacts, Recalled, Role, Slice, Stint};

use super::world::{
    Db, NOW, add, commit_one, committed, dissolve, group, page, people, recall, row, say, text, unread, with_id,
};

async fn a_recalled_message_keeps_its_place_and_loses_what_it_said(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let mut message = text(&tea, &alice, "oops");
    message.body.mentions = vec![bob.clone()];
    message.body.mention_all = true;
    message.body.reply_to = Some(1);
    let said = committed(&commit_one(&store, message).await).message.clone();
    let told = recall(&store, &tea, said.seq, &alice).await;
    assert!(told.messages.is_empty() && told.removed.is_empty());
    let changed = &told.changed[0];
    assert_eq!((changed.members_version, changed.large), (1, false));
    let expected = im_protocol::Message {
        rev: 1,
        content: Content::empty(),
        mentions: Vec::new(),
        mention_all: false,
        recalled: true,
        ..said
    };
    assert_eq!(changed.message, expected);
    assert_eq!(page(&store, &bob, &tea, Slice::Newest, 1).await.messages, [expected]);
}

async fn a_recall_raises_the_rev_of_the_conversation(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let first = say(&store, &tea, &alice, "1").await;
    let second = say(&store, &tea, &alice, "2").await;
    assert_eq!(recall(&store, &tea, second, &alice).await.changed[0].message.rev, 1);
    assert_eq!(recall(&store, &tea, first, &alice).await.changed[0].message.rev, 2);
    let access = store.access(&alice, &tea).await.unwrap().unwrap();
    assert_eq!((access.rev, access.head), (2, 3));
    let later = committed(&commit_one(&store, text(&tea, &alice, "3")).await).message.clone();
    assert_eq!((later.seq, later.rev), (4, 2));
}

async fn a_second_recall_changes_nothing(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let seq = say(&store, &tea, &alice, "oops").await;
    recall(&store, &tea, seq, &alice).await;
    let again = store.recall(&tea, seq, &alice, NOW, &|_: &RecallFacts| Ok(())).await.unwrap();
    assert_eq!(again, Recalled::Already);
    assert_eq!(store.access(&alice, &tea).await.unwrap().unwrap().rev, 1);
}

async fn what_is_not_there_cannot_be_recalled(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let nowhere = ConversationId::parse("g:nowhere").unwrap();
    for (conversation, seq) in [(&tea, 0), (&tea, 2), (&nowhere, 1)] {
        let answer = store.recall(conversation, seq, &alice, NOW, &|_: &RecallFacts| unreachable!()).await.unwrap();
        assert_eq!(answer, Recalled::NotFound);
    }
}

async fn a_refused_recall_changes_nothing(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let seq = say(&store, &tea, &alice, "stays").await;
    let no = WireError::new(ErrorCode::Forbidden, "no");
    let answer = store.recall(&tea, seq, &alice, NOW, &|_: &RecallFacts| Err(no.clone())).await.unwrap();
    assert_eq!(answer, Recalled::Refused(no));
    let newest = page(&store, &alice, &tea, Slice::Newest, 1).await.messages.pop().unwrap();
    assert!(!newest.recalled);
}

async fn the_decision_sees_the_facts_of_the_actor(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let seq = say(&store, &tea, &alice, "hi").await;
    add(&store, &tea, &alice, &bob).await;
    let seen = async |conversation: &ConversationId, seq, actor| {
        let seen = parking_lot::Mutex::new(None);
        let no = WireError::new(ErrorCode::Forbidden, "no");
        let look = |facts: &RecallFacts| {
            *seen.lock() = Some(facts.clone());
            Err(no.clone())
        };
        store.recall(conversation, seq, actor, NOW, &look).await.unwrap();
        seen.into_inner().unwrap()
    };
    let facts = seen(&tea, seq, &alice).await;
    assert_eq!(facts.message.seq, seq);
    assert_eq!((facts.role, facts.stints, facts.dissolved), (Some(Role::Owner), vec![Stint::ALWAYS], false));
    let facts = seen(&tea, seq, &bob).await;
    assert_eq!((facts.role, facts.stints), (Some(Role::Member), vec![Stint { joined: 3, left: None }]));
    let facts = seen(&tea, seq, &carol).await;
    assert_eq!((facts.role, facts.stints), (None, vec![]));
    dissolve(&store, &tea, &alice).await;
    let facts = seen(&tea, seq, &alice).await;
    assert_eq!((facts.role, facts.dissolved), (None, true));
    assert_eq!(facts.stints, [Stint { joined: 1, left: Some(5) }]);
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "hi").await;
    let facts = seen(&chat, 1, &alice).await;
    assert_eq!((facts.role, facts.stints), (None, vec![Stint::ALWAYS]));
    assert_eq!(seen(&chat, 1, &carol).await.stints, []);
}

async fn a_recalled_message_counts_until_it_is_read_and_mentions_nobody(store: Db) {
    use im_server::store::RowState;
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let mut message = text(&chat, &alice, "bob!");
    message.body.mentions = vec![bob.clone()];
    commit_one(&store, message).await;
    recall(&store, &chat, 1, &alice).await;
    assert_eq!(unread(&store, &bob, &chat).await, 1);
    let RowState::Present { mentioned, last, rev, .. } = row(&store, &bob, &chat).await.state else { panic!() };
    assert!(!mentioned);
    assert!(last.unwrap().recalled);
    assert_eq!(rev, 1);
}

async fn a_retry_of_a_recalled_message_is_a_duplicate(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let message = with_id("c1", text(&tea, &alice, "oops"));
    commit_one(&store, message.clone()).await;
    recall(&store, &tea, 2, &alice).await;
    assert_eq!(commit_one(&store, message).await, Outcome::Duplicate { seq: 2, time: NOW });
}

contract!(
    a_recalled_message_keeps_its_place_and_loses_what_it_said,
    a_recall_raises_the_rev_of_the_conversation,
    a_second_recall_changes_nothing,
    what_is_not_there_cannot_be_recalled,
    a_refused_recall_changes_nothing,
    the_decision_sees_the_facts_of_the_actor,
    a_recalled_message_counts_until_it_is_read_and_mentions_nobody,
    a_retry_of_a_recalled_message_is_a_duplicate,
);
