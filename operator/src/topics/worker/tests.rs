//! The worker on a Kafka in memory. Time is tokio's: a minute passes as soon as nobody has anything to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use imcluster_crds::conditions::Reason;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{Confirm, KafkaTopics};
use crate::leader::Writing;
use crate::topics::admin::AdminError;
use crate::topics::model::{ModelKafka, Mood, Topic};
use crate::topics::{KafkaSettings, Report, Seen, Topics, Wish};
use crate::wake::Wake;

const PATIENCE: Duration = Duration::from_hours(1);

/// A lease that a test holds or not.
struct Lease(AtomicBool);

#[async_trait::async_trait]
impl Writing for Lease {
    fn left(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).then_some(Duration::from_secs(10))
    }
}

/// Who says which topics may go.
struct Say(Mutex<BTreeSet<String>>, AtomicUsize);

#[async_trait::async_trait]
impl Confirm for Say {
    async fn may_delete(&self, cluster: &str, _: &BTreeSet<String>) -> BTreeSet<String> {
        assert_eq!(cluster, "chat");
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.lock().clone()
    }
}

struct World {
    kafka: Arc<ModelKafka>,
    lease: Arc<Lease>,
    say: Arc<Say>,
    connected: Arc<AtomicUsize>,
    topics: KafkaTopics,
    changes: Wake,
}

impl World {
    fn new() -> Self {
        let kafka = Arc::new(ModelKafka::new());
        let lease = Arc::new(Lease(AtomicBool::new(true)));
        let say = Arc::new(Say(Mutex::default(), AtomicUsize::new(0)));
        let connected = Arc::new(AtomicUsize::new(0));
        let (to, count) = (Arc::clone(&kafka), Arc::clone(&connected));
        let connect = move |_: &KafkaSettings| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Arc::clone(&to) as Arc<_>)
        };
        let changes = Wake::default();
        let (writing, confirm) = (Arc::clone(&lease) as Arc<_>, Arc::clone(&say) as Arc<_>);
        let topics = KafkaTopics::new(Arc::new(connect), writing, confirm, changes.clone());
        Self { kafka, lease, say, connected, topics, changes }
    }

    /// The report about a wish, once there is one.
    async fn report(&self, wish: &Wish) -> Arc<Report> {
        self.report_that(wish, |_| true).await
    }

    async fn report_that(&self, wish: &Wish, what: impl Fn(&Report) -> bool) -> Arc<Report> {
        loop {
            let report = self.topics.wish("chat", &kafka(), wish.clone());
            if let Some(report) = report.filter(|report| report.wish == *wish && what(report)) {
                return report;
            }
            timeout(PATIENCE, self.changes.next()).await.expect("the report changes");
        }
    }

    /// Nothing is reported for so long, while whoever has something to do does it.
    async fn nothing_changes_for(&self, long: Duration) {
        assert_eq!(timeout(long, self.changes.next()).await.ok(), None);
    }

    fn has(&self, topic: &str) -> bool {
        self.kafka.model.lock().topics.contains_key(topic)
    }

    fn put(&self, topic: &str, retention: &str) {
        let config = BTreeMap::from([("retention.ms".to_owned(), retention.to_owned())]);
        let topic_there = Topic { partitions: 1, replication: 3, config };
        self.kafka.model.lock().topics.insert(topic.to_owned(), topic_there);
    }

    fn retention(&self, topic: &str) -> String {
        self.kafka.model.lock().topics[topic].config["retention.ms"].clone()
    }

    fn mood(&self, mood: Mood) {
        *self.kafka.mood.lock() = mood;
    }
}

fn kafka() -> KafkaSettings {
    KafkaSettings { brokers: vec!["kafka.im.svc:9092".to_owned()], tls: None, sasl: None }
}

fn names(ids: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
    ids.into_iter().map(|id| format!("im.{id}")).collect()
}

fn watching(ids: impl IntoIterator<Item = u16>) -> Wish {
    let config = BTreeMap::from([("retention.ms".to_owned(), "600000".to_owned())]);
    Wish { watch: names(ids), config, replication: 3, ..Wish::default() }
}

fn creating(ids: impl IntoIterator<Item = u16> + Clone) -> Wish {
    Wish { create: names(ids.clone()), ..watching(ids) }
}

fn deleting(ids: impl IntoIterator<Item = u16> + Clone) -> Wish {
    Wish { delete: names(ids.clone()), ..watching(ids) }
}

const AS_WISHED: Seen = Seen::Present { as_wished: true };

