//! The commit of messages.

use im_protocol::{Content, ConversationId, Kind};
use im_server::store::{NewRoom, Outcome, Refusal, Slice};

use super::world::{
    Db, NOW, add, befriend, body, client_id, commit, commit_one, committed, group, id, page, people, say, seqs, text,
    with_id,
};

async fn seqs_are_dense_across_batches_and_senders(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let batch = (0..5).map(|n| text(&tea, if n % 2 == 0 { &alice } else { &bob }, "hi")).collect();
    let first: Vec<_> = commit(&store, batch).await.iter().map(|outcome| committed(outcome).message.seq).collect();
    assert_eq!(first, [2, 3, 4, 5, 6]);
    assert_eq!(say(&store, &tea, &bob, "again").await, 7);
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2, 3, 4, 5, 6, 7]);
}

async fn a_message_comes_back_as_it_was_said(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let mut message = text(&tea, &alice, "");
    message.body.kind = Kind::Custom;
    message.body.content =
        Content::of(&serde_json::json!({"a": [1, 2.5, "茶 \" \\ \n \u{1F375}"], "b": null})).unwrap();
    message.body.mentions = vec![bob.clone()];
    message.body.mention_all = true;
    message.body.reply_to = Some(1);
    let outcome = commit_one(&store, message.clone()).await;
    let told = committed(&outcome);
    assert_eq!((told.members_version, told.large, told.changes.len()), (1, false, 0));
    assert_eq!((told.message.rev, told.message.incarnation, told.message.time), (0, 1, NOW));
    assert_eq!(told.message.client_message_id, Some(message.client_message_id));
    let read = page(&store, &bob, &tea, Slice::Newest, 1).await.messages.pop().unwrap();
    assert_eq!(read, told.message);
    assert_eq!(read.content.as_str(), message.body.content.as_str());
    assert_eq!((read.mentions, read.mention_all, read.reply_to), (vec![bob], true, Some(1)));
}

async fn a_retry_gets_the_first_seq_and_time(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let message = with_id("c1", text(&tea, &alice, "hi"));
    assert_eq!(committed(&commit_one(&store, message.clone()).await).message.seq, 2);
    let (outbox, outcomes) = store.commit(vec![message], NOW + 50).await.unwrap();
    assert_eq!(outcomes, [Outcome::Duplicate { seq: 2, time: NOW }]);
    assert_eq!(outbox, None);
    assert_eq!(say(&store, &tea, &alice, "next").await, 3);
}

async fn a_retry_is_compared_as_json_values(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mut message = with_id("c1", text(&tea, &alice, ""));
    message.body.content = Content::from_compact(r#"{"a":1,"b":2}"#.to_owned()).unwrap();
    commit_one(&store, message.clone()).await;
    message.body.content = Content::from_compact(r#"{"b":2,"a":1}"#.to_owned()).unwrap();
    assert_eq!(commit_one(&store, message).await, Outcome::Duplicate { seq: 2, time: NOW });
}

async fn an_id_with_another_body_is_reused(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let message = with_id("c1", text(&tea, &alice, "hi"));
    commit_one(&store, message.clone()).await;
    let mut others = vec![message.clone(); 5];
    others[0].body.content = Content::text("ho");
    others[1].body.kind = Kind::Custom;
    others[2].body.mentions = vec![bob.clone()];
    others[3].body.mention_all = true;
    others[4].body.reply_to = Some(1);
    for other in others {
        assert_eq!(commit_one(&store, other).await, Outcome::Reused);
    }
    // The id belongs to the sender and the conversation.
    let bobs = with_id("c1", text(&tea, &bob, "ho"));
    assert_eq!(committed(&commit_one(&store, bobs).await).message.seq, 3);
    let elsewhere = with_id("c1", text(&ConversationId::direct(&alice, &bob), &alice, "ho"));
    assert_eq!(committed(&commit_one(&store, elsewhere).await).message.seq, 1);
}

async fn an_id_twice_in_one_batch_is_looked_at_like_a_retry(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let message = with_id("c1", text(&tea, &alice, "hi"));
    let other = with_id("c1", text(&tea, &alice, "ho"));
    let outcomes = commit(&store, vec![message.clone(), text(&tea, &alice, "between"), message, other]).await;
    assert_eq!(committed(&outcomes[0]).message.seq, 2);
    assert_eq!(committed(&outcomes[1]).message.seq, 3);
    assert_eq!(outcomes[2..], [Outcome::Duplicate { seq: 2, time: NOW }, Outcome::Reused]);
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2, 3]);
}

