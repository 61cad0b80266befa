//! The bus on a real Kafka keeps the contract, and what it promises on top. Each test has a topic prefix of its own.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use im_protocol::ServerId;
use im_protocol::record::Record;
use im_sdk::bus::kafka::{KafkaBus, KafkaConfig, KafkaConnectError, NewTopics};
use im_sdk::bus::{Bus, BusError, Delivery, Outgoing, Subscription};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::timeout;

use crate::contract::bus::{read, to};
use crate::contract::bus_contract;
use crate::given::record;
use crate::wait::{done_within, until_within};

bus_contract!(async || connect(&making_topics()).await, ignored = "needs Kafka: make test-stack");

/// Nothing here takes long; a test that runs into this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn brokers() -> String {
    std::env::var("IM_TEST_KAFKA_BROKERS").expect("IM_TEST_KAFKA_BROKERS says where Kafka is")
}

/// Nobody else's topics, today or in an earlier run.
fn config() -> KafkaConfig {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    KafkaConfig::new(brokers(), format!("test-{now}-{}-{number}.", std::process::id()))
}

fn making_topics() -> KafkaConfig {
    let mut config = config();
    config.create_topics = Some(NewTopics { replication_factor: NonZeroU16::new(1), ..NewTopics::default() });
    config
}

async fn connect(config: &KafkaConfig) -> KafkaBus {
    KafkaBus::connect(config.clone()).await.unwrap()
}

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers());
    client
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().unwrap()
}

async fn create(topic: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    // A topic that is being deleted is there for a moment yet.
    let made = async || admin().create_topics([&new], &AdminOptions::new()).await.unwrap()[0].is_ok();
    until_within(PATIENCE, "the topic can be made", made).await;
}

async fn delete(topic: &str) {
    admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap().pop().unwrap().unwrap();
}

/// Puts something into a topic beside the bus.
async fn put(topic: &str, payload: &[u8]) {
    let producer: FutureProducer = client().create().unwrap();
    producer.send(FutureRecord::<str, _>::to(topic).payload(payload), PATIENCE).await.unwrap();
}

async fn put_record(topic: &str, number: u64) {
    put(topic, &serde_json::to_vec(&record(number)).unwrap()).await;
}

async fn publish(bus: &KafkaBus, records: Vec<Outgoing>) {
    for result in timeout(PATIENCE, bus.publish(records)).await.expect("it is acked") {
        result.unwrap();
    }
}

/// Publishes until it works: a topic that was just made is not known everywhere at once.
async fn publish_in_the_end(bus: &KafkaBus, record: Outgoing) {
    let published = async || {
        let result = bus.publish(vec![record.clone()]).await.remove(0);
        assert!(matches!(result, Ok(()) | Err(BusError::NoTopic(_))), "{result:?}");
        result
    };
    done_within(PATIENCE, published).await;
}

async fn next(subscription: &mut dyn Subscription) -> Option<Arc<Record>> {
    let mut got = Vec::new();
    assert!(timeout(PATIENCE, subscription.next(&mut got, 1)).await.expect("something comes"), "the topic goes on");
    match got.pop() {
        Some(Delivery::Record(record)) => Some(record),
        Some(Delivery::Gap) => None,
        None => panic!("something has come"),
    }
}

