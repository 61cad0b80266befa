//! The outbox.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Epoch, ServerId};
use im_server::store::{GroupEffects, Holder, OutboxId, OutboxItem, OutboxRow};

use super::world::{Db, NOW, add, change, commit_one, dissolve, group, make_group, people, recall, remove, say, text};

/// Whose rows are that are written before anyone holds a server id.
const NOBODY: Holder = Holder { server: ServerId(0), epoch: Epoch(0) };

async fn all(store: &Db) -> Vec<OutboxRow> {
    store.waiting(NOBODY, OutboxId(0), NOW + 1, 100).await.unwrap()
}

async fn a_batch_leaves_one_row_that_names_every_message(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let chat = ConversationId::direct(&alice, &bob);
    let before = all(&store).await.len();
    let batch = vec![text(&tea, &alice, "1"), text(&tea, &bob, "no"), text(&chat, &bob, "2"), text(&tea, &alice, "3")];
    let (outbox, _) = store.commit(batch, NOW).await.unwrap();
    let rows = all(&store).await;
    assert_eq!(rows.len(), before + 1);
    let row = rows.last().unwrap();
    assert_eq!((Some(row.id), row.time), (outbox, NOW));
    let expected =
        [OutboxItem::Message(tea.clone(), 2), OutboxItem::Message(chat, 1), OutboxItem::Message(tea.clone(), 3)];
    assert_eq!(row.items, expected);
}

async fn what_commits_nothing_leaves_no_row(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let before = all(&store).await;
    commit_one(&store, text(&tea, &bob, "no")).await;
    let aliases = vec![(alice.clone(), "Al".to_owned())];
    let told = change(&store, &tea, &alice, GroupEffects { aliases, ..GroupEffects::default() }).await;
    assert_eq!(told.outbox, None);
    assert_eq!(all(&store).await, before);
}

async fn changes_of_groups_and_messages_are_named(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let made = make_group(&store, "tea", &alice, &[&bob]).await;
    let tea = ConversationId::parse("g:tea").unwrap();
    let added = add(&store, &tea, &alice, &carol).await;
    let removed = remove(&store, &tea, &alice, &bob, RemovedReason::Kicked).await;
    let seq = say(&store, &tea, &alice, "oops").await;
    let recalled = recall(&store, &tea, seq, &alice).await;
    let over = dissolve(&store, &tea, &alice).await;
    let rows = all(&store).await;
    let items = |outbox: Option<OutboxId>| rows.iter().find(|row| Some(row.id) == outbox).unwrap().items.clone();
    assert_eq!(items(made.outbox), [OutboxItem::Message(tea.clone(), 1)]);
    assert_eq!(items(added.outbox), [OutboxItem::Message(tea.clone(), 2)]);
    let gone = OutboxItem::Removed(tea.clone(), vec![bob], RemovedReason::Kicked);
    assert_eq!(items(removed.outbox), [OutboxItem::Message(tea.clone(), 3), gone]);
    assert_eq!(items(recalled.outbox), [OutboxItem::Changed(tea.clone(), seq)]);
    let everyone = OutboxItem::Removed(tea.clone(), vec![alice, carol], RemovedReason::Dissolved);
    assert_eq!(items(over.outbox), [OutboxItem::Message(tea, 5), everyone]);
}

async fn rows_stay_until_they_are_forgotten(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    for _ in 0..3 {
        say(&store, &tea, &alice, "hi").await;
    }
    let rows = all(&store).await;
    assert_eq!(rows, all(&store).await);
    store.forget(&[rows[1].id, rows[2].id], &[]).await.unwrap();
    store.forget(&[rows[1].id], &[]).await.unwrap();
    assert_eq!(all(&store).await, [rows[0].clone(), rows[3].clone()]);
}

async fn waiting_rows_come_oldest_first_after_one_and_before_a_time(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    for ms in 1..4 {
        store.commit(vec![text(&tea, &alice, "hi")], NOW + ms).await.unwrap();
    }
    let rows = store.waiting(NOBODY, OutboxId(0), NOW + 4, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.time - NOW).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(rows.is_sorted_by_key(|row| row.id));
    assert_eq!(store.waiting(NOBODY, rows[1].id, NOW + 4, 1).await.unwrap(), rows[2..3]);
    assert_eq!(store.waiting(NOBODY, OutboxId(0), NOW + 2, 100).await.unwrap(), rows[..2]);
}

async fn ids_are_never_used_again(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let last = all(&store).await.pop().unwrap().id;
    store.forget(&[last], &[]).await.unwrap();
    say(&store, &tea, &alice, "hi").await;
    assert!(all(&store).await[0].id > last);
}

async fn hold(store: &Db, server: u16, ttl_ms: i64) -> Holder {
    let server = ServerId(server);
    Holder { server, epoch: store.take_epoch(server, "", ttl_ms).await.unwrap() }
}

async fn rows_belong_to_whoever_wrote_them(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mut rows = Vec::new();
    for server in [1, 2] {
        let holder = hold(&store, server, 60_000).await;
        store.write_as(holder);
        let (outbox, _) = store.commit(vec![text(&tea, &alice, "hi")], NOW).await.unwrap();
        let waiting = store.waiting(holder, OutboxId(0), NOW + 1, 10).await.unwrap();
        assert_eq!(waiting.iter().map(|row| Some(row.id)).collect::<Vec<_>>(), [outbox]);
        rows.push(waiting);
    }
    assert_ne!(rows[0], rows[1]);
}

async fn only_rows_of_those_whose_lease_is_over_are_taken_over_and_once(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let made = all(&store).await.pop().unwrap();
    let mut written = Vec::new();
    for (server, ttl_ms) in [(1, 60_000), (2, 0), (3, 60_000)] {
        store.write_as(hold(&store, server, ttl_ms).await);
        let (outbox, _) = store.commit(vec![text(&tea, &alice, "hi")], NOW).await.unwrap();
        written.push(outbox.unwrap());
    }
    // The id is taken again: what the older epoch left is nobody's.
    hold(&store, 3, 60_000).await;
    let heir = hold(&store, 0, 60_000).await;
    let first = store.take_over(heir, 2).await.unwrap();
    assert_eq!(first.iter().map(|row| row.id).collect::<Vec<_>>(), [made.id, written[1]]);
    let second = store.take_over(heir, 2).await.unwrap();
    assert_eq!(second.iter().map(|row| row.id).collect::<Vec<_>>(), [written[2]]);
    assert_eq!(store.take_over(heir, 2).await.unwrap(), []);
    let waiting = store.waiting(heir, OutboxId(0), NOW + 1, 10).await.unwrap();
    assert_eq!(waiting, [first, second].concat(), "what was taken over is the heir's until it is forgotten");
}

contract!(
    rows_belong_to_whoever_wrote_them,
    only_rows_of_those_whose_lease_is_over_are_taken_over_and_once,
    a_batch_leaves_one_row_that_names_every_message,
    what_commits_nothing_leaves_no_row,
    changes_of_groups_and_messages_are_named,
    rows_stay_until_they_are_forgotten,
    waiting_rows_come_oldest_first_after_one_and_before_a_time,
    ids_are_never_used_again,
);
