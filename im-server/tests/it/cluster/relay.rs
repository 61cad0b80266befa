//! The relay: in order whatever the bus does, with few statements, and nothing left behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use im_protocol::record::{About, Payload};
use im_protocol::{ConversationId, Epoch, ServerId, TimeMs, UserId};
use im_sdk::bus::{Bus, BusError, Outgoing, Subscription};
use im_sdk::registry::{MemoryRegistry, Registry, Server};
use im_sdk::router::Router;
use im_server::chat::Publish;
use im_server::delivery::push::Wanted;
use im_server::delivery::{self, Publisher, Relay, RelayConfig, RelayParts};
use im_server::store::sqlite::SqliteStore;
use im_server::store::{Committed, Holder, OutboxId, Outcome, PushItem};
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::store::world::{Db, group, people, text};
use crate::wait::until;

/// Longer than any test.
const LONG: i64 = 600_000;

fn now() -> TimeMs {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A bus that keeps what it is given, and fails when it is told to.
#[derive(Default)]
struct Moody {
    records: Mutex<Vec<Outgoing>>,
    /// Of so many calls, every record but the first fails.
    failing: AtomicUsize,
}

#[async_trait]
impl Bus for Moody {
    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<(), BusError>> {
        let fails = self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        let (mut kept, mut acks) = (self.records.lock(), Vec::new());
        for (n, record) in records.into_iter().enumerate() {
            if fails && n % 3 != 0 {
                acks.push(Err(BusError::Unavailable("moody".into())));
            } else {
                kept.push(record);
                acks.push(Ok(()));
            }
        }
        acks
    }
    async fn subscribe(&self, server: ServerId) -> Result<Box<dyn Subscription>, BusError> {
        Err(BusError::NoTopic(server))
    }
}

impl Moody {
    /// What clients are told, in order: the kind of frame and what it is about.
    fn told(&self) -> Vec<(String, About)> {
        let records = self.records.lock();
        let told = records.iter().filter_map(|outgoing| {
            let Payload::Push(push) = &outgoing.record.payload else { return None };
            let frame: serde_json::Value = serde_json::from_slice(push.frame.bytes()).unwrap();
            Some((frame["type"].as_str().unwrap().to_owned(), push.about.clone()?))
        });
        told.collect()
    }

    /// How often each message of a conversation was published, and the place of its last time.
    fn last(&self, conversation: &ConversationId) -> HashMap<u64, usize> {
        let told = self.told();
        told.iter()
            .enumerate()
            .filter(|(_, (_, about))| about.conversation == *conversation)
            .map(|(at, (_, about))| (about.head, at))
            .collect()
    }
}

/// A relay over a store, a bus and a registry where the two members of a group are connected to server 1.
struct Stage {
    store: Db,
    bus: Arc<Moody>,
    holder: Holder,
    publisher: Publisher,
    tea: ConversationId,
    alice: UserId,
    relay: Option<(RelayParts, delivery::Queue)>,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new(may_judge: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Db = Arc::new(SqliteStore::open(&folder.path().join("im.db")).await.unwrap());
        let [alice, bob] = people(&store, ["alice", "bob"]).await;
        let tea = group(&store, "tea", &alice, &[&bob]).await;
        // Making the group left a row.
        let made =
            store.waiting(Holder { server: ServerId(0), epoch: Epoch(0) }, OutboxId(0), now(), 10).await.unwrap();
        store.forget(&made.iter().map(|row| row.id).collect::<Vec<_>>(), &[]).await.unwrap();
        let epoch = store.take_epoch(ServerId(1), "", LONG).await.unwrap();
        let holder = Holder { server: ServerId(1), epoch };
        store.write_as(holder);
        let registry = Arc::new(MemoryRegistry::new());
        let marker = registry.marker().await.unwrap();
        // Whoever has announced nothing gets every record.
        let server = Server { epoch, live: true, serving: true, announced: None };
        assert_ne!(server.announced, Some(marker));
        registry.set_server(ServerId(1), server).await.unwrap();
        let bus = Arc::<Moody>::default();
        let router = Arc::new(Router::new(registry.clone(), bus.clone(), ServerId(1)));
        router.refresh().await.unwrap();
        let (publisher, queue) = delivery::channel();
        let parts =
            RelayParts { holder, store: store.clone(), router, registry, may_judge: Arc::new(move || may_judge) };
        let relay = Some((parts, queue));
        Self { store, bus, holder, publisher, tea, alice, relay, tasks: JoinSet::new(), _folder: folder }
    }

    fn start(&mut self) -> Arc<Relay> {
        self.start_with(None)
    }

    fn start_with(&mut self, push: Option<Wanted>) -> Arc<Relay> {
        let (parts, queue) = self.relay.take().expect("started once");
        let config = RelayConfig { sweep_every: Duration::from_millis(100), push, ..RelayConfig::default() };
        Relay::start(parts, config, queue, &mut self.tasks)
    }

    /// Commits messages in one batch.
    async fn commit(&self, count: usize, time: TimeMs) -> Committed {
        let batch = (0..count).map(|_| text(&self.tea, &self.alice, "hi")).collect();
        let (outbox, outcomes) = self.store.commit(batch, time).await.unwrap();
        let message = |outcome| match outcome {
            Outcome::Committed(message) => *message,
            other => panic!("{other:?}"),
        };
        Committed { outbox, messages: outcomes.into_iter().map(message).collect(), ..Committed::default() }
    }

    async fn is_empty(&self, of: Holder) -> bool {
        self.store.waiting(of, OutboxId(i64::MIN), TimeMs::MAX, 1).await.unwrap().is_empty()
    }
}

#[tokio::test]
async fn what_the_bus_does_not_take_is_tried_again_in_order() {
    let mut stage = Stage::new(false).await;
    stage.bus.failing.store(4, Ordering::SeqCst);
    stage.start();
    let mut head = 1;
    for _ in 0..8 {
        let committed = stage.commit(5, now()).await;
        head = committed.messages.last().unwrap().message.seq;
        stage.publisher.committed(committed);
    }
    until("every row is forgotten", async || stage.is_empty(stage.holder).await).await;
    let last = stage.bus.last(&stage.tea);
    let places: Vec<_> = (2..=head).map(|seq| last[&seq]).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(stage.bus.told().iter().all(|(kind, _)| kind == "message"));
}

/// How many statements with such a name the relay has made, by its metrics.
fn statements(metrics: &str, name: &str) -> f64 {
    let start = format!("im_relay_statements_total{{statement=\"{name}");
    let counts = metrics.lines().filter(|line| line.starts_with(&start));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn under_load_a_message_costs_the_relay_less_than_a_tenth_of_a_statement() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let mut stage = Stage::new(true).await;
    stage.start();
    let messages = 2_000;
    for _ in 0..messages / 20 {
        let committed = stage.commit(20, now()).await;
        stage.publisher.committed(committed);
    }
    until("every row is forgotten", async || stage.is_empty(stage.holder).await).await;
    assert_eq!(stage.bus.last(&stage.tea).len(), messages);
    let shown = metrics.render();
    let statements = statements(&shown, "");
    assert!(statements > 0.0 && statements <= 200.0, "{statements}\n{shown}");
}

#[tokio::test]
async fn rows_of_a_dead_server_are_published_once_this_one_may_judge() {
    for may_judge in [false, true] {
        let mut stage = Stage::new(may_judge).await;
        let epoch = stage.store.take_epoch(ServerId(5), "", 0).await.unwrap();
        let dead = Holder { server: ServerId(5), epoch };
        stage.store.write_as(dead);
        let seq = stage.commit(1, now()).await.messages[0].message.seq;
        stage.store.write_as(stage.holder);
        stage.start();
        if may_judge {
            until("it is published", async || stage.bus.last(&stage.tea).contains_key(&seq)).await;
            until("it is forgotten", async || stage.is_empty(dead).await && stage.is_empty(stage.holder).await).await;
        } else {
            tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
            assert!(!stage.is_empty(dead).await && stage.bus.told().is_empty());
        }
    }
}

#[tokio::test]
async fn what_the_process_before_left_under_the_same_id_is_published_without_judging_anybody() {
    let mut stage = Stage::new(false).await;
    let seq = stage.commit(1, now()).await.messages[0].message.seq;
    let before = stage.holder;
    let epoch = stage.store.take_epoch(ServerId(1), "", LONG).await.unwrap();
    stage.holder = Holder { server: ServerId(1), epoch };
    stage.relay.as_mut().unwrap().0.holder = stage.holder;
    stage.start();
    until("it is published", async || stage.bus.last(&stage.tea).contains_key(&seq)).await;
    until("it is forgotten", async || stage.is_empty(before).await).await;
}

#[tokio::test]
async fn an_old_backlog_is_one_hint_per_conversation() {
    let mut stage = Stage::new(false).await;
    let mut head = 0;
    for minute in (1..=5).rev() {
        head = stage.commit(10, now() - minute * 60_000).await.messages[9].message.seq;
    }
    stage.start();
    until("every row is forgotten", async || stage.is_empty(stage.holder).await).await;
    let told = stage.bus.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0.as_str(), told[0].1.head), ("resync", head));
}

