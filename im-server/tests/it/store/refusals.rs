//! The facts that stand against a message, in the order of `Refusal`.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, UserId};
use im_server::store::{GroupEffects, GroupSettings, NewMessage, Refusal, Role};

use super::world::{
    Db, NOW, add, befriend, change, commit, dissolve, group, id, people, refusal, remove, say, settings, text,
};

async fn mute(store: &Db, tea: &ConversationId, owner: &UserId, user: &UserId, until: i64) {
    let effects = GroupEffects { mutes: vec![(user.clone(), until)], ..GroupEffects::default() };
    change(store, tea, owner, effects).await;
}

async fn mute_all(store: &Db, tea: &ConversationId, owner: &UserId) {
    let settings = GroupSettings { muted: true, ..settings(owner) };
    change(store, tea, owner, GroupEffects { settings: Some(settings), ..GroupEffects::default() }).await;
}

/// A reply to something that is not there: the last fact that can stand against a message to a group.
fn bad_reply(conversation: &ConversationId, sender: &UserId) -> NewMessage {
    let mut message = text(conversation, sender, "hi");
    message.body.reply_to = Some(99);
    message
}

async fn what_is_not_there_is_not_found(store: Db) {
    let [alice, bob] = people(&store, ["alice", "Bob"]).await;
    for nowhere in ["g:nowhere", "r:nowhere", "d:alice:nobody", "d:alice:bob", "d:nobody:nothing"] {
        let nowhere = ConversationId::parse(nowhere).unwrap();
        assert_eq!(refusal(&store, bad_reply(&nowhere, &alice)).await, Some(Refusal::NotFound), "{nowhere}");
    }
    assert_eq!(refusal(&store, text(&ConversationId::direct(&alice, &bob), &alice, "hi")).await, None);
}

async fn a_dissolved_group_says_so_to_anyone(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    mute(&store, &tea, &alice, &bob, NOW + 1).await;
    dissolve(&store, &tea, &alice).await;
    for user in [&alice, &bob, &carol] {
        assert_eq!(refusal(&store, bad_reply(&tea, user)).await, Some(Refusal::Dissolved));
    }
}

async fn strangers_and_former_members_are_no_members(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    mute_all(&store, &tea, &alice).await;
    remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    let chat = ConversationId::direct(&alice, &bob);
    for message in [bad_reply(&tea, &bob), bad_reply(&tea, &carol), bad_reply(&chat, &carol)] {
        assert_eq!(refusal(&store, message).await, Some(Refusal::NotAMember));
    }
}

async fn a_mute_holds_until_its_time_and_comes_before_the_mute_of_all(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    mute_all(&store, &tea, &alice).await;
    mute(&store, &tea, &alice, &bob, NOW + 1).await;
    mute(&store, &tea, &alice, &alice, NOW + 1).await;
    for user in [&alice, &bob] {
        assert_eq!(refusal(&store, bad_reply(&tea, user)).await, Some(Refusal::Muted(NOW + 1)));
    }
    mute(&store, &tea, &alice, &alice, NOW).await;
    assert_eq!(refusal(&store, text(&tea, &alice, "hi")).await, None);
}

async fn the_mute_of_all_does_not_bind_owner_and_admins(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol]).await;
    mute_all(&store, &tea, &alice).await;
    let roles = vec![(bob.clone(), Role::Admin)];
    change(&store, &tea, &alice, GroupEffects { roles, ..GroupEffects::default() }).await;
    assert_eq!(refusal(&store, text(&tea, &alice, "hi")).await, None);
    assert_eq!(refusal(&store, text(&tea, &bob, "hi")).await, None);
    assert_eq!(refusal(&store, bad_reply(&tea, &carol)).await, Some(Refusal::GroupMuted));
}

