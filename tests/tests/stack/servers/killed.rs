//! `kill -9` in the middle of the work.

use std::time::Instant;

use imcluster_tests::load::{Load, Plan, report};

use super::{Lease, cluster, history, status, told};

/// People enough that every server has several.
const PEOPLE: usize = 9;

/// Begins a load through the entrance with people on every server.
async fn begin(cluster: &Lease) -> Load {
    let load = Load::start(&cluster.stage(), Plan { people: PEOPLE, ..Plan::default() }).await;
    for server in cluster.servers() {
        let status = status(server).await;
        assert!(status["connections"].as_u64() >= Some(2), "{}: {status}", server.name());
    }
    load
}

/// Kills a server while messages are on their way to everyone, and waits until everybody talks again.
async fn kill(cluster: &Lease, load: &Load, id: u16) {
    load.recovered(Instant::now()).await;
    cluster.server(id).kill();
    let killed = Instant::now();
    load.recovered(killed).await;
    told(&format!("kill -9 of server {id} in the middle of a fan-out"), killed);
}

async fn finish(cluster: &Lease, mut load: Load, name: &str) {
    let messages = load.settle().await;
    load.check(&cluster.stage(), &history(name)).await;
    report(&format!("{name}: {messages} messages, all there"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn a_server_killed_in_the_middle_of_a_fan_out_costs_nobody_a_message() {
    let cluster = cluster().await;
    let load = begin(&cluster).await;
    kill(&cluster, &load, 1).await;
    let begun = Instant::now();
    cluster.server(1).start().await.unwrap();
    load.recovered(begun).await;
    finish(&cluster, load, "killed").await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: make test-stack-full"]
    async fn servers_killed_one_after_the_other_many_times_cost_nobody_a_message() {
        let cluster = cluster().await;
        let load = begin(&cluster).await;
        for round in 0..9 {
            let id = round % 3;
            kill(&cluster, &load, id).await;
            let begun = Instant::now();
            cluster.server(id).start().await.unwrap();
            load.recovered(begun).await;
        }
        finish(&cluster, load, "killed-many-times").await;
    }
}