async fn a_known_id_is_answered_before_any_fact(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let message = with_id("c1", text(&chat, &alice, "hi"));
    commit_one(&store, message.clone()).await;
    store.set_block(&bob, &alice, true, NOW).await.unwrap();
    assert_eq!(commit_one(&store, text(&chat, &alice, "more")).await, Outcome::Refused(Refusal::Blocked));
    assert_eq!(commit_one(&store, message).await, Outcome::Duplicate { seq: 1, time: NOW });
}

async fn what_is_known_of_an_id_can_be_asked(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    commit_one(&store, with_id("c1", text(&tea, &alice, "hi"))).await;
    let known =
        async |client: &str, what: &str| store.known(&tea, &alice, &client_id(client), &body(what)).await.unwrap();
    assert_eq!(known("c1", "hi").await, Some(Outcome::Duplicate { seq: 2, time: NOW }));
    assert_eq!(known("c1", "ho").await, Some(Outcome::Reused));
    assert_eq!(known("c2", "hi").await, None);
}

async fn a_bad_item_fails_alone(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let nowhere = ConversationId::parse("g:nowhere").unwrap();
    let batch = vec![
        text(&tea, &alice, "1"),
        text(&nowhere, &alice, "2"),
        text(&tea, &bob, "3"),
        text(&chat, &bob, "4"),
        text(&ConversationId::direct(&alice, &id("nobody")), &alice, "5"),
        text(&tea, &id("nobody"), "6"),
        text(&tea, &alice, "7"),
    ];
    let outcomes = commit(&store, batch).await;
    assert_eq!(committed(&outcomes[0]).message.seq, 2);
    assert_eq!(outcomes[1], Outcome::Refused(Refusal::NotFound));
    assert_eq!(outcomes[2], Outcome::Refused(Refusal::NotAMember));
    assert_eq!(committed(&outcomes[3]).message.seq, 1);
    assert_eq!(outcomes[4], Outcome::Refused(Refusal::NotFound));
    assert_eq!(outcomes[5], Outcome::Refused(Refusal::NotAMember));
    assert_eq!(committed(&outcomes[6]).message.seq, 3);
}

async fn an_empty_batch_is_nothing(store: Db) {
    assert_eq!(store.commit(Vec::new(), NOW).await.unwrap(), (None, Vec::new()));
}

async fn the_time_never_goes_back_in_a_conversation(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let at = async |now| {
        let (_, outcomes) = store.commit(vec![text(&tea, &alice, "hi")], now).await.unwrap();
        committed(&outcomes[0]).message.time
    };
    assert_eq!(at(NOW + 100).await, NOW + 100);
    assert_eq!(at(NOW + 20).await, NOW + 100);
    assert_eq!(at(NOW + 101).await, NOW + 101);
}

async fn the_first_direct_message_puts_the_conversation_into_both_lists(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    for user in [&alice, &bob] {
        assert!(store.row(user, &chat, None).await.unwrap().is_none());
    }
    assert_eq!(say(&store, &chat, &bob, "hi").await, 1);
    for user in [&alice, &bob] {
        let list = store.list(user, None, None, 10, &[]).await.unwrap();
        assert_eq!(list.rows.iter().map(|row| &row.conversation).collect::<Vec<_>>(), [&chat]);
        assert_eq!(seqs(&store, user, &chat).await, [1]);
    }
}

