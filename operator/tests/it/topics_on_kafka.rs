//! Topics in a real Kafka of one broker. Each test has a topic prefix of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imcluster_crds::SaslMechanism;
use imcluster_crds::conditions::Reason;
use imcluster_operator::leader::Writing;
use imcluster_operator::topics::admin::{AdminError, Created, KafkaAdmin, Setting, Shape, connect};
use imcluster_operator::topics::worker::{Confirm, KafkaTopics};
use imcluster_operator::topics::{KafkaSettings, Report, Sasl, Seen, Tls, Topics, Wish};
use imcluster_operator::wake::Wake;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Nothing here takes long; a test that runs into this has failed.
const PATIENCE: Duration = Duration::from_mins(1);

const AS_WISHED: Seen = Seen::Present { as_wished: true };

fn kafka() -> KafkaSettings {
    let brokers = std::env::var("IM_TEST_KAFKA_BROKERS").expect("IM_TEST_KAFKA_BROKERS says where Kafka is");
    KafkaSettings { brokers: brokers.split(',').map(str::to_owned).collect(), tls: None, sasl: None }
}

fn admin() -> Arc<dyn KafkaAdmin> {
    connect(&kafka()).unwrap()
}

/// Nobody else's topics, today or in an earlier run.
fn topics(number: u32) -> BTreeSet<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let test = NUMBER.fetch_add(1, Ordering::Relaxed);
    (0..number).map(|id| format!("test-{now}-{}-{test}.{id}", std::process::id())).collect()
}

