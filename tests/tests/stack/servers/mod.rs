//! Faults of servers under load: each ends with everything converged and the history checked.

mod crowd;
mod fork;
mod killed;
mod lease;
mod members;
mod reader;
mod steps;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use imcluster_tests::load::report;
use imcluster_tests::server::MANAGEMENT_TOKEN;
use imcluster_tests::stack::{Cluster, ImServer};
use serde_json::Value;
use sqlx::{PgConnection, Row};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Longest wait for a state that a test brings about itself.
const SOON: Duration = Duration::from_secs(15);

/// Between two looks at a state.
const LOOK: Duration = Duration::from_millis(10);

/// A cluster for one test at a time.
struct Lease {
    // Given back before the next one may take it.
    _turn: OwnedMutexGuard<()>,
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Cluster,
    turn: Arc<Mutex<()>>,
}

impl Deref for Lease {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.shared.cluster
    }
}

/// Three servers over links, all well: the tests that wait for one another share them, because a start takes longer than
/// most faults.
async fn cluster() -> Lease {
    /// Its links live in no test's runtime.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    static SHARED: Mutex<Weak<Shared>> = Mutex::const_new(Weak::new());
    let shared = {
        let mut last = SHARED.lock().await;
        if let Some(shared) = last.upgrade() {
            shared
        } else {
            let started = RUNTIME.spawn(Cluster::start_linked(3)).await;
            let shared = Arc::new(Shared { cluster: started.expect("a cluster"), turn: Arc::default() });
            *last = Arc::downgrade(&shared);
            shared
        }
    };
    let turn = shared.turn.clone().lock_owned().await;
    let lease = Lease { _turn: turn, shared };
    for server in lease.servers() {
        restore(&lease, server).await;
    }
    lease
}

/// Makes a server and its links well again, whatever a test has done to them.
async fn restore(cluster: &Cluster, server: &ImServer) {
    let links = cluster.links(server.id);
    for link in [&links.redis, &links.postgres, &links.kafka] {
        link.heal().await;
    }
    server.resume();
    server.start().await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// Looks again and again until it is so.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !look().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    assert!(tokio::time::timeout(SOON, looking).await.is_ok(), "not so within {SOON:?}: {what}");
}

/// A line for those who run the tests with `--nocapture`.
fn told(fault: &str, since: Instant) {
    report(&format!("{fault}: recovered after {:.1} s", since.elapsed().as_secs_f64()));
}

/// Where the history of a test is kept.
fn history(test: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.jsonl"))
}

/// What a server says of itself.
async fn status(server: &ImServer) -> Value {
    let request = imcluster_tests::http::client().get(format!("http://{}/status", server.management));
    let answer = request.bearer_auth(MANAGEMENT_TOKEN).send().await.expect("the management port answers");
    serde_json::from_str(&answer.text().await.expect("text")).expect("a status is JSON")
}

/// What a server counts under a name, by its labels.
async fn counted_by(server: &ImServer, name: &str) -> BTreeMap<String, f64> {
    let url = format!("http://{}/metrics", server.management);
    let answer = imcluster_tests::http::client().get(url).send().await.expect("the management port answers");
    let text = answer.text().await.expect("text");
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
        (metric == name).then(|| (labels.to_owned(), value.parse().expect("a number")))
    });
    values.collect()
}

/// The sum of it.
async fn counted(server: &ImServer, name: &str) -> f64 {
    counted_by(server, name).await.values().sum()
}

/// Outbox rows of a server that name a conversation.
async fn outbox(sql: &mut PgConnection, server: u16, conversation: &str) -> i64 {
    let count = sqlx::query("select count(*) from outbox where server = $1 and items like '%' || $2 || '%'")
        .bind(i32::from(server))
        .bind(conversation)
        .fetch_one(sql);
    count.await.expect("PostgreSQL answers").get(0)
}

/// More people, with the password of one who is there.
async fn crowd(sql: &mut PgConnection, like: &str, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("{like}-{n}")).collect();
    sqlx::query(
        "insert into accounts (user_id, name, password_hash, created)
         select named, named, a.password_hash, a.created from accounts a, unnest($2::text[]) named where a.user_id = $1",
    )
    .bind(like)
    .bind(&names)
    .execute(sql)
    .await
    .expect("accounts");
    names
}
