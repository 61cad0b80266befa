//! Connections of PostgreSQL that break: nothing is lost, nothing is stored twice, and nobody is told what is not known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use im_protocol::ServerId;
use im_server::store::postgres::{PostgresConfig, PostgresStore};
use im_server::store::{Holder, Messages, OutboxId, Outcome, Renewal, Report, Slice, StoreError};
use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fresh::Database;
use super::postgres_commit::eventually;
use super::world::{Db, NOW, committed, group, page, people, seqs, text};

/// Ends every connection that commits a batch right now.
const END_COMMITS: &str = "select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and state = 'active' and query like '%im_commit_v1%'";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn messages_are_stored_once_while_connections_are_killed() {
    const KILLS: u64 = 12;
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let kills = Arc::new(AtomicU64::new(0));
    let mut killer = database.beside().await;
    let killing = tokio::spawn({
        let kills = kills.clone();
        async move {
            while kills.load(Ordering::Relaxed) < KILLS {
                let ended = sqlx::query(END_COMMITS).execute(&mut killer).await.unwrap().rows_affected();
                kills.fetch_add(ended, Ordering::Relaxed);
                // The next try is let through: a batch that is killed for five seconds is given up.
                tokio::time::sleep(Duration::from_millis(if ended > 0 { 250 } else { 1 })).await;
            }
        }
    });
    let mut expected = 2;
    while kills.load(Ordering::Relaxed) < KILLS {
        let batch = (0..5).map(|_| text(&tea, &alice, "hi")).collect();
        let (outbox, outcomes) = store.commit(batch, NOW).await.unwrap();
        assert!(outbox.is_some());
        for outcome in outcomes {
            assert_eq!(committed(&outcome).message.seq, expected);
            expected += 1;
        }
    }
    killing.await.unwrap();
    let stored = page(&store, &alice, &tea, Slice::Newest, 1_000_000).await.messages;
    assert!(stored.iter().map(|message| message.seq).eq(1..expected), "{} of {expected} are stored", stored.len());
    drop(store);
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_batch_whose_connection_is_killed_while_it_waits_is_committed_by_the_next() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let mut beside = database.beside().await;
    let mut holding = beside.begin().await.unwrap();
    sqlx::query("select from conversations where id = $1 for update")
        .bind(tea.as_str())
        .execute(&mut *holding)
        .await
        .unwrap();
    let commit = tokio::spawn({
        let (store, message) = (store.clone(), text(&tea, &alice, "hi"));
        async move { store.commit(vec![message], NOW).await.unwrap() }
    });
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and query like '%im_commit_v1%'";
    let mut watching = database.beside().await;
    eventually(&mut watching, waits, |row| row.get::<i64, _>(0) == 1).await;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'",
    )
    .execute(&mut watching)
    .await
    .unwrap();
    eventually(&mut watching, waits, |row| row.get::<i64, _>(0) == 1).await;
    holding.commit().await.unwrap();
    let (_, outcomes) = commit.await.unwrap();
    assert_eq!(committed(&outcomes[0]).message.seq, 2);
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2]);
    drop(store);
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_lease_is_renewed_while_every_connection_is_taken() {
    let database = Database::new().await;
    let patience = Duration::from_millis(200);
    let config = PostgresConfig { max_connections: 1, acquire_timeout: patience, ..database.config() };
    let store: Db = Arc::new(PostgresStore::open(&config).await.unwrap());
    let [alice] = people(&store, ["alice"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let (server, ttl_ms) = (ServerId(1), 10_000);
    let holder = Holder { server, epoch: store.take_epoch(server, "", ttl_ms).await.unwrap() };
    let mut beside = database.beside().await;
    let mut holding = beside.begin().await.unwrap();
    sqlx::query("select from conversations where id = $1 for update")
        .bind(tea.as_str())
        .execute(&mut *holding)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let (store, message) = (store.clone(), text(&tea, &alice, "hi"));
        async move { store.commit(vec![message], NOW).await }
    });
    let busy = async || matches!(store.last_seen(&[]).await, Err(StoreError::Unavailable(_)));
    tokio::time::timeout(Duration::from_secs(10), async { while !busy().await {} }).await.unwrap();
    let renewed = store.renew(holder, Report { serving: true, announced: None }, ttl_ms).await.unwrap();
    assert!(matches!(renewed, Renewal::Held(_)), "{renewed:?}");
    holding.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
    drop(store);
    database.end().await;
}

