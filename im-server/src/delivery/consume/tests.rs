//! The consumer with a scripted topic and counters for sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use im_protocol::close::CloseReason;
use im_protocol::record::Record;
use im_protocol::server::{Answer, GoAway};
use im_protocol::{ConnectionId, DeviceId, Epoch, ServerId, Terminal, TimeMs, UserId};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::hub::Sink;
use crate::store::SessionId;
use crate::store::sqlite::SqliteStore;

const EPOCH: Epoch = Epoch(7);

struct Counter(Arc<AtomicUsize>);

impl Sink for Counter {
    fn enqueue(&self, _: &SharedFrame) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
    fn flush(&self) {}
    fn close(&self, _: CloseReason) {}
    fn send_away(&self, _: GoAway) {}
    fn check(&self, _: TimeMs) {}
    fn queued(&self) -> usize {
        0
    }
    fn session(&self) -> SessionId {
        SessionId("s".into())
    }
}

struct Script(mpsc::Receiver<Delivery>);

#[async_trait]
impl Subscription for Script {
    async fn next(&mut self, into: &mut Vec<Delivery>, max: usize) -> bool {
        self.0.recv_many(into, max).await > 0
    }
}

struct Rig {
    topic: mpsc::Sender<Delivery>,
    /// Frames queued at all connections together.
    queued: Arc<AtomicUsize>,
    consumed: JoinHandle<Ended>,
    _data: TempDir,
}

impl Rig {
    /// A consumer of a hub with `connections`, all of one user each.
    async fn new(connections: u64) -> Self {
        let data = TempDir::new().unwrap();
        let store = SqliteStore::open(&data.path().join("im.sqlite")).await.unwrap();
        let (hub, _interest, _begun) = Hub::new(ServerId(3), EPOCH);
        let queued = Arc::new(AtomicUsize::new(0));
        for id in 0..connections {
            hub.attach(&Arc::new(Connection {
                id: ConnectionId(id),
                user: user(id),
                terminal: Terminal::Web,
                device: DeviceId::parse("d").unwrap(),
                since: 0,
                sink: Arc::new(Counter(queued.clone())),
            }));
        }
        let (topic, script) = mpsc::channel(16);
        let consumed = tokio::spawn(consume(hub, Arc::new(store), Box::new(Script(script))));
        Self { topic, queued, consumed, _data: data }
    }

    async fn push(&self, epoch: Epoch, to: u64) {
        let audience = Audience::Users { users: vec![user(to)], except: None };
        let frame = Frame::encode(&ServerFrame::Ok(Answer { id: None }));
        let payload = Payload::Push(Push { audience, frame, about: None });
        let record = Record { epoch, from: ServerId(0), payload, trace: None };
        self.topic.send(Delivery::Record(Arc::new(record))).await.unwrap();
    }

    fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    async fn until(&self, at_least: usize) {
        let began = Instant::now();
        while self.queued() < at_least {
            assert!(began.elapsed() < Duration::from_secs(20), "{} of {at_least}", self.queued());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

#[tokio::test]
async fn a_record_for_an_earlier_holder_of_the_server_id_is_dropped() {
    let rig = Rig::new(1).await;
    rig.push(Epoch(EPOCH.0 - 1), 0).await;
    rig.push(EPOCH, 0).await;
    rig.until(1).await;
    drop(rig.topic);
    assert_eq!(rig.consumed.await.unwrap(), Ended::Closed);
    assert_eq!(rig.queued.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_record_for_a_later_holder_of_the_server_id_ends_this_one() {
    let rig = Rig::new(1).await;
    rig.push(Epoch(EPOCH.0 + 1), 0).await;
    assert_eq!(rig.consumed.await.unwrap(), Ended::Fenced);
    assert_eq!(rig.queued.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn after_a_gap_connections_are_told_a_few_at_a_time_and_records_go_on() {
    let rig = Rig::new(1_000).await;
    rig.topic.send(Delivery::Gap).await.unwrap();
    rig.until(1).await;
    assert!(rig.queued() < 100, "{} were told at once", rig.queued());
    let told = rig.queued();
    rig.push(EPOCH, 0).await;
    rig.until(told + 1).await;
    assert!(rig.queued() < 100, "the record did not wait for the others");
}
