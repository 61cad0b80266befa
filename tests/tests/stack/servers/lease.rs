//! Servers that stand still past their lease, and two processes with one server id.

use std::time::{Duration, Instant};

use imcluster_tests::client::Client;
use imcluster_tests::load::{Load, Plan};
use imcluster_tests::stack::ImServer;
use sqlx::{PgConnection, Row};

use super::{Lease, cluster, history, status, told, until};

/// The server that it happens to.
const VICTIM: u16 = 0;

/// A lease is renewed every 3 s, and clients have 5 s to take their goodbye.
const FENCED: Duration = Duration::from_secs(20);

/// What the store knows of the victim: its epoch, and whether its lease runs.
async fn known(sql: &mut PgConnection) -> (i64, bool) {
    let row = sqlx::query("select epoch, expires > im_clock_v1() as live from servers where id = $1")
        .bind(i32::from(VICTIM))
        .fetch_one(sql);
    let row = row.await.expect("PostgreSQL answers");
    (row.get("epoch"), row.get("live"))
}

async fn until_lapsed(sql: &mut PgConnection) {
    until("the lease has run out", async || !known(sql).await.1).await;
}

/// Somebody who is connected to the victim and listens.
async fn listener(cluster: &Lease) -> Client {
    cluster.stage_on(VICTIM).person().await.connect("web").await
}

/// The victim, which another process has replaced, says so to its clients and to whoever reads its log, and ends.
async fn is_fenced(victim: &ImServer, listener: &Client) {
    let goaway = listener.wait_for("a goodbye", |frame| frame["type"] == "goaway").await;
    assert!(goaway["reconnect_after_ms"].is_u64(), "{goaway}");
    assert_eq!(listener.closed().await.code, Some(4004));
    assert!(victim.ended_within(FENCED).await, "it ends by itself");
    let status = victim.exit_status().expect("it has ended");
    assert!(!status.success(), "{status}");
    let said = victim.said();
    assert!(said.contains("another process has taken this server id"), "{said}");
}

async fn finish(cluster: &Lease, mut load: Load, name: &str) {
    load.settle().await;
    load.check(&cluster.stage(), &history(name)).await;
}

/// Stands still past its lease and `still` longer, and goes on.
async fn only_lapsed(still: Duration, name: &str) {
    let cluster = cluster().await;
    let load = Load::start(&cluster.stage(), Plan::default()).await;
    let mut sql = cluster.sql().await;
    let (epoch, _) = known(&mut sql).await;
    let victim = cluster.server(VICTIM);
    let pid = victim.pid();

    victim.pause();
    until_lapsed(&mut sql).await;
    tokio::time::sleep(still).await;
    victim.resume();
    let resumed = Instant::now();
    load.recovered(resumed).await;
    told("SIGSTOP past the lease", resumed);
    until("the lease is renewed", async || known(&mut sql).await == (epoch, true)).await;
    assert_eq!((victim.pid(), status(victim).await["phase"].as_str()), (pid, Some("serving")));
    finish(&cluster, load, name).await;
}

/// Stands still past its lease and `still` longer, while another process takes its id.
async fn replaced(still: Duration, name: &str) {
    let cluster = cluster().await;
    let load = Load::start(&cluster.stage(), Plan::default()).await;
    let mut sql = cluster.sql().await;
    let (epoch, _) = known(&mut sql).await;
    let listener = listener(&cluster).await;
    let victim = cluster.server(VICTIM);

    victim.pause();
    until_lapsed(&mut sql).await;
    tokio::time::sleep(still).await;
    let twin = cluster.twin(VICTIM);
    twin.start().await.unwrap();
    victim.resume();
    let resumed = Instant::now();
    is_fenced(victim, &listener).await;
    load.recovered(resumed).await;
    told("SIGSTOP past the lease, replaced meanwhile", resumed);
    assert_eq!(known(&mut sql).await, (epoch + 1, true));
    assert_eq!(status(&twin).await["phase"], "serving");
    finish(&cluster, load, name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn a_server_that_stood_still_past_its_lease_goes_on_and_nothing_is_lost() {
    only_lapsed(Duration::ZERO, "lapsed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn a_server_that_was_replaced_while_it_stood_still_sends_its_clients_away_and_ends() {
    replaced(Duration::ZERO, "replaced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn of_two_processes_with_one_id_the_older_sends_its_clients_away_and_ends() {
    let cluster = cluster().await;
    let load = Load::start(&cluster.stage(), Plan::default()).await;
    let mut sql = cluster.sql().await;
    let (epoch, _) = known(&mut sql).await;
    let listener = listener(&cluster).await;

    let twin = cluster.twin(VICTIM);
    let begun = Instant::now();
    twin.spawn().unwrap();
    is_fenced(cluster.server(VICTIM), &listener).await;
    twin.until_ready().await.unwrap();
    load.recovered(Instant::now()).await;
    told("two processes with one server id", begun);
    assert_eq!(known(&mut sql).await, (epoch + 1, true));
    assert_eq!(status(&twin).await["phase"], "serving");
    finish(&cluster, load, "twins").await;
}

mod long {
    use super::*;

    /// Longer than clients wait for an answer, and than connections may be silent.
    const MINUTES: Duration = Duration::from_secs(80);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: make test-stack-full"]
    async fn a_server_that_stood_still_for_minutes_goes_on_and_nothing_is_lost() {
        only_lapsed(MINUTES, "lapsed-for-minutes").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: make test-stack-full"]
    async fn a_server_that_was_replaced_minutes_ago_sends_its_clients_away_and_ends() {
        replaced(MINUTES, "replaced-for-minutes").await;
    }
}
