//! Stamps of PostgreSQL: who reads beside writers misses nothing, also after the database was set back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use im_protocol::{ConversationId, UserId};
use im_server::store::{RowState, Stamp};
use sqlx::Connection;

use super::fresh::Database;
use super::world::{Db, group, people, say};

/// The heads of what was touched since a stamp, and the stamp to go on from.
async fn look(store: &Db, user: &UserId, since: Stamp) -> (BTreeMap<ConversationId, u64>, Stamp) {
    let rows = store.list(user, Some(since), None, 1000, &[]).await.unwrap();
    let heads = rows.rows.into_iter().map(|row| {
        let RowState::Present { head, .. } = row.state else { panic!("nobody leaves") };
        (row.conversation, head)
    });
    (heads.collect(), rows.stamp)
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_commit_that_takes_long_is_seen_by_who_looked_meanwhile() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice] = people(&store, ["alice"]).await;
    let (slow, quick) = (group(&store, "slow", &alice, &[]).await, group(&store, "quick", &alice, &[]).await);
    let before = store.stamp().await.unwrap();
    // Has its stamp, and is not committed.
    let mut beside = database.beside().await;
    let mut tx = beside.begin().await.unwrap();
    sqlx::query("update conversations set head = 2, stamp = im_stamp_v1() where id = $1")
        .bind(slow.as_str())
        .execute(&mut *tx)
        .await
        .unwrap();
    say(&store, &quick, &alice, "hi").await;
    let (seen, token) = look(&store, &alice, before).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&quick]);
    tx.commit().await.unwrap();
    let (seen, token) = look(&store, &alice, token).await;
    assert_eq!(seen.get(&slow), Some(&2));
    let (seen, _) = look(&store, &alice, token).await;
    assert!(seen.is_empty(), "nobody writes any more, so nothing is told twice: {seen:?}");
    drop(store);
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_reader_beside_many_writers_misses_nothing() {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice] = people(&store, ["alice"]).await;
    let mut groups = Vec::new();
    for n in 0..WRITERS * EACH {
        groups.push(group(&store, &format!("g{n}"), &alice, &[]).await);
    }
    let before = store.stamp().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, alice, done) = (store.clone(), alice.clone(), done.clone());
        async move {
            let (mut view, mut token, mut looks) = (BTreeMap::new(), before, 0);
            loop {
                let last = done.load(Ordering::Acquire);
                let (seen, next) = look(&store, &alice, token).await;
                assert!(next >= token, "a token went back");
                view.extend(seen);
                token = next;
                looks += 1;
                if last {
                    return (view, looks);
                }
            }
        }
    });
    // Each conversation is touched once: whoever misses that sees it never.
    let mut writers = Vec::new();
    for chunk in groups.chunks(EACH) {
        let (store, alice, chunk): (Db, _, _) = (Arc::new(database.open().await), alice.clone(), chunk.to_vec());
        writers.push(tokio::spawn(async move {
            for conversation in chunk {
                say(&store, &conversation, &alice, "hi").await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Release);
    let (view, looks) = reader.await.unwrap();
    let missed: Vec<_> = groups.iter().filter(|conversation| view.get(*conversation) != Some(&2)).collect();
    assert!(missed.is_empty(), "{missed:?} of {} after {looks} looks", groups.len());
    assert!(looks > 5, "only {looks} looks");
    drop(store);
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn stamps_of_a_database_that_was_set_back_go_on_above_all_there_were() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let token = store.stamp().await.unwrap();
    drop(store);
    // As a restored backup has it.
    let mut beside = database.beside().await;
    sqlx::query("select setval('stamps', $1)").bind(token.0 - 60_000_000).execute(&mut beside).await.unwrap();
    let store: Db = Arc::new(database.open().await);
    say(&store, &tea, &alice, "after it was restored").await;
    let (seen, next) = look(&store, &alice, token).await;
    assert_eq!(seen.get(&tea), Some(&2));
    assert!(next > token);
    drop(store);
    database.end().await;
}