#[tokio::test]
async fn the_push_work_of_a_backlog_is_read_in_pages_and_stored_for_every_message() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let mut stage = Stage::new(false).await;
    let mut said = Vec::new();
    for _ in 0..30 {
        said.extend(stage.commit(10, now() - 60_000).await.messages);
    }
    stage.start_with(Some(Wanted { delay_ms: 0, large_mentions_only: true }));
    until("every row is forgotten", async || stage.is_empty(stage.holder).await).await;
    let mut work = stage.store.claim_push_work(TimeMs::MAX, TimeMs::MAX, 1_000).await.unwrap();
    work.sort_by_key(|work| if let PushItem::Message(_, seq) = work.item { seq } else { 0 });
    let items: Vec<_> = work.into_iter().map(|work| work.item).collect();
    let wanted: Vec<_> = said.iter().map(|it| PushItem::Message(stage.tea.clone(), it.message.seq)).collect();
    assert_eq!(items, wanted);
    let read = statements(&metrics.render(), "committed");
    assert!((1.0..=3.0).contains(&read), "{read} statements for 30 rows");
}

#[tokio::test]
async fn a_row_that_waits_in_the_queue_is_not_taken_for_forgotten() {
    let mut stage = Stage::new(false).await;
    // Committed long enough ago for the sweep, and held in the queue that nobody reads yet.
    let committed = stage.commit(1, now() - 6_000).await;
    let seq = committed.messages[0].message.seq;
    stage.publisher.committed(committed);
    stage.start();
    until("it is published and forgotten", async || stage.is_empty(stage.holder).await).await;
    assert_eq!(stage.bus.told().iter().filter(|(_, about)| about.head == seq).count(), 1);
}