async fn one_can_write_to_oneself(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let own = ConversationId::direct(&alice, &alice);
    store.set_block(&alice, &alice, true, NOW).await.unwrap();
    let mut message = text(&own, &alice, "note");
    message.friends_only = true;
    assert_eq!(committed(&commit_one(&store, message).await).message.seq, 1);
    assert_eq!(store.list(&alice, None, None, 10, &[]).await.unwrap().rows.len(), 1);
    assert_eq!(store.member_list(&own, 1).await.unwrap().unwrap().members.len(), 1);
}

async fn a_room_takes_messages_of_anyone_and_stands_in_nobodys_list(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let room = im_protocol::RoomId::parse("lobby").unwrap();
    let new = NewRoom { room: room.clone(), name: "Lobby".to_owned(), owner: alice.clone(), time: NOW };
    store.create_room(new).await.unwrap();
    let lobby = ConversationId::room(&room);
    assert_eq!(say(&store, &lobby, &alice, "hi").await, 1);
    assert_eq!(say(&store, &lobby, &bob, "hi").await, 2);
    assert!(store.list(&alice, None, None, 10, &[]).await.unwrap().rows.is_empty());
    assert!(store.access(&alice, &lobby).await.unwrap().unwrap().stints.is_empty());
    let everything = [im_server::store::Stint::ALWAYS];
    assert_eq!(store.page(&lobby, &everything, Slice::Newest, 50, usize::MAX).await.unwrap().messages.len(), 2);
}

async fn a_reply_may_name_a_message_of_the_same_batch(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mut answer = text(&tea, &alice, "yes");
    answer.body.reply_to = Some(2);
    let mut early = text(&tea, &alice, "no");
    early.body.reply_to = Some(2);
    let outcomes = commit(&store, vec![early, text(&tea, &alice, "well?"), answer]).await;
    assert_eq!(outcomes[0], Outcome::Refused(Refusal::UnknownReply));
    assert_eq!(committed(&outcomes[2]).message.reply_to, Some(2));
}

async fn friends_write_to_each_other_where_others_may_not(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    befriend(&store, &alice, &bob).await;
    let mut to_bob = text(&ConversationId::direct(&alice, &bob), &alice, "hi");
    to_bob.friends_only = true;
    let mut to_carol = text(&ConversationId::direct(&alice, &carol), &alice, "hi");
    to_carol.friends_only = true;
    let outcomes = commit(&store, vec![to_bob, to_carol]).await;
    assert_eq!(committed(&outcomes[0]).message.seq, 1);
    assert_eq!(outcomes[1], Outcome::Refused(Refusal::NotFriends));
}

async fn a_message_tells_the_version_of_the_member_list(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let version = async || committed(&commit_one(&store, text(&tea, &alice, "hi")).await).members_version;
    let before = version().await;
    add(&store, &tea, &alice, &bob).await;
    let after = version().await;
    assert!(after > before);
    assert_eq!(store.member_list(&tea, 1).await.unwrap().unwrap().version, after);
    assert_eq!(store.access(&bob, &tea).await.unwrap().unwrap().members_version, after);
}

contract!(
    seqs_are_dense_across_batches_and_senders,
    a_message_comes_back_as_it_was_said,
    a_retry_gets_the_first_seq_and_time,
    a_retry_is_compared_as_json_values,
    an_id_with_another_body_is_reused,
    an_id_twice_in_one_batch_is_looked_at_like_a_retry,
    a_known_id_is_answered_before_any_fact,
    what_is_known_of_an_id_can_be_asked,
    a_bad_item_fails_alone,
    an_empty_batch_is_nothing,
    the_time_never_goes_back_in_a_conversation,
    the_first_direct_message_puts_the_conversation_into_both_lists,
    one_can_write_to_oneself,
    a_room_takes_messages_of_anyone_and_stands_in_nobodys_list,
    a_reply_may_name_a_message_of_the_same_batch,
    friends_write_to_each_other_where_others_may_not,
    a_message_tells_the_version_of_the_member_list,
);
