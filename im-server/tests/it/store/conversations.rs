//! The list of conversations: order, pages, what changed since, tombstones, titles, switches.

use im_protocol::ConversationId;
use im_protocol::server::RemovedReason;
use im_server::store::{
    GroupEffects, GroupSettings, ListCursor, Preferences, ProfileChange, ReadPosition, Row, RowState, Stamp,
};

use super::world::{
    Db, NOW, add, befriend, change, dissolve, group, people, recall, remove, row, say, settings, text, title,
};

/// A user's list of what is present, and its stamp.
async fn list(store: &Db, user: &im_protocol::UserId) -> (Vec<Row>, Stamp) {
    let rows = store.list(user, None, None, 100, &[]).await.unwrap();
    (rows.rows, rows.stamp)
}

/// What changed for a user, by conversation.
async fn since(store: &Db, user: &im_protocol::UserId, stamp: Stamp) -> Vec<(String, Option<RemovedReason>)> {
    let rows = store.list(user, Some(stamp), None, 100, &[]).await.unwrap().rows;
    let mut changed: Vec<_> = rows
        .into_iter()
        .map(|row| {
            assert!(row.stamp > stamp);
            let removed = match row.state {
                RowState::Present { .. } => None,
                RowState::Removed(reason) => Some(reason),
            };
            (row.conversation.to_string(), removed)
        })
        .collect();
    changed.sort_by(|a, b| a.0.cmp(&b.0));
    changed
}

fn present(name: &str) -> (String, Option<RemovedReason>) {
    (name.to_owned(), None)
}

fn removed(name: &str, reason: RemovedReason) -> (String, Option<RemovedReason>) {
    (name.to_owned(), Some(reason))
}

async fn say_at(store: &Db, conversation: &ConversationId, user: &im_protocol::UserId, now: i64) {
    store.commit(vec![text(conversation, user, "hi")], now).await.unwrap();
}

async fn the_newest_conversation_comes_first_and_pages_go_on(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let mut groups = Vec::new();
    for name in ["g1", "g2", "g3", "g4"] {
        groups.push(group(&store, name, &alice, &[]).await);
    }
    say_at(&store, &groups[1], &alice, NOW + 5).await;
    say_at(&store, &groups[3], &alice, NOW + 2).await;
    let mut cursor = None;
    let mut seen = Vec::new();
    for more in [true, true, true, false] {
        let page = store.list(&alice, None, cursor.as_ref(), 1, &[]).await.unwrap();
        assert_eq!((page.rows.len(), page.more), (1, more));
        let row = page.rows.into_iter().next().unwrap();
        cursor = Some(ListCursor { updated: row.updated, conversation: row.conversation.clone() });
        seen.push((row.conversation.to_string(), row.updated - NOW));
    }
    let expected = [("g:g2", 5), ("g:g4", 2), ("g:g3", 0), ("g:g1", 0)].map(|(name, ms)| (name.to_owned(), ms));
    assert_eq!(seen, expected);
    assert!(store.list(&alice, None, cursor.as_ref(), 1, &[]).await.unwrap().rows.is_empty());
}

async fn a_row_shows_what_the_user_may_see(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let RowState::Present { last, head, .. } = row(&store, &bob, &tea).await.state else { panic!() };
    assert_eq!((last.unwrap().seq, head), (1, 1));
    say(&store, &tea, &alice, "hi").await;
    recall(&store, &tea, 2, &alice).await;
    let shown = row(&store, &bob, &tea).await;
    let newest = store.page(&tea, &[im_server::store::Stint::ALWAYS], im_server::store::Slice::Newest, 1, 9).await;
    let expected = RowState::Present {
        title: "tea".to_owned(),
        head: 2,
        rev: 1,
        incarnation: 1,
        read: 0,
        unread: 1,
        last: newest.unwrap().messages.pop(),
        mentioned: false,
        pinned: false,
        do_not_disturb: false,
        draft: None,
    };
    assert_eq!(shown.state, expected);
    assert_eq!(list(&store, &bob).await.0, [shown]);
    let [carol] = people(&store, ["carol"]).await;
    let join = GroupEffects { add: vec![carol.clone()], ..GroupEffects::default() };
    change(&store, &tea, &alice, join).await;
    let RowState::Present { last, head, unread, .. } = row(&store, &carol, &tea).await.state else { panic!() };
    assert_eq!((last, head, unread), (None, 2, 0), "nothing was said since carol came");
}

