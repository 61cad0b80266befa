//! Who sees what: stints, access, member lists, readers.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Seq, UserId};
use im_server::store::{Access, ReadPosition, Reader, Refusal, Row, RowState, Stint};

use super::world::{Db, add, dissolve, group, id, people, recall, refusal, remove, say, seqs, text};

fn stint(joined: Seq, left: Option<Seq>) -> Stint {
    Stint { joined, left }
}

async fn access(store: &Db, user: &UserId, conversation: &ConversationId) -> Access {
    store.access(user, conversation).await.unwrap().expect("a conversation")
}

async fn read(store: &Db, conversation: &ConversationId, user: &UserId, seq: Seq) {
    let position = ReadPosition { conversation: conversation.clone(), user: user.clone(), seq };
    store.save_reads(&[position]).await.unwrap();
}

async fn a_former_member_sees_nothing_after_leaving(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    say(&store, &tea, &alice, "for bob").await;
    remove(&store, &tea, &bob, &bob, RemovedReason::Left).await;
    say(&store, &tea, &alice, "about bob").await;
    recall(&store, &tea, 2, &alice).await;
    recall(&store, &tea, 4, &alice).await;
    assert_eq!(seqs(&store, &bob, &tea).await, [1, 2]);
    let access = access(&store, &bob, &tea).await;
    assert_eq!((access.stints.as_slice(), access.head, access.visible_head()), (&[stint(1, Some(3))][..], 4, 2));
    assert!(!access.is_member());
    let (changed, more) = store.changed(&tea, &access.stints, 10, 0, 10).await.unwrap();
    assert_eq!((changed.len(), changed[0].seq, more), (1, 2, false));
    let row = store.row(&bob, &tea, None).await.unwrap().unwrap();
    assert_eq!(row.state, RowState::Removed(RemovedReason::Left));
    assert!(store.list(&bob, None, None, 10, &[]).await.unwrap().rows.is_empty());
}

async fn a_return_is_a_new_stint_with_a_hole_between(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    say(&store, &tea, &alice, "about bob").await;
    add(&store, &tea, &alice, &bob).await;
    say(&store, &tea, &alice, "welcome back").await;
    assert_eq!(seqs(&store, &bob, &tea).await, [1, 4, 5]);
    let access = access(&store, &bob, &tea).await;
    assert_eq!(access.stints, [stint(1, Some(2)), stint(4, None)]);
    assert!(access.is_member());
    assert_eq!((access.members, access.visible_head()), (2, 5));
    let row: Row = store.row(&bob, &tea, None).await.unwrap().unwrap();
    assert!(matches!(row.state, RowState::Present { head: 5, unread: 1, .. }), "{row:?}");
    assert_eq!(refusal(&store, text(&tea, &bob, "hi")).await, None);
}

async fn a_returning_member_has_no_role_alias_or_mute_from_before(store: Db) {
    use im_server::store::{GroupEffects, Role};
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let effects = GroupEffects {
        roles: vec![(bob.clone(), Role::Admin)],
        aliases: vec![(bob.clone(), "B".to_owned())],
        mutes: vec![(bob.clone(), i64::MAX)],
        ..GroupEffects::default()
    };
    super::world::change(&store, &tea, &alice, effects).await;
    remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    assert_eq!(refusal(&store, text(&tea, &bob, "hi")).await, Some(Refusal::NotAMember));
    add(&store, &tea, &alice, &bob).await;
    let member = store.member(&tea.as_group().unwrap(), &bob).await.unwrap().unwrap();
    assert_eq!((member.role, member.alias.as_str(), member.muted_until), (Role::Member, "", 0));
}

async fn a_stranger_has_no_stints_and_what_is_not_there_no_access(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    assert_eq!(access(&store, &bob, &tea).await.stints, []);
    for nowhere in ["g:nowhere", "r:nowhere", "d:alice:nobody", "d:ALICE:bob"] {
        let nowhere = ConversationId::parse(nowhere).unwrap();
        assert_eq!(store.access(&alice, &nowhere).await.unwrap(), None);
        assert_eq!(store.member_list(&nowhere, 0).await.unwrap(), None);
    }
}