async fn number(subscription: &mut dyn Subscription) -> Option<u64> {
    next(subscription).await.map(|record| record.epoch.0)
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_topic_made_anew_is_a_gap_and_its_records_follow() {
    let config = making_topics();
    let bus = connect(&config).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    publish(&bus, (0..20).map(|n| to(0, n)).collect()).await;
    assert_eq!(read(&mut *subscription, 20).await, (0..20).collect::<Vec<_>>());
    let topic = config.topic(ServerId(0));
    delete(&topic).await;
    create(&topic).await;
    publish_in_the_end(&bus, to(0, 100)).await;
    assert_eq!(number(&mut *subscription).await, None);
    // What was put on its way into the old topic may have been tried again.
    assert_eq!(number(&mut *subscription).await, Some(100));
    publish(&bus, vec![to(0, 101)]).await;
    assert_eq!(number(&mut *subscription).await, Some(101));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_topic_made_anew_and_longer_than_the_old_one_is_read_from_its_beginning() {
    let config = making_topics();
    let bus = connect(&config).await;
    let topic = config.topic(ServerId(0));
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    publish(&bus, vec![to(0, 0), to(0, 1)]).await;
    assert_eq!(read(&mut *subscription, 2).await, [0, 1]);
    delete(&topic).await;
    create(&topic).await;
    for n in 100..110 {
        put_record(&topic, n).await;
    }
    assert_eq!(number(&mut *subscription).await, None);
    let mut got = Vec::new();
    while got.len() < 10 {
        got.extend(number(&mut *subscription).await);
    }
    assert_eq!(got, (100..110).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn records_deleted_before_they_are_read_are_a_gap() {
    let config = making_topics();
    let bus = connect(&config).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    // More than what is read ahead, so that some are only in Kafka.
    let large = "x".repeat(100_000);
    for _ in 0..10 {
        publish(&bus, (0..200).map(|n| Outgoing { record: Arc::new(large_record(n, &large)), ..to(0, n) }).collect())
            .await;
    }
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&config.topic(ServerId(0)), 0, Offset::Offset(1_999)).unwrap();
    admin().delete_records(&before, &AdminOptions::new()).await.unwrap();
    publish(&bus, vec![to(0, 5_000)]).await;
    let mut read = 0;
    while next(&mut *subscription).await.is_some() {
        read += 1;
    }
    assert!(read < 1_999, "{read} were read");
    assert_eq!(number(&mut *subscription).await, Some(199), "the one that was left");
    assert_eq!(number(&mut *subscription).await, Some(5_000));
}

fn large_record(number: u64, text: &str) -> Record {
    let mut record = record(number);
    let im_protocol::record::Payload::Push(push) = &mut record.payload else { panic!("it is a push") };
    push.audience = im_protocol::record::Audience::Users {
        users: text.as_bytes().chunks(64).map(|chunk| String::from_utf8_lossy(chunk).parse().unwrap()).collect(),
        except: None,
    };
    record
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_record_that_cannot_be_read_is_skipped() {
    let config = making_topics();
    let bus = connect(&config).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    for poison in [&b"{\"epoch\":1"[..], b"", b"\xff\xfe", b"[]"] {
        put(&config.topic(ServerId(0)), poison).await;
    }
    publish(&bus, vec![to(0, 7)]).await;
    assert_eq!(number(&mut *subscription).await, Some(7));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_missing_topic_is_named_and_read_as_soon_as_it_is_there() {
    let config = config();
    let bus = connect(&config).await;
    let Err(error) = bus.subscribe(ServerId(3)).await else { panic!("there is no topic") };
    assert!(error.to_string().starts_with("server 3 has no topic"), "{error}");
    create(&config.topic(ServerId(3))).await;
    let mut subscription = bus.subscribe(ServerId(3)).await.unwrap();
    publish_in_the_end(&bus, to(3, 1)).await;
    assert_eq!(number(&mut *subscription).await, Some(1));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_missing_topic_holds_up_no_other() {
    let bus = connect(&making_topics()).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    for n in 0..50 {
        let results = timeout(Duration::from_secs(2), bus.publish(vec![to(9, n), to(0, n)])).await.expect("at once");
        assert!(matches!(results.as_slice(), [Err(BusError::NoTopic(_)), Ok(())]), "{results:?}");
    }
    assert_eq!(read(&mut *subscription, 50).await, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_topic_deleted_while_records_go_there_fails_alone_and_soon() {
    let config = making_topics();
    let bus = connect(&config).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    drop(bus.subscribe(ServerId(1)).await.unwrap());
    publish(&bus, vec![to(0, 0), to(1, 0)]).await;
    delete(&config.topic(ServerId(1))).await;
    let mut n = 0;
    let began = Instant::now();
    loop {
        n += 1;
        let results = timeout(PATIENCE, bus.publish(vec![to(1, n), to(0, n)])).await.expect("it ends");
        assert!(results[1].is_ok(), "{results:?}");
        if let Err(error) = &results[0] {
            assert!(matches!(error, BusError::NoTopic(ServerId(1))), "{error}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the topic is missed");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(read(&mut *subscription, usize::try_from(n).unwrap() + 1).await, (0..=n).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_record_that_is_too_large_fails_alone() {
    let bus = connect(&making_topics()).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    let text = "x".repeat(1_000_000);
    let large = Outgoing { record: Arc::new(large_record(1, &text)), ..to(0, 1) };
    let results = bus.publish(vec![to(0, 0), large, to(0, 2)]).await;
    assert!(matches!(results.as_slice(), [Ok(()), Err(BusError::TooLarge { .. }), Ok(())]), "{results:?}");
    assert_eq!(read(&mut *subscription, 2).await, [0, 2]);
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn what_is_not_read_yet_is_known() {
    let config = making_topics();
    let bus = connect(&config).await;
    assert_eq!(bus.topic(ServerId(0)).unwrap().lag, None, "nobody reads it here");
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    let status = bus.topic(ServerId(0)).unwrap();
    assert_eq!((status.name, status.lag), (config.topic(ServerId(0)), Some(0)));
    publish(&bus, (0..30).map(|n| to(0, n)).collect()).await;
    let lag = async || match bus.topic(ServerId(0)).unwrap().lag {
        Some(30) => Ok(()),
        other => Err(format!("{other:?} are not read")),
    };
    done_within(PATIENCE, lag).await;
    read(&mut *subscription, 30).await;
    assert_eq!(bus.topic(ServerId(0)).unwrap().lag, Some(0));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_subscription_ends_with_its_bus() {
    let bus = connect(&making_topics()).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    drop(bus);
    assert!(!timeout(PATIENCE, subscription.next(&mut Vec::new(), 1)).await.expect("it ends"));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_server_that_does_not_read_holds_up_no_publisher() {
    let bus = connect(&making_topics()).await;
    let _stalled = bus.subscribe(ServerId(0)).await.unwrap();
    let mut reading = bus.subscribe(ServerId(1)).await.unwrap();
    for n in 0..20 {
        publish(&bus, (0..200).map(|_| to(0, n)).chain([to(1, n)]).collect()).await;
    }
    assert_eq!(read(&mut *reading, 20).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    let refused = async |change: fn(&mut KafkaConfig)| {
        let mut config = KafkaConfig::new("127.0.0.1:9", "im.");
        change(&mut config);
        let Err(KafkaConnectError::Settings(reason)) = KafkaBus::connect(config).await else {
            panic!("these settings cannot work")
        };
        reason
    };
    assert!(refused(|config| config.brokers = String::new()).await.contains("no broker"));
    let no_file = refused(|config| {
        config.tls = Some(im_sdk::bus::kafka::Tls { ca: Some("/no/such.pem".into()), ..Default::default() });
    });
    let no_file = no_file.await;
    assert!(no_file.contains("/no/such.pem"), "{no_file}");
}