fn reasons(report: &Arc<Report>) -> Vec<Reason> {
    report.troubles.iter().map(|trouble| trouble.reason).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_only_watched_is_looked_at_and_reported() {
    let world = World::new();
    world.put("im.0", "600000");
    assert_eq!(world.topics.wish("chat", &kafka(), watching(0..2)), None);
    let report = world.report(&watching(0..2)).await;
    assert_eq!(report.topics["im.0"], AS_WISHED);
    assert_eq!(report.topics["im.1"], Seen::Absent);
    assert_eq!(report.troubles, []);
    assert!(!world.has("im.1"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_topics_are_made_in_one_call_and_seen_at_once() {
    let world = World::new();
    let wish = creating(0..100);
    let report = world.report(&wish).await;
    assert!(report.topics.values().all(|&seen| seen == AS_WISHED));
    assert_eq!(report.topics.len(), 100);
    assert_eq!(world.kafka.count("create"), 1);
    assert_eq!(world.retention("im.99"), "600000");
}

#[tokio::test(start_paused = true)]
async fn a_standby_looks_and_writes_only_once_it_leads() {
    let world = World::new();
    world.put("im.1", "5");
    world.put("im.2", "600000");
    world.lease.0.store(false, Ordering::Relaxed);
    *world.say.0.lock() = names([2]);
    let wish = Wish { create: names([0]), delete: names([2]), ..watching(0..3) };
    let report = world.report(&wish).await;
    assert_eq!(report.topics["im.0"], Seen::Absent);
    assert_eq!(report.topics["im.1"], Seen::Present { as_wished: false });
    world.nothing_changes_for(Duration::from_mins(1)).await;
    for write in ["create", "set", "delete"] {
        assert_eq!(world.kafka.count(write), 0, "{write}");
    }
    world.lease.0.store(true, Ordering::Relaxed);
    let leads = Instant::now();
    world.report_that(&wish, |report| report.topics["im.0"] == AS_WISHED).await;
    assert!(leads.elapsed() <= Duration::from_secs(2), "{:?}", leads.elapsed());
    assert_eq!(world.retention("im.1"), "600000");
    assert!(!world.has("im.2"));
}

#[tokio::test(start_paused = true)]
async fn a_standby_asks_nobody_whether_a_topic_may_go() {
    let world = World::new();
    world.put("im.0", "600000");
    world.lease.0.store(false, Ordering::Relaxed);
    *world.say.0.lock() = names([0]);
    let report = world.report(&deleting([0])).await;
    assert!(matches!(report.topics["im.0"], Seen::Present { .. }));
    assert_eq!(world.say.1.load(Ordering::Relaxed), 0);
    assert!(world.has("im.0"));
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_deleted_only_when_the_last_word_is_yes_and_then_reported_absent() {
    let world = World::new();
    for id in 0..3 {
        world.put(&format!("im.{id}"), "600000");
    }
    *world.say.0.lock() = names([1, 2]);
    let wish = Wish { watch: names(0..3), ..deleting(0..2) };
    let report = world.report(&wish).await;
    assert_eq!(report.topics["im.1"], Seen::Absent);
    assert!(world.has("im.0"), "nobody has confirmed it");
    assert!(world.has("im.2"), "it was confirmed, but not asked for");
    assert_eq!(report.troubles, []);
    *world.say.0.lock() = names([0]);
    world.report_that(&wish, |report| report.topics["im.0"] == Seen::Absent).await;
    assert!(!world.has("im.0"));
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_of_a_topic_does_not_hold_for_a_wish_that_does_something_else_with_it() {
    let world = World::new();
    *world.say.0.lock() = names(0..1);
    let delete = Wish { watch: names(0..2), ..deleting(0..1) };
    assert_eq!(world.report(&delete).await.topics["im.0"], Seen::Absent);
    for wish in [creating(0..2), delete] {
        let report = world.topics.wish("chat", &kafka(), wish).expect("it was looked at");
        assert!(!report.topics.contains_key("im.0"), "it may have been made, or deleted");
    }
}

#[tokio::test(start_paused = true)]
async fn nor_does_what_is_seen_for_a_wish_that_was_replaced_meanwhile_when_it_returns() {
    let world = World::new();
    world.mood(Mood::Slow(Duration::from_secs(1)));
    let delete = Wish { watch: names(0..2), ..deleting(0..1) };
    world.topics.wish("chat", &kafka(), delete.clone());
    while world.kafka.count("topics") == 0 {
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(world.topics.wish("chat", &kafka(), creating(0..2)), None);
    timeout(PATIENCE, world.changes.next()).await.expect("the round for the first wish ends");
    let report = world.topics.wish("chat", &kafka(), delete).expect("it was looked at");
    assert_eq!(report.topics, BTreeMap::new(), "neither is used as it was: the other wish makes both");
}

#[tokio::test(start_paused = true)]
async fn a_drift_is_repaired_by_the_audit_within_ten_minutes_more_or_less() {
    let world = World::new();
    let wish = creating([0]);
    world.report(&wish).await;
    world.kafka.model.lock().topics.get_mut("im.0").unwrap().config.insert("foreign".to_owned(), "1".to_owned());
    world.put("im.0", "5");
    world.kafka.model.lock().topics.get_mut("im.0").unwrap().config.insert("foreign".to_owned(), "1".to_owned());
    world.nothing_changes_for(Duration::from_secs(479)).await;
    assert_eq!(world.retention("im.0"), "5");
    world.nothing_changes_for(Duration::from_secs(242)).await;
    assert_eq!(world.retention("im.0"), "600000");
    assert_eq!(world.kafka.model.lock().topics["im.0"].config["foreign"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_vanished_under_a_serving_id_is_made_again() {
    let world = World::new();
    let wish = creating([0, 1]);
    world.report(&wish).await;
    world.kafka.model.lock().topics.remove("im.1");
    let told = world.report_that(&wish, |report| report.made == names([1]));
    timeout(Duration::from_secs(721), told).await.expect("the audit makes it, and tells so");
    assert!(world.has("im.1"));
    world.nothing_changes_for(Duration::from_mins(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_somebody_else_has_to_make_is_soon_found() {
    let world = World::new();
    world.report(&watching([0])).await;
    world.put("im.0", "600000");
    let wish = watching([0]);
    let found = world.report_that(&wish, |report| report.topics["im.0"] == AS_WISHED);
    timeout(Duration::from_secs(3), found).await.expect("it was looked for again");
}

#[tokio::test(start_paused = true)]
async fn a_kafka_that_is_down_is_asked_ever_more_seldom_and_is_found_when_it_is_back() {
    let world = World::new();
    world.mood(Mood::Refusing(AdminError::Unavailable));
    let wish = creating([0]);
    let report = world.report(&wish).await;
    assert_eq!(reasons(&report), [Reason::KafkaUnavailable]);
    assert_eq!(report.topics, BTreeMap::new());
    world.nothing_changes_for(Duration::from_mins(10)).await;
    let asked: Vec<Instant> = world.kafka.calls.lock().iter().map(|(_, at)| *at).collect();
    let waits: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] >= Duration::from_millis(1600) && waits[0] <= Duration::from_secs(3), "{waits:?}");
    assert!(*waits.last().unwrap() >= Duration::from_secs(48), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(73)), "{waits:?}");
    assert_eq!(world.connected.load(Ordering::Relaxed), asked.len(), "each try has new connections");
    world.mood(Mood::Well);
    let back = world.report_that(&wish, |report| report.troubles.is_empty()).await;
    assert_eq!(back.topics["im.0"], AS_WISHED);
}

#[tokio::test(start_paused = true)]
async fn while_kafka_is_down_a_new_wish_hears_of_it_at_once_and_kafka_is_not_asked() {
    let world = World::new();
    let wish = creating([0]);
    world.report(&wish).await;
    world.mood(Mood::Refusing(AdminError::Unavailable));
    world.report_that(&creating([0, 1]), |report| !report.troubles.is_empty()).await;
    let asked = world.kafka.calls.lock().len();
    let began = Instant::now();
    let report = world.report(&creating([0, 1, 2])).await;
    assert_eq!(reasons(&report), [Reason::KafkaUnavailable]);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(world.kafka.calls.lock().len(), asked);
    assert_eq!(report.topics, BTreeMap::from([("im.0".to_owned(), AS_WISHED)]), "what was seen before is still told");
}

#[tokio::test(start_paused = true)]
async fn a_kafka_that_says_nothing_does_not_answer_within_seconds() {
    let world = World::new();
    world.mood(Mood::Silent);
    let began = Instant::now();
    let report = world.report(&creating([0])).await;
    assert_eq!(reasons(&report), [Reason::KafkaUnavailable]);
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_a_write_without_an_answer_has_done_is_unknown_until_the_next_look() {
    let world = World::new();
    for id in 2..4 {
        world.put(&format!("im.{id}"), "600000");
    }
    world.mood(Mood::Deaf);
    let wish = creating(0..2);
    let report = world.report(&Wish { watch: names(0..3), ..wish.clone() }).await;
    assert_eq!(report.topics, BTreeMap::from([("im.2".to_owned(), AS_WISHED)]));
    assert_eq!(reasons(&report), [Reason::KafkaUnavailable]);
    let report = world.report_that(&wish, |report| report.troubles.is_empty()).await;
    assert_eq!(report.topics["im.0"], AS_WISHED);
    assert_eq!(world.kafka.count("create"), 1, "they were there already");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_kafka_refuses_is_denied() {
    let world = World::new();
    world.mood(Mood::Refusing(AdminError::Login));
    assert_eq!(reasons(&world.report(&creating([0])).await), [Reason::KafkaDenied]);
}

#[tokio::test(start_paused = true)]
async fn one_topic_that_is_refused_holds_up_no_other_and_is_tried_again() {
    let world = World::new();
    world.kafka.model.lock().closed = names([1]);
    let wish = creating(0..3);
    let report = world.report(&wish).await;
    assert_eq!(reasons(&report), [Reason::KafkaDenied]);
    assert_eq!(report.topics["im.0"], AS_WISHED);
    assert_eq!(report.topics["im.1"], Seen::Absent);
    assert_eq!(report.topics["im.2"], AS_WISHED);
    world.kafka.model.lock().closed.clear();
    let began = Instant::now();
    world.report_that(&wish, |report| report.troubles.is_empty()).await;
    assert!(began.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn more_copies_than_brokers_are_rejected() {
    let world = World::new();
    world.kafka.model.lock().brokers = 1;
    assert_eq!(reasons(&world.report(&creating([0])).await), [Reason::TopicRejected]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_kafka_has_but_does_not_show_is_denied() {
    let world = World::new();
    world.put("im.0", "600000");
    world.kafka.model.lock().hidden = names([0]);
    let report = world.report(&creating([0])).await;
    assert_eq!(reasons(&report), [Reason::KafkaDenied]);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_told_when_it_is_another_and_only_then() {
    let world = World::new();
    let wish = creating([0]);
    world.report(&wish).await;
    while world.changes.next().now_or_never().is_some() {}
    world.topics.wish("chat", &kafka(), wish.clone());
    world.nothing_changes_for(Duration::from_mins(50)).await;
    assert!(world.kafka.count("topics") >= 4, "it was looked at");
    world.kafka.model.lock().topics.get_mut("im.0").unwrap().partitions = 2;
    assert_eq!(timeout(PATIENCE, world.changes.next()).await, Ok("chat".to_owned()));
    let report = world.topics.wish("chat", &kafka(), wish).unwrap();
    assert_eq!(reasons(&report), [Reason::NotSupported]);
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_was_replaced_is_not_carried_out_any_more() {
    let world = World::new();
    world.mood(Mood::Slow(Duration::from_secs(1)));
    world.topics.wish("chat", &kafka(), creating([0]));
    while world.kafka.count("topics") == 0 {
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let report = world.report(&watching([0])).await;
    assert_eq!(report.topics["im.0"], Seen::Absent);
    assert_eq!(world.kafka.count("create"), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_reaches_a_kafka_in_the_same_way_shares_a_client() {
    let world = World::new();
    world.topics.wish("other", &kafka(), watching([7]));
    world.report(&watching([0])).await;
    while world.topics.wish("other", &kafka(), watching([7])).is_none() {
        world.changes.next().await;
    }
    assert_eq!(world.connected.load(Ordering::Relaxed), 1);
    let elsewhere = KafkaSettings { brokers: vec!["elsewhere:9092".to_owned()], ..kafka() };
    world.topics.wish("third", &elsewhere, watching([7]));
    while world.topics.wish("third", &elsewhere, watching([7])).is_none() {
        world.changes.next().await;
    }
    assert_eq!(world.connected.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn the_task_of_a_kafka_that_nobody_wishes_anything_of_ends_and_begins_anew() {
    let world = World::new();
    world.report(&watching([0])).await;
    assert_eq!(world.topics.tasks.len(), 1);
    world.topics.forget("chat");
    let gone = async {
        while !world.topics.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the task ends");
    assert_eq!(Arc::strong_count(&world.kafka), 2, "the client is gone: the test and the connector are left");
    assert_eq!(world.topics.wish("chat", &kafka(), watching([0])), None, "nothing is remembered");
    world.report(&watching([0])).await;
    assert_eq!(world.connected.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn another_login_keeps_what_was_seen_and_another_kafka_does_not() {
    let world = World::new();
    let wish = creating([0]);
    let report = world.report(&wish).await;
    let tls = Some(crate::topics::Tls { ca: None, identity: None });
    let rotated = KafkaSettings { tls, ..kafka() };
    assert_eq!(world.topics.wish("chat", &rotated, wish.clone()).unwrap().topics, report.topics);
    let elsewhere = KafkaSettings { brokers: vec!["elsewhere:9092".to_owned()], ..kafka() };
    assert_eq!(world.topics.wish("chat", &elsewhere, wish), None);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_the_write_that_is_under_way() {
    let world = World::new();
    world.report(&watching([0])).await;
    world.mood(Mood::Slow(Duration::from_secs(1)));
    world.topics.wish("chat", &kafka(), creating(0..200));
    while world.kafka.count("create") == 0 {
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    timeout(PATIENCE, world.topics.close()).await.expect("it ends");
    assert_eq!(world.kafka.model.lock().topics.len(), 100, "the call that was under way, and none after it");
    assert!(world.topics.tasks.is_empty());
}