async fn a_block_comes_before_friendship_and_binds_the_blocked_only(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let friends_only = |message| NewMessage { friends_only: true, ..message };
    store.set_block(&bob, &alice, true, NOW).await.unwrap();
    assert_eq!(refusal(&store, friends_only(bad_reply(&chat, &alice))).await, Some(Refusal::Blocked));
    assert_eq!(refusal(&store, friends_only(bad_reply(&chat, &bob))).await, Some(Refusal::NotFriends));
    befriend(&store, &bob, &alice).await;
    assert_eq!(refusal(&store, friends_only(bad_reply(&chat, &alice))).await, Some(Refusal::Blocked));
    assert_eq!(refusal(&store, friends_only(text(&chat, &bob, "hi"))).await, None);
    store.set_block(&bob, &alice, false, NOW).await.unwrap();
    assert_eq!(refusal(&store, friends_only(text(&chat, &alice, "hi"))).await, None);
}

async fn a_reply_must_name_what_the_sender_may_see(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    assert_eq!(say(&store, &tea, &alice, "before bob").await, 2);
    add(&store, &tea, &alice, &bob).await;
    let reply = |seq| {
        let mut message = text(&tea, &bob, "hi");
        message.body.reply_to = Some(seq);
        message
    };
    assert_eq!(refusal(&store, reply(3)).await, None);
    for seq in [0, 2, 5, u64::MAX] {
        assert_eq!(refusal(&store, reply(seq)).await, Some(Refusal::UnknownReply), "{seq}");
    }
}

async fn a_reply_comes_before_the_number_of_conversations(store: Db) {
    let [alice, bob, carol, dave] = people(&store, ["alice", "bob", "carol", "dave"]).await;
    let limited = |message| NewMessage { max_conversations: 1, ..message };
    let with = |user| ConversationId::direct(&alice, user);
    assert_eq!(refusal(&store, limited(text(&with(&bob), &alice, "hi"))).await, None);
    // One that is there already makes no new one; a new one is one too many for either end.
    assert_eq!(refusal(&store, limited(text(&with(&bob), &bob, "hi"))).await, None);
    let too_many = Some(Refusal::TooManyConversations);
    assert_eq!(refusal(&store, limited(text(&with(&carol), &alice, "hi"))).await, too_many);
    assert_eq!(refusal(&store, limited(text(&with(&carol), &carol, "hi"))).await, too_many);
    assert_eq!(refusal(&store, limited(bad_reply(&with(&carol), &alice))).await, Some(Refusal::UnknownReply));
    let both = ConversationId::direct(&carol, &dave);
    assert_eq!(refusal(&store, limited(text(&both, &carol, "hi"))).await, None);
    assert_eq!(refusal(&store, text(&with(&carol), &alice, "no limit")).await, None);
}

async fn conversations_made_by_the_batch_count(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let limited =
        |user| NewMessage { max_conversations: 1, ..text(&ConversationId::direct(&alice, user), &alice, "hi") };
    let outcomes = commit(&store, vec![limited(&bob), limited(&bob), limited(&carol)]).await;
    let refused: Vec<bool> =
        outcomes.iter().map(|o| *o == im_server::store::Outcome::Refused(Refusal::TooManyConversations)).collect();
    assert_eq!(refused, [false, false, true]);
}

async fn a_sender_without_an_account_is_told_so_alone(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let chat = ConversationId::direct(&alice, &id("ghost"));
    assert_eq!(refusal(&store, text(&chat, &id("ghost"), "hi")).await, Some(Refusal::NotFound));
}

contract!(
    what_is_not_there_is_not_found,
    a_dissolved_group_says_so_to_anyone,
    strangers_and_former_members_are_no_members,
    a_mute_holds_until_its_time_and_comes_before_the_mute_of_all,
    the_mute_of_all_does_not_bind_owner_and_admins,
    a_block_comes_before_friendship_and_binds_the_blocked_only,
    a_reply_must_name_what_the_sender_may_see,
    a_reply_comes_before_the_number_of_conversations,
    conversations_made_by_the_batch_count,
    a_sender_without_an_account_is_told_so_alone,
);