fn config(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn keeping(topics: &BTreeSet<String>, settings: &[(&str, &str)]) -> Wish {
    Wish { watch: topics.clone(), config: config(settings), replication: 1, ..Wish::default() }
}

fn creating(topics: &BTreeSet<String>) -> Wish {
    Wish { create: topics.clone(), ..keeping(topics, &[("retention.ms", "600000")]) }
}

async fn create(topics: &BTreeSet<String>, settings: &[(&str, &str)]) {
    let created = admin().create(topics, 1, &config(settings)).await.unwrap();
    assert!(created.values().all(|created| *created == Ok(Created::New)), "{created:?}");
}

async fn setting(topic: &str, name: &str) -> Setting {
    let (of, names) = (BTreeSet::from([topic.to_owned()]), BTreeSet::from([name.to_owned()]));
    let mut settings = admin().settings(&of, &names).await.unwrap().remove(topic).unwrap().unwrap();
    settings.remove(name).unwrap_or_else(|| panic!("{topic} has {name}"))
}

fn own(value: &str) -> Setting {
    Setting { value: value.to_owned(), own: true }
}

/// Always leads, and says yes to everything.
struct Yes;

impl Writing for Yes {
    fn left(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

#[async_trait::async_trait]
impl Confirm for Yes {
    async fn may_delete(&self, _: &str, topics: &BTreeSet<String>) -> BTreeSet<String> {
        topics.clone()
    }
}

/// Wishes, and waits until the report is as expected.
async fn until(kafka: &KafkaSettings, wish: &Wish, what: impl Fn(&Report) -> bool) -> Arc<Report> {
    let changes = Wake::default();
    let topics = KafkaTopics::new(Arc::new(connect), Arc::new(Yes), Arc::new(Yes), changes.clone());
    let report = async {
        loop {
            let report = topics.wish("chat", kafka, wish.clone()).filter(|report| report.wish == *wish);
            match report {
                Some(report) if what(&report) => return report,
                _ => drop(changes.next().await),
            }
        }
    };
    let report = timeout(PATIENCE, report).await.expect("it ends as expected");
    topics.close().await;
    report
}

fn all_as_wished(report: &Report) -> bool {
    !report.topics.is_empty() && report.topics.values().all(|&seen| seen == AS_WISHED)
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_hundred_topics_are_made_with_their_settings_and_one_partition_each() {
    let topics = topics(100);
    let report = until(&kafka(), &creating(&topics), all_as_wished).await;
    assert_eq!(report.troubles, []);
    assert!(!report.auto_create);
    let shapes = admin().topics().await.unwrap();
    for topic in &topics {
        assert_eq!(shapes[topic], Shape { partitions: 1, replication: 1 });
    }
    assert_eq!(setting(topics.first().unwrap(), "retention.ms").await, own("600000"));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn making_a_topic_that_is_there_is_fine_and_changes_nothing() {
    let topics = topics(1);
    let topic = topics.first().unwrap();
    create(&topics, &[("retention.ms", "700000")]).await;
    let again = admin().create(&topics, 1, &config(&[("retention.ms", "800000")])).await.unwrap();
    assert_eq!(again[topic], Ok(Created::Existed));
    assert_eq!(setting(topic, "retention.ms").await, own("700000"));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_topic_that_is_as_wished_is_adopted_without_a_change() {
    let topics = topics(1);
    create(&topics, &[("retention.ms", "600000"), ("segment.ms", "60000")]).await;
    // Kafka tells a number as it understood it.
    let wish = keeping(&topics, &[("retention.ms", "0600000")]);
    let report = until(&kafka(), &wish, all_as_wished).await;
    assert_eq!(report.troubles, []);
    assert_eq!(setting(topics.first().unwrap(), "segment.ms").await, own("60000"));
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn settings_that_differ_are_repaired_and_foreign_ones_stay() {
    let topics = topics(2);
    create(&topics, &[("retention.ms", "5000000"), ("segment.ms", "60000")]).await;
    let of_the_brokers = Setting { value: "1048588".to_owned(), own: false };
    assert_eq!(setting(topics.first().unwrap(), "max.message.bytes").await, of_the_brokers);
    let wish = keeping(&topics, &[("retention.ms", "600000"), ("max.message.bytes", "1048588")]);
    until(&kafka(), &wish, all_as_wished).await;
    for topic in &topics {
        assert_eq!(setting(topic, "retention.ms").await, own("600000"));
        assert_eq!(setting(topic, "segment.ms").await, own("60000"), "nobody wished for it, and it stays");
        assert_eq!(setting(topic, "max.message.bytes").await, own("1048588"), "the brokers' value is made the topic's");
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn topics_are_deleted_and_one_that_is_gone_is_fine() {
    let topics = topics(2);
    create(&topics, &[]).await;
    let wish = Wish { delete: topics.clone(), ..keeping(&topics, &[("retention.ms", "600000")]) };
    let gone = |report: &Report| report.topics.values().all(|&seen| seen == Seen::Absent);
    until(&kafka(), &wish, gone).await;
    let shapes = admin().topics().await.unwrap();
    assert!(topics.iter().all(|topic| !shapes.contains_key(topic)));
    let again = admin().delete(&topics).await.unwrap();
    assert!(again.values().all(Result::is_ok), "{again:?}");
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn more_copies_than_brokers_are_rejected_and_topics_that_exist_are_kept_meanwhile() {
    let topics = topics(2);
    let there = BTreeSet::from([topics.first().unwrap().clone()]);
    create(&there, &[("retention.ms", "5000000")]).await;
    let wish = Wish { replication: 3, ..creating(&topics) };
    let report = until(&kafka(), &wish, |report| !report.troubles.is_empty()).await;
    let reasons: Vec<_> = report.troubles.iter().map(|trouble| trouble.reason).collect();
    assert_eq!(reasons, [Reason::TopicRejected, Reason::NotSupported]);
    assert_eq!(report.topics[topics.first().unwrap()], AS_WISHED);
    assert_eq!(report.topics[topics.last().unwrap()], Seen::Absent);
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_setting_that_kafka_does_not_take_is_rejected_in_its_own_words() {
    let topics = topics(1);
    create(&topics, &[]).await;
    for settings in [[("retention.ms", "soon")], [("no.such.setting", "1")]] {
        let wish = keeping(&topics, &settings);
        let report = until(&kafka(), &wish, |report| !report.troubles.is_empty()).await;
        assert_eq!(report.troubles[0].reason, Reason::TopicRejected);
        assert!(report.troubles[0].message.contains(settings[0].0), "{:?}", report.troubles);
    }
    let new = Wish { config: config(&[("no.such.setting", "1")]), ..creating(&self::topics(1)) };
    let report = until(&kafka(), &new, |report| !report.troubles.is_empty()).await;
    assert_eq!(report.troubles[0].reason, Reason::TopicRejected);
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn what_cannot_be_written_down_is_that_topics_fault_alone() {
    let topics = topics(1);
    let odd = config(&[("retention.ms", "1\u{0}2")]);
    let refused = |error: &AdminError| matches!(error, AdminError::Settings(_));
    for result in admin().create(&topics, 1, &odd).await.unwrap().into_values() {
        assert!(result.is_err_and(|error| refused(&error)));
    }
    let changes = topics.iter().map(|topic| (topic.clone(), odd.clone())).collect();
    for result in admin().set(&changes).await.unwrap().into_values() {
        assert!(result.is_err_and(|error| refused(&error)));
    }
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn settings_of_a_topic_that_is_not_there_are_not_told() {
    let topics = topics(1);
    let names = BTreeSet::from(["retention.ms".to_owned()]);
    let told = admin().settings(&topics, &names).await.unwrap();
    assert_eq!(told.into_values().collect::<Vec<_>>(), [Err(AdminError::NoTopic)]);
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn where_nobody_listens_kafka_does_not_answer() {
    let nowhere = KafkaSettings { brokers: vec!["127.0.0.1:1".to_owned()], ..kafka() };
    let wish = creating(&topics(1));
    let report = until(&nowhere, &wish, |report| !report.troubles.is_empty()).await;
    assert_eq!(report.troubles[0].reason, Reason::KafkaUnavailable);
    assert!(!report.troubles[0].message.contains("127.0.0.1"), "{:?}", report.troubles);
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_login_that_the_listener_does_not_take_is_denied() {
    let sasl = Sasl { mechanism: SaslMechanism::ScramSha512, user: "im".to_owned(), password: "tiger".to_owned() };
    let login = KafkaSettings { sasl: Some(sasl), ..kafka() };
    let report = until(&login, &creating(&topics(1)), |report| !report.troubles.is_empty()).await;
    assert_eq!(report.troubles[0].reason, Reason::KafkaDenied);
    assert!(report.troubles[0].message.contains("spec.kafka.sasl"), "{:?}", report.troubles);
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn a_listener_that_speaks_no_tls_is_denied() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = vec![listener.local_addr().unwrap().to_string()];
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            caller.write_all(b"220 this is the post office\r\n").await.ok();
        }
    });
    let tls = KafkaSettings { brokers, tls: Some(Tls { ca: None, identity: None }), sasl: None };
    let report = until(&tls, &creating(&topics(1)), |report| !report.troubles.is_empty()).await;
    assert_eq!(report.troubles[0].reason, Reason::KafkaDenied);
    assert!(report.troubles[0].message.contains("spec.kafka.tls"), "{:?}", report.troubles);
}
