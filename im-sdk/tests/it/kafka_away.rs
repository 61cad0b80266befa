//! The bus while Kafka is away, played by librdkafka's own cluster inside the process.

use std::time::{Duration, Instant};

use futures_util::poll;
use im_protocol::ServerId;
use im_sdk::bus::kafka::{KafkaBus, KafkaConfig};
use im_sdk::bus::{Bus, BusError, Outgoing};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::time::timeout;

use crate::contract::bus::{read, to};

/// Of a bus that gives up soon.
const DELIVERY: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster(topics: &[&str]) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    for topic in topics {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    cluster
}

async fn connect(cluster: &MockCluster<'static, DefaultProducerContext>, delivery: Duration) -> KafkaBus {
    let mut config = KafkaConfig::new(cluster.bootstrap_servers(), "im.");
    config.buffer_bytes = 4 * 1024 * 1024;
    config.delivery_timeout = delivery;
    KafkaBus::connect(config).await.unwrap()
}

/// As many records as the buffer has room for, and one.
fn too_many() -> Vec<Outgoing> {
    (0..=4 * 1024).map(|n| to(0, n)).collect()
}

#[tokio::test]
async fn a_short_absence_loses_nothing() {
    let cluster = cluster(&["im.0"]);
    // On a busy machine the first attempts to connect again may all be late.
    let bus = connect(&cluster, PATIENCE / 2).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    assert!(bus.publish(vec![to(0, 0)]).await[0].is_ok());
    cluster.broker_down(1).unwrap();
    let mut publishing = Box::pin(bus.publish((1..100).map(|n| to(0, n)).collect()));
    assert!(poll!(publishing.as_mut()).is_pending());
    cluster.broker_up(1).unwrap();
    let results = timeout(PATIENCE, publishing).await.expect("Kafka is back");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(read(&mut *subscription, 100).await, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_long_absence_is_told_record_by_record_and_leaves_room() {
    let cluster = cluster(&["im.0"]);
    let bus = connect(&cluster, DELIVERY).await;
    assert!(bus.publish(vec![to(0, 0)]).await[0].is_ok());
    cluster.broker_down(1).unwrap();
    let began = Instant::now();
    let results = timeout(PATIENCE, bus.publish(too_many())).await.expect("it does not wait for ever");
    assert!(began.elapsed() >= 2 * DELIVERY, "the last one is not taken before another has failed: that is the bound");
    assert!(results.iter().all(|result| matches!(result, Err(BusError::Unavailable(_)))));
    cluster.broker_up(1).unwrap();
    let began = Instant::now();
    while let Err(error) = bus.publish(vec![to(0, 1)]).await.remove(0) {
        assert!(began.elapsed() < PATIENCE, "Kafka is back: {error}");
    }
    let results = timeout(PATIENCE, bus.publish(too_many())).await.expect("there is room");
    assert!(results.iter().all(Result::is_ok));
}