async fn titles_are_the_groups_name_or_the_others_remark_else_name(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let own = ConversationId::direct(&alice, &alice);
    say(&store, &chat, &alice, "hi").await;
    say(&store, &own, &alice, "hi").await;
    assert_eq!(title(&store, &alice, &tea).await, "tea");
    assert_eq!(title(&store, &alice, &own).await, "alice's name");
    assert_eq!(title(&store, &alice, &chat).await, "bob's name");
    befriend(&store, &alice, &bob).await;
    assert_eq!(title(&store, &alice, &chat).await, "bob's name");
    store.set_remark(&alice, &bob, "Bobby").await.unwrap();
    assert_eq!(title(&store, &alice, &chat).await, "Bobby");
    assert_eq!(title(&store, &bob, &chat).await, "alice's name");
}

async fn stamps_rise_with_every_commit(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mut stamps = vec![store.stamp().await.unwrap()];
    for _ in 0..20 {
        say(&store, &tea, &alice, "hi").await;
        stamps.push(store.stamp().await.unwrap());
        assert_eq!(row(&store, &alice, &tea).await.stamp, *stamps.last().unwrap());
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    assert_eq!(list(&store, &alice).await.1, *stamps.last().unwrap());
}

async fn since_a_stamp_comes_what_touched_the_user_and_nothing_else(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let coffee = group(&store, "coffee", &alice, &[&carol]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let mut last = store.stamp().await.unwrap();
    let mut expect = async |alices: &[(String, Option<RemovedReason>)], bobs: &[(String, Option<RemovedReason>)]| {
        assert_eq!(since(&store, &alice, last).await, alices);
        assert_eq!(since(&store, &bob, last).await, bobs);
        last = store.stamp().await.unwrap();
    };
    expect(&[], &[]).await;
    say(&store, &tea, &bob, "hi").await;
    expect(&[present("g:tea")], &[present("g:tea")]).await;
    say(&store, &coffee, &carol, "hi").await;
    expect(&[present("g:coffee")], &[]).await;
    say(&store, &chat, &bob, "hi").await;
    expect(&[present("d:alice:bob")], &[present("d:alice:bob")]).await;
    recall(&store, &tea, 2, &bob).await;
    expect(&[present("g:tea")], &[present("g:tea")]).await;
    let read = ReadPosition { conversation: tea.clone(), user: bob.clone(), seq: 1 };
    store.save_reads(std::slice::from_ref(&read)).await.unwrap();
    expect(&[], &[present("g:tea")]).await;
    store.save_reads(&[read]).await.unwrap();
    expect(&[], &[]).await;
    let set = Preferences { pinned: Some(true), ..Preferences::default() };
    store.set_preferences(&alice, &chat, set).await.unwrap();
    expect(&[present("d:alice:bob")], &[]).await;
    let settings = GroupSettings { name: "green tea".to_owned(), ..settings(&alice) };
    let rename = GroupEffects { settings: Some(settings), ..GroupEffects::default() };
    change(&store, &tea, &alice, rename).await;
    expect(&[present("g:tea")], &[present("g:tea")]).await;
    let alias = GroupEffects { aliases: vec![(alice.clone(), "Al".to_owned())], ..GroupEffects::default() };
    change(&store, &tea, &alice, alias).await;
    expect(&[present("g:tea")], &[present("g:tea")]).await;
    add(&store, &coffee, &alice, &bob).await;
    expect(&[present("g:coffee")], &[present("g:coffee")]).await;
    store.save_last_seen(&[(alice.clone(), NOW)]).await.unwrap();
    expect(&[], &[]).await;
}

async fn a_new_name_or_remark_touches_the_title(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    group(&store, "tea", &alice, &[&bob, &carol]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "hi").await;
    befriend(&store, &alice, &bob).await;
    let before = store.stamp().await.unwrap();
    let name = ProfileChange { name: Some("Robert".to_owned()), ..ProfileChange::default() };
    store.update_profile(&bob, name).await.unwrap();
    assert_eq!(since(&store, &alice, before).await, [present("d:alice:bob")]);
    assert_eq!(since(&store, &carol, before).await, []);
    let before = store.stamp().await.unwrap();
    store.set_remark(&alice, &bob, "Bobby").await.unwrap();
    assert_eq!(since(&store, &alice, before).await, [present("d:alice:bob")]);
    assert_eq!(since(&store, &bob, before).await, []);
    let before = store.stamp().await.unwrap();
    store.remove_friend(&bob, &alice).await.unwrap();
    assert_eq!(since(&store, &alice, before).await, [present("d:alice:bob")]);
}

async fn a_conversation_that_was_left_is_a_tombstone_and_stays_quiet(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    for (name, reason) in [("left", RemovedReason::Left), ("kicked", RemovedReason::Kicked)] {
        let conversation = group(&store, name, &alice, &[&bob]).await;
        let before = store.stamp().await.unwrap();
        remove(&store, &conversation, &alice, &bob, reason).await;
        let name = conversation.to_string();
        assert_eq!(since(&store, &bob, before).await, [removed(&name, reason)]);
        assert_eq!(since(&store, &alice, before).await, [present(&name)]);
        assert!(list(&store, &bob).await.0.is_empty());
        assert_eq!(row(&store, &bob, &conversation).await.state, RowState::Removed(reason));
        let after = store.stamp().await.unwrap();
        say(&store, &conversation, &alice, "about bob").await;
        assert_eq!(since(&store, &bob, after).await, []);
        assert_eq!(since(&store, &bob, before).await, [removed(&name, reason)]);
        add(&store, &conversation, &alice, &bob).await;
        assert_eq!(since(&store, &bob, before).await, [present(&name)]);
        assert_eq!(list(&store, &bob).await.0.len(), 1);
        remove(&store, &conversation, &alice, &bob, reason).await;
    }
}

async fn a_dissolved_group_is_a_tombstone_for_everyone(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol]).await;
    remove(&store, &tea, &alice, &carol, RemovedReason::Kicked).await;
    let before = store.stamp().await.unwrap();
    dissolve(&store, &tea, &alice).await;
    for user in [&alice, &bob] {
        assert_eq!(since(&store, user, before).await, [removed("g:tea", RemovedReason::Dissolved)]);
        assert!(list(&store, user).await.0.is_empty());
    }
    assert_eq!(since(&store, &carol, before).await, []);
    assert_eq!(row(&store, &carol, &tea).await.state, RowState::Removed(RemovedReason::Kicked));
}

