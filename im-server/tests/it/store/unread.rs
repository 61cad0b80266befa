//! What counts as unread.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Seq, UserId};
use im_server::store::{ReadPosition, RowState};

use super::world::{Db, add, commit_one, group, people, recall, remove, row, say, text, unread};

async fn read(store: &Db, conversation: &ConversationId, user: &UserId, seq: Seq) {
    let position = ReadPosition { conversation: conversation.clone(), user: user.clone(), seq };
    store.save_reads(&[position]).await.unwrap();
}

async fn mentioned(store: &Db, user: &UserId, conversation: &ConversationId) -> bool {
    matches!(row(store, user, conversation).await.state, RowState::Present { mentioned: true, .. })
}

async fn messages_of_others_after_the_read_position_count(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    for (sender, alices, bobs) in
        [(&alice, 0, 1), (&bob, 1, 1), (&alice, 1, 2), (&alice, 1, 3), (&bob, 2, 3), (&bob, 3, 3)]
    {
        say(&store, &chat, sender, "hi").await;
        assert_eq!(unread(&store, &alice, &chat).await, alices);
        assert_eq!(unread(&store, &bob, &chat).await, bobs);
    }
    for (seq, alices, bobs) in [(1, 3, 2), (2, 2, 2), (3, 2, 1), (4, 2, 0), (5, 1, 0), (6, 0, 0)] {
        read(&store, &chat, &alice, seq).await;
        read(&store, &chat, &bob, seq).await;
        assert_eq!(unread(&store, &alice, &chat).await, alices);
        assert_eq!(unread(&store, &bob, &chat).await, bobs);
    }
}

async fn a_send_does_not_move_the_read_position(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "hi").await;
    say(&store, &chat, &bob, "ho").await;
    assert_eq!(store.position(&chat, &bob).await.unwrap().unwrap().read, 0);
    assert_eq!(unread(&store, &bob, &chat).await, 1);
}

async fn notifications_do_not_count_and_keep_the_sums(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    assert_eq!(unread(&store, &bob, &tea).await, 0);
    say(&store, &tea, &alice, "hi").await;
    add(&store, &tea, &alice, &carol).await;
    assert_eq!(unread(&store, &alice, &tea).await, 0);
    assert_eq!(unread(&store, &bob, &tea).await, 1);
    say(&store, &tea, &bob, "ho").await;
    remove(&store, &tea, &alice, &carol, RemovedReason::Left).await;
    assert_eq!(unread(&store, &alice, &tea).await, 1);
    assert_eq!(unread(&store, &bob, &tea).await, 1);
    read(&store, &tea, &alice, 5).await;
    assert_eq!(unread(&store, &alice, &tea).await, 0);
}

async fn a_recalled_message_counts_until_read(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "hi").await;
    say(&store, &chat, &alice, "ho").await;
    recall(&store, &chat, 1, &alice).await;
    assert_eq!(unread(&store, &bob, &chat).await, 2);
    read(&store, &chat, &bob, 1).await;
    assert_eq!(unread(&store, &bob, &chat).await, 1);
}

async fn what_was_before_the_joining_does_not_count(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    for _ in 0..3 {
        say(&store, &tea, &alice, "before").await;
    }
    add(&store, &tea, &alice, &bob).await;
    assert_eq!(unread(&store, &bob, &tea).await, 0);
    say(&store, &tea, &alice, "after").await;
    say(&store, &tea, &bob, "own").await;
    assert_eq!(unread(&store, &bob, &tea).await, 1);
    remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    say(&store, &tea, &alice, "without bob").await;
    add(&store, &tea, &alice, &bob).await;
    assert_eq!(unread(&store, &bob, &tea).await, 0);
    say(&store, &tea, &alice, "with bob").await;
    assert_eq!(unread(&store, &bob, &tea).await, 1);
}

async fn what_was_deleted_for_me_does_not_count(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "1").await;
    say(&store, &chat, &bob, "2").await;
    store.delete_for(&bob, &chat).await.unwrap();
    say(&store, &chat, &alice, "3").await;
    assert_eq!(unread(&store, &bob, &chat).await, 1);
    assert_eq!(unread(&store, &alice, &chat).await, 1);
}

async fn reads_that_are_not_stored_yet_count_as_read(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    for _ in 0..4 {
        say(&store, &chat, &alice, "hi").await;
    }
    read(&store, &chat, &bob, 2).await;
    for (seq, left, effective) in [(1, 2, 2), (3, 1, 3), (99, 0, 4)] {
        let row = store.row(&bob, &chat, Some(seq)).await.unwrap().unwrap();
        assert!(
            matches!(row.state, RowState::Present { unread, read, .. } if unread == left && read == effective),
            "{row:?}"
        );
        let list = store.list(&bob, None, None, 10, &[(chat.clone(), seq)]).await.unwrap();
        assert_eq!(list.rows, [row]);
    }
    assert_eq!(unread(&store, &bob, &chat).await, 2);
}

async fn a_mention_holds_until_it_is_read(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol]).await;
    let mut by_name = text(&tea, &alice, "bob?");
    by_name.body.mentions = vec![bob.clone(), alice.clone()];
    commit_one(&store, by_name).await;
    say(&store, &tea, &alice, "well").await;
    assert!(mentioned(&store, &bob, &tea).await);
    assert!(!mentioned(&store, &carol, &tea).await);
    assert!(!mentioned(&store, &alice, &tea).await, "nobody mentions themself");
    read(&store, &tea, &bob, 2).await;
    assert!(!mentioned(&store, &bob, &tea).await);
    let mut all = text(&tea, &bob, "all!");
    all.body.mention_all = true;
    commit_one(&store, all).await;
    assert!(mentioned(&store, &alice, &tea).await);
    assert!(mentioned(&store, &carol, &tea).await);
    assert!(!mentioned(&store, &bob, &tea).await);
    assert!(
        store
            .row(&carol, &tea, Some(4))
            .await
            .unwrap()
            .is_some_and(|row| matches!(row.state, RowState::Present { mentioned: false, .. }))
    );
}

async fn a_mention_from_before_the_joining_or_deleted_is_none(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mention = async || {
        let mut message = text(&tea, &alice, "bob?");
        message.body.mentions = vec![bob.clone()];
        commit_one(&store, message).await;
    };
    mention().await;
    add(&store, &tea, &alice, &bob).await;
    assert!(!mentioned(&store, &bob, &tea).await);
    mention().await;
    assert!(mentioned(&store, &bob, &tea).await);
    store.delete_for(&bob, &tea).await.unwrap();
    say(&store, &tea, &alice, "new").await;
    assert!(!mentioned(&store, &bob, &tea).await);
}

contract!(
    messages_of_others_after_the_read_position_count,
    a_send_does_not_move_the_read_position,
    notifications_do_not_count_and_keep_the_sums,
    a_recalled_message_counts_until_read,
    what_was_before_the_joining_does_not_count,
    what_was_deleted_for_me_does_not_count,
    reads_that_are_not_stored_yet_count_as_read,
    a_mention_holds_until_it_is_read,
    a_mention_from_before_the_joining_or_deleted_is_none,
);