async fn a_direct_conversation_is_there_before_its_first_message(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let before = access(&store, &bob, &chat).await;
    assert_eq!((before.head, before.rev, before.incarnation, before.members), (0, 0, 1, 2));
    assert_eq!(before.stints, [Stint::ALWAYS]);
    assert_eq!(access(&store, &carol, &chat).await.stints, []);
    let list = store.member_list(&chat, 0).await.unwrap().unwrap();
    assert_eq!(list.members, [(alice.clone(), Stint::ALWAYS), (bob.clone(), Stint::ALWAYS)]);
    say(&store, &chat, &alice, "hi").await;
    assert_eq!(access(&store, &bob, &chat).await, Access { head: 1, ..before });
    assert_eq!(access(&store, &carol, &chat).await.stints, []);
    assert_eq!(store.member_list(&chat, 0).await.unwrap(), Some(list));
    let own = ConversationId::direct(&carol, &carol);
    assert_eq!(access(&store, &carol, &own).await.members, 1);
    assert_eq!(store.member_list(&own, 0).await.unwrap().unwrap().members, [(carol, Stint::ALWAYS)]);
}

async fn a_member_list_has_those_who_are_there_and_those_who_left_after_the_seq(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    add(&store, &tea, &alice, &bob).await;
    let list = async |seq| {
        let mut members = store.member_list(&tea, seq).await.unwrap().unwrap().members;
        members.sort_by_key(|(user, stint)| (user.clone(), stint.joined));
        members
    };
    let now = [(alice.clone(), stint(1, None)), (bob.clone(), stint(3, None))];
    assert_eq!(list(2).await, now);
    assert_eq!(list(1).await, [(alice, stint(1, None)), (bob.clone(), stint(1, Some(2))), (bob, stint(3, None))]);
}

async fn the_version_of_a_member_list_rises_with_every_change(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let version = async || store.member_list(&tea, 0).await.unwrap().unwrap().version;
    let mut versions = vec![version().await];
    add(&store, &tea, &alice, &bob).await;
    versions.push(version().await);
    remove(&store, &tea, &alice, &bob, RemovedReason::Left).await;
    versions.push(version().await);
    dissolve(&store, &tea, &alice).await;
    versions.push(version().await);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

async fn deleting_for_me_hides_what_was_there(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    say(&store, &tea, &alice, "old").await;
    assert!(store.delete_for(&bob, &tea).await.unwrap());
    assert_eq!(seqs(&store, &bob, &tea).await, Vec::<Seq>::new());
    assert!(access(&store, &bob, &tea).await.is_member());
    say(&store, &tea, &alice, "new").await;
    assert_eq!(seqs(&store, &bob, &tea).await, [3]);
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2, 3]);
    assert!(store.delete_for(&bob, &tea).await.unwrap());
    remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    assert_eq!(access(&store, &bob, &tea).await.stints, []);
}

async fn a_return_brings_a_deleted_conversation_back(store: Db) {
    use im_server::store::GroupEffects;
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    store.delete_for(&bob, &tea).await.unwrap();
    let leave = GroupEffects { remove: vec![(bob.clone(), RemovedReason::Left)], ..GroupEffects::default() };
    let join = GroupEffects { add: vec![bob.clone()], ..GroupEffects::default() };
    for effects in [leave, join] {
        super::world::change(&store, &tea, &alice, effects).await;
    }
    let row = store.row(&bob, &tea, None).await.unwrap().unwrap();
    assert!(matches!(row.state, RowState::Present { head: 1, last: None, .. }), "{row:?}");
}

async fn a_deleted_conversation_is_one_less_until_something_new_in_it_is_read(store: Db) {
    use im_server::store::GroupEffects;
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let count = async || {
        let none = GroupEffects::default();
        let (facts, _) = super::world::change_with_facts(&store, &tea, &alice, &[&bob], none).await;
        facts.subjects[0].conversations
    };
    say(&store, &chat, &alice, "hi").await;
    assert_eq!(count().await, 1);
    store.delete_for(&bob, &chat).await.unwrap();
    read(&store, &chat, &bob, 1).await;
    assert_eq!(count().await, 0);
    say(&store, &chat, &alice, "new").await;
    read(&store, &chat, &bob, 2).await;
    assert_eq!(count().await, 1);
}