async fn a_deleted_conversation_is_hidden_until_something_new_comes(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "old").await;
    let before = store.stamp().await.unwrap();
    assert!(store.delete_for(&bob, &chat).await.unwrap());
    assert_eq!(since(&store, &bob, before).await, [removed("d:alice:bob", RemovedReason::Deleted)]);
    assert_eq!(since(&store, &alice, before).await, []);
    assert!(list(&store, &bob).await.0.is_empty());
    assert_eq!(row(&store, &bob, &chat).await.state, RowState::Removed(RemovedReason::Deleted));
    assert!(!store.delete_for(&bob, &chat).await.unwrap());
    let hidden = store.stamp().await.unwrap();
    recall(&store, &chat, 1, &alice).await;
    assert_eq!(since(&store, &bob, hidden).await, []);
    say(&store, &chat, &alice, "new").await;
    assert_eq!(since(&store, &bob, hidden).await, [present("d:alice:bob")]);
    let (rows, _) = list(&store, &bob).await;
    let RowState::Present { unread, last, .. } = &rows[0].state else { panic!() };
    assert_eq!((*unread, last.as_ref().unwrap().seq), (1, 2));
    let position = ReadPosition { conversation: chat.clone(), user: bob.clone(), seq: 2 };
    store.save_reads(&[position]).await.unwrap();
    assert_eq!(list(&store, &bob).await.0.len(), 1);
    assert!(store.delete_for(&bob, &chat).await.unwrap());
    assert!(list(&store, &bob).await.0.is_empty());
}

