//! What only the `SQLite` store promises: its file, its connections, its speed. Its plans have a file of their own.

use std::path::Path;
use std::time::Instant;

use im_protocol::ConversationId;
use im_server::store::sqlite::{OpenError, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

use super::world::{Db, NOW, group, people, say, seqs, text};

fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("im.db")
}

async fn open(folder: &TempDir) -> (Db, SqliteStore) {
    let store = SqliteStore::open(&file(folder)).await.unwrap();
    (std::sync::Arc::new(store.clone()), store)
}

/// A connection of the test's own to the file.
async fn beside(path: &Path) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (store, sqlite) = open(&folder).await;
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    say(&store, &tea, &alice, "hi").await;
    let before = store.list(&bob, None, None, 10, &[]).await.unwrap();
    sqlite.close().await;
    let (store, _) = open(&folder).await;
    assert_eq!(store.list(&bob, None, None, 10, &[]).await.unwrap(), before);
    assert_eq!(say(&store, &tea, &bob, "still here").await, 3);
    assert!(store.stamp().await.unwrap() > before.stamp);
}

#[tokio::test]
async fn what_was_committed_is_there_without_a_clean_end() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _kept_open) = open(&folder).await;
    let [alice] = people(&store, ["alice"]).await;
    let own = ConversationId::direct(&alice, &alice);
    say(&store, &own, &alice, "hi").await;
    // The files as a power cut would leave them: whatever a commit did not bring to them is missing in the copy.
    let copy = tempfile::tempdir().unwrap();
    for name in ["im.db", "im.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let (store, _) = open(&copy).await;
    assert_eq!(seqs(&store, &alice, &own).await, [1]);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).await.1.close().await;
    let pool = beside(&file(&folder)).await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         values (9999, 'from the future', 0, true, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let error = SqliteStore::open(&file(&folder)).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer(9999)), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(file(&folder), "this is a text, and a long enough one to be looked at").unwrap();
    assert!(matches!(SqliteStore::open(&file(&folder)).await.unwrap_err(), OpenError::Store(_)));
    let nowhere = folder.path().join("no such folder").join("im.db");
    assert!(matches!(SqliteStore::open(&nowhere).await.unwrap_err(), OpenError::Store(_)));
}

#[tokio::test]
async fn every_connection_sees_the_same_database() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder).await;
    let [alice] = people(&store, ["alice"]).await;
    let own = ConversationId::direct(&alice, &alice);
    for _ in 0..20 {
        let seq = say(&store, &own, &alice, "hi").await;
        let reads = (0..8).map(|_| store.access(&alice, &own));
        for access in futures_util::future::join_all(reads).await {
            assert_eq!(access.unwrap().unwrap().head, seq);
        }
    }
}

#[tokio::test]
async fn concurrent_writers_take_turns_without_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder).await;
    let [alice] = people(&store, ["alice"]).await;
    let own = ConversationId::direct(&alice, &alice);
    let sends = (0..50).map(|_| say(&store, &own, &alice, "hi"));
    let mut told = futures_util::future::join_all(sends).await;
    told.sort_unstable();
    assert_eq!(told, (1..=50).collect::<Vec<_>>());
    assert_eq!(seqs(&store, &alice, &own).await, told);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_the_store_working() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder).await;
    let [alice] = people(&store, ["alice"]).await;
    let own = ConversationId::direct(&alice, &alice);
    for polls in 1..12 {
        // Polled a few times and dropped, somewhere in the middle of its transaction.
        let mut call = Box::pin(store.commit(vec![text(&own, &alice, "hi")], NOW));
        for _ in 0..polls {
            let _ = futures_util::poll!(&mut call);
            tokio::task::yield_now().await;
        }
        drop(call);
        say(&store, &own, &alice, "after").await;
    }
    let seen = seqs(&store, &alice, &own).await;
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
}

/// The messages a test loop commits per second, one batch after the other, fifty conversations, with the disk's own
/// time: `cargo test --release -p im-server --test it -- --ignored --nocapture messages_per_second`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a release build"]
async fn at_least_five_thousand_messages_per_second_are_committed() {
    for size in [20, 50, 100, 200] {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (store, _) = open(&folder).await;
        let [alice, bob] = people(&store, ["alice", "bob"]).await;
        let mut groups = Vec::new();
        for n in 0..50 {
            groups.push(group(&store, &format!("g{n}"), &alice, &[&bob]).await);
        }
        let what = "x".repeat(128);
        let (mut sent, mut batches) = (0_usize, 0_u32);
        let start = Instant::now();
        while start.elapsed().as_secs() < 4 {
            let batch = (0..size).map(|n| text(&groups[(sent + n) % 50], &alice, &what)).collect();
            let (outbox, _) = store.commit(batch, NOW).await.unwrap();
            if batches % 20 == 0 {
                store.forget(&Vec::from_iter(outbox), &[]).await.unwrap();
            }
            sent += size;
            batches += 1;
        }
        #[allow(clippy::cast_precision_loss)] // a rate for people
        let rate = sent as f64 / start.elapsed().as_secs_f64();
        println!("batches of {size}: {rate:.0} messages/s, {:?} per batch", start.elapsed() / batches);
        assert!(rate >= 5000.0, "batches of {size}: {rate:.0} messages/s");
    }
}