async fn reads_never_go_back_nor_beyond_the_head(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    for _ in 0..4 {
        say(&store, &tea, &alice, "hi").await;
    }
    let position = async |user| store.position(&tea, user).await.unwrap();
    assert_eq!(position(&bob).await, Some(Reader { user: bob.clone(), read: 0, delivered: 0 }));
    read(&store, &tea, &bob, 3).await;
    read(&store, &tea, &bob, 2).await;
    assert_eq!(position(&bob).await.unwrap().read, 3);
    let at = |seq| ReadPosition { conversation: tea.clone(), user: bob.clone(), seq };
    store.save_reads(&[at(4), at(2)]).await.unwrap();
    assert_eq!(position(&bob).await.unwrap().read, 4);
    store.save_reads(&[at(99)]).await.unwrap();
    assert_eq!(position(&bob).await.unwrap().read, 5);
    assert_eq!(position(&id("nobody")).await, None);
    // Rooms have no positions, strangers have none.
    let nowhere = ReadPosition { conversation: ConversationId::parse("r:nowhere").unwrap(), user: bob, seq: 1 };
    store.save_reads(&[nowhere]).await.unwrap();
    read(&store, &tea, &id("nobody"), 1).await;
}

async fn delivered_is_kept_for_direct_conversations(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let chat = ConversationId::direct(&alice, &bob);
    for _ in 0..3 {
        say(&store, &chat, &alice, "hi").await;
    }
    let at = |conversation: &ConversationId, seq| ReadPosition {
        conversation: conversation.clone(),
        user: bob.clone(),
        seq,
    };
    store.save_delivered(&[at(&chat, 2), at(&tea, 1)]).await.unwrap();
    store.save_delivered(&[at(&chat, 1)]).await.unwrap();
    assert_eq!(store.position(&chat, &bob).await.unwrap().unwrap().delivered, 2);
    assert_eq!(store.position(&tea, &bob).await.unwrap().unwrap().delivered, 0);
    store.save_delivered(&[]).await.unwrap();
}

async fn readers_are_members_who_read_up_to_the_seq(store: Db) {
    let [alice, bob, carol, dave] = people(&store, ["alice", "bob", "carol", "dave"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol, &dave]).await;
    say(&store, &tea, &alice, "hi").await;
    for (user, seq) in [(&alice, 2), (&bob, 2), (&carol, 1), (&dave, 2)] {
        read(&store, &tea, user, seq).await;
    }
    let readers = async |seq, after, limit| {
        let readers = store.readers(&tea, seq, &alice, after, limit).await.unwrap();
        readers.into_iter().map(|reader| (reader.user, reader.read)).collect::<Vec<_>>()
    };
    assert_eq!(readers(2, None, 10).await, [(bob.clone(), 2), (dave.clone(), 2)]);
    assert_eq!(readers(1, None, 2).await, [(bob.clone(), 2), (carol.clone(), 1)]);
    assert_eq!(readers(1, Some(&carol), 2).await, [(dave.clone(), 2)]);
    assert_eq!(store.count_readers(&tea, 2, &alice).await.unwrap(), 2);
    assert_eq!(store.count_readers(&tea, 2, &bob).await.unwrap(), 2);
    remove(&store, &tea, &alice, &dave, RemovedReason::Left).await;
    assert_eq!(readers(2, None, 10).await, [(bob, 2)]);
    assert_eq!(store.count_readers(&tea, 2, &alice).await.unwrap(), 1);
}

contract!(
    a_former_member_sees_nothing_after_leaving,
    a_return_is_a_new_stint_with_a_hole_between,
    a_returning_member_has_no_role_alias_or_mute_from_before,
    a_stranger_has_no_stints_and_what_is_not_there_no_access,
    a_direct_conversation_is_there_before_its_first_message,
    a_member_list_has_those_who_are_there_and_those_who_left_after_the_seq,
    the_version_of_a_member_list_rises_with_every_change,
    deleting_for_me_hides_what_was_there,
    a_return_brings_a_deleted_conversation_back,
    a_deleted_conversation_is_one_less_until_something_new_in_it_is_read,
    reads_never_go_back_nor_beyond_the_head,
    delivered_is_kept_for_direct_conversations,
    readers_are_members_who_read_up_to_the_seq,
);