async fn since_pages_like_the_list(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    for name in ["g1", "g2", "g3"] {
        group(&store, name, &alice, &[]).await;
    }
    let first = store.list(&alice, Some(Stamp(0)), None, 2, &[]).await.unwrap();
    assert!(first.more);
    let last = first.rows.last().unwrap();
    let cursor = ListCursor { updated: last.updated, conversation: last.conversation.clone() };
    let rest = store.list(&alice, Some(Stamp(0)), Some(&cursor), 2, &[]).await.unwrap();
    assert!(!rest.more);
    let names: Vec<_> = first.rows.iter().chain(&rest.rows).map(|row| row.conversation.to_string()).collect();
    assert_eq!(names, ["g:g3", "g:g2", "g:g1"]);
}

async fn switches_change_only_where_asked(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let shown = async |user| match row(&store, user, &tea).await.state {
        RowState::Present { pinned, do_not_disturb, draft, .. } => (pinned, do_not_disturb, draft),
        removed @ RowState::Removed(_) => panic!("{removed:?}"),
    };
    let set = async |pinned, do_not_disturb, draft: Option<&str>| {
        let set = Preferences { pinned, do_not_disturb, draft: draft.map(str::to_owned) };
        assert!(store.set_preferences(&bob, &tea, set).await.unwrap());
    };
    assert_eq!(shown(&bob).await, (false, false, None));
    set(Some(true), None, None).await;
    assert_eq!(shown(&bob).await, (true, false, None));
    set(None, Some(true), Some("well")).await;
    assert_eq!(shown(&bob).await, (true, true, Some("well".to_owned())));
    set(None, None, None).await;
    assert_eq!(shown(&bob).await, (true, true, Some("well".to_owned())));
    set(Some(false), Some(false), Some("")).await;
    assert_eq!(shown(&bob).await, (false, false, None));
    assert_eq!(shown(&alice).await, (false, false, None));
}

async fn who_does_not_have_a_conversation_cannot_set_or_delete_it(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let chat = ConversationId::direct(&alice, &carol);
    remove(&store, &tea, &alice, &bob, RemovedReason::Left).await;
    let nowhere = ConversationId::parse("g:nowhere").unwrap();
    for (user, conversation) in [(&bob, &tea), (&carol, &tea), (&carol, &chat), (&alice, &nowhere)] {
        let set = Preferences { pinned: Some(true), ..Preferences::default() };
        assert!(!store.set_preferences(user, conversation, set).await.unwrap());
        assert!(!store.delete_for(user, conversation).await.unwrap());
    }
    assert!(store.row(&carol, &tea, None).await.unwrap().is_none());
}

contract!(
    the_newest_conversation_comes_first_and_pages_go_on,
    a_row_shows_what_the_user_may_see,
    titles_are_the_groups_name_or_the_others_remark_else_name,
    stamps_rise_with_every_commit,
    since_a_stamp_comes_what_touched_the_user_and_nothing_else,
    a_new_name_or_remark_touches_the_title,
    a_conversation_that_was_left_is_a_tombstone_and_stays_quiet,
    a_dissolved_group_is_a_tombstone_for_everyone,
    a_deleted_conversation_is_hidden_until_something_new_comes,
    since_pages_like_the_list,
    switches_change_only_where_asked,
    who_does_not_have_a_conversation_cannot_set_or_delete_it,
);
