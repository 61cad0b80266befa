//! What only the commit of PostgreSQL promises: several committers at once, one bad message alone, updates that stay on
//! their page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::ConversationId;
use im_server::store::{Messages, Outcome};
use sqlx::Row;

use super::fresh::Database;
use super::world::{Db, NOW, client_id, committed, group, people, say, seqs, text};
use crate::wait::done_within;

/// The first row of a statement once `ready` says so of it.
pub(super) async fn eventually(
    connection: &mut sqlx::postgres::PgConnection,
    statement: &'static str,
    ready: impl Fn(&sqlx::postgres::PgRow) -> bool,
) -> sqlx::postgres::PgRow {
    let look = async || {
        let row = sqlx::query(statement).fetch_one(&mut *connection).await.unwrap();
        if ready(&row) { Ok(row) } else { Err(statement) }
    };
    done_within(Duration::from_secs(20), look).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn servers_that_commit_to_the_same_conversations_leave_no_hole_and_no_duplicate() {
    let database = Database::new().await;
    let first: Db = Arc::new(database.open().await);
    let [alice, bob] = people(&first, ["alice", "bob"]).await;
    let conversations = [
        group(&first, "tea", &alice, &[&bob]).await,
        group(&first, "coffee", &alice, &[&bob]).await,
        ConversationId::direct(&alice, &bob),
        ConversationId::direct(&alice, &alice),
    ];
    let mut servers = Vec::new();
    for _ in 0..3 {
        let store = database.open().await;
        for _ in 0..2 {
            let (store, conversations, alice) = (store.clone(), conversations.clone(), alice.clone());
            servers.push(tokio::spawn(async move {
                for n in 0..30 {
                    let batch = (0..8).map(|m| text(&conversations[(n * 3 + m) % 4], &alice, "hi")).collect();
                    let (_, outcomes) = store.commit(batch, NOW).await.unwrap();
                    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed(_))), "{outcomes:?}");
                }
            }));
        }
    }
    for server in servers {
        server.await.unwrap();
    }
    for (conversation, before) in conversations.iter().zip([1, 1, 0, 0]) {
        let seen = seqs(&first, &alice, conversation).await;
        assert_eq!(seen, (1..=6 * 30 * 2 + before).collect::<Vec<_>>(), "{conversation}");
    }
    drop(first);
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn one_id_sent_to_several_servers_at_once_is_stored_once() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let others = [database.open().await, database.open().await, database.open().await];
    for n in 0..20 {
        // A new conversation, in which nobody can wait for a row yet, and one that is there.
        let chat = ConversationId::direct(&alice, &bob);
        let mut message = text(&chat, &alice, "once");
        message.client_message_id = client_id(&format!("c{n}"));
        let sends = others.iter().map(|store| store.commit(vec![message.clone()], NOW));
        let outcomes: Vec<Outcome> =
            futures_util::future::join_all(sends).await.into_iter().map(|told| told.unwrap().1.remove(0)).collect();
        let fresh = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count();
        let known = outcomes.iter().filter(|o| **o == Outcome::Duplicate { seq: n + 1, time: NOW }).count();
        assert_eq!((fresh, known), (1, 2), "{outcomes:?}");
    }
    drop((store, others));
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_message_that_the_database_cannot_take_fails_alone() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mut beside = database.beside().await;
    sqlx::raw_sql("alter table messages add check (content not like '%poison%')").execute(&mut beside).await.unwrap();
    let batch = ["1", "poison", "2"].map(|what| text(&tea, &alice, what)).to_vec();
    let (outbox, outcomes) = store.commit(batch, NOW).await.unwrap();
    assert!(outbox.is_some());
    assert_eq!(outcomes[1], Outcome::Unstorable);
    assert_eq!([&outcomes[0], &outcomes[2]].map(|outcome| committed(outcome).message.seq), [2, 3]);
    let (outbox, outcomes) = store.commit(vec![text(&tea, &alice, "poison")], NOW).await.unwrap();
    assert_eq!((outbox, outcomes), (None, vec![Outcome::Unstorable]));
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2, 3]);
    drop(store);
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn sends_update_conversations_in_place() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let mut groups = Vec::new();
    for n in 0..40 {
        groups.push(group(&store, &format!("g{n}"), &alice, &[&bob]).await);
    }
    // Old versions can go only when nobody on the server, other tests included, has a snapshot from before.
    let mut beside = database.beside().await;
    let mut before = (0, 0);
    let in_place = async {
        loop {
            for n in 0..200 {
                let batch = (0..10).map(|m| text(&groups[(n * 7 + m) % 40], &alice, "hi")).collect();
                store.commit(batch, NOW).await.unwrap();
            }
            let row = eventually(
                &mut beside,
                "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'conversations'",
                |row| row.get::<i64, _>(0) >= before.0 + 2000,
            )
            .await;
            let (updates, hot): (i64, i64) = (row.get(0), row.get(1));
            println!("{} of {} updates were HOT", hot - before.1, updates - before.0);
            if (hot - before.1) * 100 > (updates - before.0) * 95 {
                break;
            }
            before = (updates, hot);
        }
    };
    tokio::time::timeout(Duration::from_mins(1), in_place).await.expect("more than 95 % of the updates are HOT");
    drop(store);
    let indexed: i64 = sqlx::query_scalar(
        "select count(*) from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
         where i.indrelid = 'conversations'::regclass and a.attname in ('head', 'badge_count', 'last_time', 'stamp')",
    )
    .fetch_one(&mut beside)
    .await
    .unwrap();
    assert_eq!(indexed, 0, "a send updates an indexed column");
    database.end().await;
}

/// The messages that a few committers store per second in fifty conversations:
/// `cargo test --release -p im-server --test it -- --ignored --nocapture messages_per_second_in_postgresql`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a release build and PostgreSQL"]
async fn messages_per_second_in_postgresql() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let mut groups = Vec::new();
    for n in 0..200 {
        groups.push(group(&store, &format!("g{n}"), &alice, &[&bob]).await);
    }
    let what = "x".repeat(128);
    for (committers, size) in [(1, 1), (2, 20), (4, 20), (2, 50), (2, 100), (2, 200)] {
        let start = Instant::now();
        let batches = futures_util::future::join_all((0..committers).map(|committer| {
            let (store, groups, alice, what) = (store.clone(), groups.clone(), alice.clone(), what.clone());
            let run = async move {
                let mut batches = 0;
                while start.elapsed().as_secs() < 3 {
                    let of = |n: usize| ((batches * size + n) * committers + committer) % 200;
                    let batch = (0..size).map(|n| text(&groups[of(n)], &alice, &what)).collect();
                    let (outbox, _) = store.commit(batch, NOW).await.unwrap();
                    if batches % 20 == 0 {
                        store.forget(&Vec::from_iter(outbox), &[]).await.unwrap();
                    }
                    batches += 1;
                }
                batches
            };
            tokio::spawn(run)
        }))
        .await;
        let batches: usize = batches.into_iter().map(Result::unwrap).sum();
        #[allow(clippy::cast_precision_loss)] // figures for people
        let (rate, each) = (
            (batches * size) as f64 / start.elapsed().as_secs_f64(),
            start.elapsed().as_secs_f64() * 1000.0 * committers as f64 / batches as f64,
        );
        println!("{committers} committers, batches of {size}: {rate:.0} messages/s, {each:.2} ms per batch");
    }
    assert!(say(&store, &groups[0], &alice, "done").await > 1);
    drop(store);
    database.end().await;
}
