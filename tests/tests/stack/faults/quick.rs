//! Faults that heal within seconds: every run of `make test-stack` has them.

use std::time::Duration;

use imcluster_tests::stack::Cluster;
use imcluster_tests::stage::{Person, direct};

use super::under_load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn people_on_different_servers_talk() {
    let cluster = Cluster::start(2).await;
    let [alice, bob]: [Person; 2] = cluster.stage_on(0).friends().await;
    let conversation = direct(&alice, &bob);
    let bob = bob.on(&cluster.stage_on(1));
    let (alice, bob) = (alice.connect("web").await, bob.connect("web").await);
    assert_eq!((alice.server(), bob.server()), (0, 1));
    let hello = alice.say(&conversation, "hello").await;
    assert_eq!(bob.message(&conversation, hello).await["content"]["text"], "hello");
    let answer = bob.say(&conversation, "hi").await;
    assert_eq!(alice.message(&conversation, answer).await["content"]["text"], "hi");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn a_server_is_killed() {
    let cluster = Cluster::start(3).await;
    under_load("a-server-is-killed", &cluster, async |cluster| cluster.server(1).kill()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn a_killed_server_comes_back() {
    let cluster = Cluster::start(3).await;
    under_load("a-killed-server-comes-back", &cluster, async |cluster| {
        cluster.server(1).kill();
        cluster.server(1).start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn redis_forgets_everything() {
    let cluster = Cluster::start(3).await;
    under_load("redis-forgets-everything", &cluster, async |cluster| cluster.redis.flush().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn kafka_hangs_for_some_seconds() {
    let cluster = Cluster::start(3).await;
    under_load("kafka-hangs-for-some-seconds", &cluster, async |cluster| {
        cluster.kafka.pause();
        // The fault itself, not a wait for something.
        tokio::time::sleep(Duration::from_secs(4)).await;
        cluster.kafka.resume();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn kafka_is_killed_and_started_again() {
    let cluster = Cluster::start(3).await;
    under_load("kafka-is-killed-and-started-again", &cluster, async |cluster| {
        cluster.kafka.kill();
        cluster.kafka.start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn postgres_is_stopped_at_once_and_started_again() {
    let cluster = Cluster::start(3).await;
    under_load("postgres-is-stopped-at-once", &cluster, async |cluster| {
        assert!(cluster.postgres.stop_immediately().await);
        cluster.postgres.start().await.unwrap();
    })
    .await;
}