/// Passes bytes on, but swallows the answer to what names a word, and hangs up: once.
struct Proxy {
    url: String,
    word: Word,
    task: tokio::task::JoinHandle<()>,
}

/// What to look for; `None` once it was seen.
type Word = Arc<Mutex<Option<&'static str>>>;

impl Proxy {
    async fn before(database: &Database) -> Self {
        let options: PgConnectOptions = database.url().parse().unwrap();
        let server = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = options.host("127.0.0.1").port(listener.local_addr().unwrap().port());
        let url = sqlx::ConnectOptions::to_url_lossy(&options).into();
        let word = Word::default();
        let task = tokio::spawn({
            let word = word.clone();
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let server = TcpStream::connect(&server).await.unwrap();
                    connections.spawn(pass(client, server, word.clone()));
                }
            }
        });
        Self { url, word, task }
    }
}

async fn pass(client: TcpStream, server: TcpStream, word: Word) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let swallow = AtomicBool::new(false);
    let asks = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let n = from_client.read(&mut bytes).await?;
            let seen = |word: &&'static str| bytes[..n].windows(word.len()).any(|part| part == word.as_bytes());
            if word.lock().take_if(|word| seen(word)).is_some() {
                swallow.store(true, Ordering::Release);
            }
            if n == 0 {
                return Ok::<_, std::io::Error>(());
            }
            to_server.write_all(&bytes[..n]).await?;
        }
    };
    let answers = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let n = from_server.read(&mut bytes).await?;
            if n == 0 || swallow.load(Ordering::Acquire) {
                return Ok::<_, std::io::Error>(());
            }
            to_client.write_all(&bytes[..n]).await?;
        }
    };
    // Whoever ends first ends both.
    tokio::select! { _ = asks => {}, _ = answers => {} }
}

/// A store through a proxy, with one connection on which the commit was used before.
async fn through(proxy: &Proxy) -> PostgresStore {
    let config = PostgresConfig { max_connections: 1, ..PostgresConfig::new(&proxy.url) };
    PostgresStore::open(&config).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_commit_whose_answer_is_lost_is_answered_as_what_it_was() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database).await;
    let postgres = through(&proxy).await;
    let store: Db = Arc::new(postgres.clone());
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let old = text(&tea, &alice, "known before");
    let (before, _) = store.commit(vec![old.clone()], NOW).await.unwrap();
    let twice = text(&tea, &alice, "twice");
    let batch = vec![
        text(&tea, &alice, "1"),
        text(&tea, &bob, "no member"),
        twice.clone(),
        old,
        twice,
        text(&im_protocol::ConversationId::direct(&alice, &bob), &alice, "2"),
    ];
    // It stands among the arguments, so that what is swallowed is the answer to the call itself.
    *proxy.word.lock() = Some("no member");
    let (outbox, outcomes) = store.commit(batch, NOW + 7).await.unwrap();
    assert_eq!(*proxy.word.lock(), None, "an answer was lost");
    assert_eq!([0, 2, 5].map(|n| committed(&outcomes[n]).message.seq), [3, 4, 1]);
    assert_eq!(committed(&outcomes[0]).message.time, NOW + 7);
    assert_eq!(outcomes[1], Outcome::Refused(im_server::store::Refusal::NotAMember));
    assert_eq!(outcomes[3], Outcome::Duplicate { seq: 2, time: NOW });
    assert_eq!(outcomes[4], Outcome::Duplicate { seq: 4, time: NOW + 7 });
    let nobody = im_server::store::Holder { server: im_protocol::ServerId(0), epoch: im_protocol::Epoch(0) };
    let rows = store.waiting(nobody, before.unwrap_or(OutboxId(0)), NOW + 8, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| Some(row.id)).collect::<Vec<_>>(), [outbox], "one row for the batch");
    assert_eq!(rows[0].items.len(), 3);
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2, 3, 4]);
    drop((store, postgres));
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_batch_that_cannot_be_committed_is_given_up_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::before(&database).await;
    let store = through(&proxy).await;
    let db: Db = Arc::new(store.clone());
    let [alice] = people(&db, ["alice"]).await;
    let tea = group(&db, "tea", &alice, &[]).await;
    proxy.task.abort();
    let started = Instant::now();
    let error = store.commit(vec![text(&tea, &alice, "hi")], NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!((2..9).contains(&started.elapsed().as_secs()), "given up after {:?}", started.elapsed());
    drop((store, db));
    database.end().await;
}
