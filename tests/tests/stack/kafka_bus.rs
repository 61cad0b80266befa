//! The bus over a Kafka that is killed, emptied or guarded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::record::{Audience, Payload, Push, Record};
use im_protocol::server::Answer;
use im_protocol::{Epoch, Frame, ServerFrame, ServerId};
use im_sdk::bus::kafka::{KafkaBus, KafkaConfig, KafkaConnectError, NewTopics, Password, Sasl, SaslMechanism, Tls};
use im_sdk::bus::{Bus, BusError, Delivery, Outgoing, Subscription};
use imcluster_tests::stack::{Kafka, Place};
use tokio::time::timeout;

/// Java takes its time to start.
const PATIENCE: Duration = Duration::from_secs(90);

fn config(brokers: String) -> KafkaConfig {
    let mut config = KafkaConfig::new(brokers, "im.");
    config.create_topics = Some(NewTopics::default());
    config
}

/// A record that is told from others by its epoch.
fn outgoing(number: u64) -> Outgoing {
    let audience = Audience::Room { conversation: "r:1".parse().unwrap() };
    let frame = Frame::encode(&ServerFrame::Ok(Answer { id: None }));
    let payload = Payload::Push(Push { audience, frame, about: None });
    Outgoing {
        server: ServerId(0),
        key: None,
        record: Arc::new(Record { epoch: Epoch(number), from: ServerId(0), payload, trace: None }),
    }
}

/// Publishes until it is acked.
async fn publish(bus: &KafkaBus, number: u64) {
    let began = Instant::now();
    while let Err(error) = bus.publish(vec![outgoing(number)]).await.remove(0) {
        assert!(matches!(error, BusError::Unavailable(_) | BusError::NoTopic(_)), "{error}");
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The next record's number; `None` for a gap.
async fn next(subscription: &mut dyn Subscription) -> Option<u64> {
    let mut got = Vec::new();
    assert!(timeout(PATIENCE, subscription.next(&mut got, 1)).await.expect("something comes"), "the topic goes on");
    match got.pop().expect("something has come") {
        Delivery::Record(record) => Some(record.epoch.0),
        Delivery::Gap => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test-stack"]
async fn a_killed_kafka_loses_nothing_that_was_acked() {
    const RECORDS: u64 = 300;
    let place = Place::temporary().unwrap();
    let kafka = Kafka::start(&place).await.unwrap();
    let bus = Arc::new(KafkaBus::connect(config(kafka.brokers())).await.unwrap());
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            for number in 0..RECORDS {
                publish(&bus, number).await;
            }
        }
    });
    let mut expected = 0;
    let mut killed = false;
    while expected < RECORDS {
        if expected > RECORDS / 3 && !killed {
            killed = true;
            kafka.kill();
            kafka.start().await.unwrap();
        }
        match next(&mut *subscription).await {
            Some(number) if number == expected => expected += 1,
            // Not acked, and stored all the same: published again.
            Some(number) => assert!(number < expected, "{number} came before {expected}"),
            // An end of the log that was lost held nothing that was acked, or the next number is missing now.
            None => {}
        }
    }
    publishing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test-stack"]
async fn an_emptied_kafka_is_a_gap_and_the_bus_goes_on() {
    let place = Place::temporary().unwrap();
    let kafka = Kafka::start(&place).await.unwrap();
    let bus = KafkaBus::connect(config(kafka.brokers())).await.unwrap();
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    for number in 0..50 {
        publish(&bus, number).await;
        assert_eq!(next(&mut *subscription).await, Some(number));
    }
    kafka.kill();
    kafka.empty().await.unwrap();
    kafka.start().await.unwrap();
    for number in 100..200 {
        publish(&bus, number).await;
    }
    assert_eq!(next(&mut *subscription).await, None);
    let mut expected = 100;
    while expected < 200 {
        if let Some(number) = next(&mut *subscription).await {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test-stack"]
async fn a_topic_made_anew_is_read_by_one_who_knew_it_under_a_later_leader() {
    let place = Place::temporary().unwrap();
    let kafka = Kafka::start(&place).await.unwrap();
    let bus = KafkaBus::connect(config(kafka.brokers())).await.unwrap();
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    // Each start elects a leader anew: its epoch rises above that of a topic that was just made.
    for number in 0..2 {
        publish(&bus, number).await;
        while next(&mut *subscription).await != Some(number) {}
        kafka.kill();
        kafka.start().await.unwrap();
    }
    publish(&bus, 2).await;
    while next(&mut *subscription).await != Some(2) {}
    kafka.delete_topic("im.0").await.unwrap();
    // The gap is told once the new topic is there to read.
    while next(&mut *subscription).await.is_some() {}
    publish(&bus, 3).await;
    while next(&mut *subscription).await != Some(3) {}
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_guarded_kafka_takes_the_right_password_only() {
    let place = Place::temporary().unwrap();
    let (_kafka, guarded) = Kafka::start_guarded(&place, "im", "tiger").await.unwrap();
    let with = |mechanism, password: &str, ca| {
        let mut config = config(guarded.brokers.clone());
        config.tls = Some(Tls { ca, ..Tls::default() });
        config.sasl = Some(Sasl { mechanism, user: "im".to_owned(), password: Password::new(password) });
        config
    };
    let ca = || Some(guarded.ca.clone());
    for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let bus = KafkaBus::connect(with(mechanism, "tiger", ca())).await.unwrap();
        let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
        publish(&bus, 1).await;
        assert_eq!(next(&mut *subscription).await, Some(1));
    }
    for wrong in [with(SaslMechanism::ScramSha512, "lion", ca()), with(SaslMechanism::ScramSha512, "tiger", None)] {
        let Err(KafkaConnectError::Refused { reason, .. }) = KafkaBus::connect(wrong).await else {
            panic!("it is refused")
        };
        assert!(!reason.contains("lion") && !reason.contains("tiger"), "{reason}");
        assert!(reason.contains("invalid credentials") || reason.contains("certificate"), "{reason}");
    }
}
