//! Faults that heal within seconds: every run of `make test-stack` has them. One cluster serves several, each with people
//! of its own.

use std::time::Duration;

use imcluster_tests::stack::{Cluster, DATABASE};
use imcluster_tests::stage::{Person, direct};

use super::{lasts, under_load};

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
async fn a_server_is_killed_and_comes_back() {
    let cluster = Cluster::start(3).await;
    under_load("a-server-is-killed", &cluster, async |cluster| cluster.server(1).kill()).await;
    cluster.server(1).start().await.unwrap();
    under_load("a-server-is-killed-and-comes-back", &cluster, async |cluster| {
        cluster.server(2).kill();
        cluster.server(2).start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn redis_forgets_everything_hangs_and_is_killed() {
    let cluster = Cluster::start(3).await;
    under_load("redis-forgets-everything", &cluster, async |cluster| cluster.redis.flush().await.unwrap()).await;
    under_load("redis-answers-nobody-for-3-s", &cluster, async |cluster| {
        let _: () = cluster.redis.command(&["CLIENT", "PAUSE", "3000", "ALL"]).await.unwrap();
        lasts(Duration::from_secs(3)).await;
    })
    .await;
    under_load("redis-is-killed-and-started-again", &cluster, async |cluster| {
        cluster.redis.kill();
        cluster.redis.start().await.unwrap();
    })
    .await;
    under_load("redis-is-down-for-10-s", &cluster, async |cluster| {
        cluster.redis.kill();
        lasts(Duration::from_secs(10)).await;
        cluster.redis.start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn kafka_hangs_is_killed_and_comes_back_empty() {
    let cluster = Cluster::start(3).await;
    under_load("kafka-hangs-for-5-s", &cluster, async |cluster| {
        cluster.kafka.pause();
        lasts(Duration::from_secs(5)).await;
        cluster.kafka.resume();
    })
    .await;
    under_load("kafka-is-killed-and-started-again", &cluster, async |cluster| {
        cluster.kafka.kill();
        cluster.kafka.start().await.unwrap();
    })
    .await;
    under_load("a-topic-is-deleted-and-made-again", &cluster, async |cluster| {
        cluster.kafka.delete_topic("im.1").await.unwrap();
    })
    .await;
    under_load("kafka-comes-back-empty", &cluster, async |cluster| {
        cluster.kafka.kill();
        cluster.kafka.empty().await.unwrap();
        cluster.kafka.start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn postgres_stops_at_once_and_loses_its_connections() {
    let cluster = Cluster::start(3).await;
    under_load("postgres-stops-at-once-and-starts-again", &cluster, async |cluster| {
        assert!(cluster.postgres.stop_immediately().await);
        cluster.postgres.start().await.unwrap();
    })
    .await;
    under_load("all-connections-to-postgres-are-cut", &cluster, async |cluster| {
        assert!(cluster.postgres.cut(DATABASE).await.unwrap() > 0);
    })
    .await;
}
