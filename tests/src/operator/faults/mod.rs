//! Faults between an operator and what it talks to: the API server and Kafka. Every write is written down, and a test says what
//! becomes of each, and of the events of watches.
//!
//! [`api`] stands before the API server and [`kafka`] before Kafka; both ask the [`Life`] of their operator, which may end in
//! the middle of a write. [`guard`] looks at what cannot be undone, before it is done.

mod api;
mod guard;
mod kafka;
mod watches;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imcluster_operator::leader::Writing;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub(super) use self::guard::Guard;
use super::writes::{Write, Writes};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing happens to it.
    Lands,
    /// The operator dies.
    Dies(Side),
    /// It is not made, and answered by this status of HTTP; Kafka says that it fails.
    Refused(u16),
    /// It is never answered.
    Hangs(Side),
}

/// On which side of a write something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before it lands: it never does.
    Before,
    /// After it landed: the answer is lost.
    After,
}

/// How an event of a watch arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As it should.
    Once,
    /// And then once more.
    Twice,
    /// So much later; those after it wait for it.
    Late(Duration),
    /// Not at all. As API servers do, the watch ends then and says that something is missing: 410.
    Lost,
}

type OfWrites = dyn Fn(&Write, usize) -> Fate + Send + Sync;
type OfWatches = dyn Fn(&str, usize) -> Delivery + Send + Sync;

/// What goes wrong in a test, for one operator after the other, and what they wrote.
#[derive(Default)]
pub struct Faults {
    of_writes: Option<Box<OfWrites>>,
    of_watches: Option<Box<OfWatches>>,
    stage: AtomicUsize,
    /// Events so far, by the resource that was watched.
    events: Mutex<HashMap<String, usize>>,
    writes: Writes,
    wrong: Mutex<Vec<String>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("stage", &self.stage).field("wrong", &self.wrong).finish_non_exhaustive()
    }
}

impl Faults {
    /// Every write is asked about, with the stage that it comes in.
    pub fn of_writes(fate: impl Fn(&Write, usize) -> Fate + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { of_writes: Some(Box::new(fate)), ..Self::default() })
    }

    /// Every event of a watch is asked about: of which resource, and the how many-th.
    pub fn of_watches(delivery: impl Fn(&str, usize) -> Delivery + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { of_watches: Some(Box::new(delivery)), ..Self::default() })
    }

    /// What comes from now on belongs to this stage of the test. The first is 0.
    pub fn begin(&self, stage: usize) {
        self.stage.store(stage, Ordering::Relaxed);
    }

    /// All that was written.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }

    /// What was done too early of what cannot be undone: a topic deleted whose pod lives, a pod taken away that is not drained,
    /// a finalizer removed before the topics. Only noted, since there are tests in which it is right.
    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().clone()
    }

    fn stage(&self) -> usize {
        self.stage.load(Ordering::Relaxed)
    }

    fn fate(&self, write: &Write) -> Fate {
        self.of_writes.as_ref().map_or(Fate::Lands, |fate| fate(write, self.stage()))
    }

    fn delivery(&self, resource: &str) -> Delivery {
        let Some(delivery) = &self.of_watches else { return Delivery::Once };
        let number = {
            let mut events = self.events.lock();
            let number = events.entry(resource.to_owned()).or_default();
            *number += 1;
            *number
        };
        delivery(resource, number)
    }
}

/// The life of one operator. Whatever it calls once it is dead is never answered, and it may not write.
pub(super) struct Life {
    faults: Arc<Faults>,
    namespace: String,
    guard: Option<Guard>,
    dead: CancellationToken,
    cut: CancellationToken,
}

impl Life {
    /// Of one that looks after a namespace.
    pub(super) fn new(faults: Arc<Faults>, namespace: &str, guard: Option<Guard>) -> Arc<Self> {
        let (dead, cut) = (CancellationToken::new(), CancellationToken::new());
        Arc::new(Self { faults, namespace: namespace.to_owned(), guard, dead, cut })
    }

    /// It ends here.
    pub(super) fn end(&self) {
        self.dead.cancel();
    }

    /// Returns when it is dead.
    pub(super) async fn ended(&self) {
        self.dead.cancelled().await;
    }

    /// From now on nothing about the lease is answered.
    pub(super) fn cut_off_from_the_lease(&self) {
        self.cut.cancel();
    }

    /// Does not return while it is dead.
    async fn lives(&self) {
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }

    /// Makes a write, as far as its fate lets it; `Err` is the status by which it is refused.
    async fn write<T>(&self, write: Write, landing: impl Future<Output = T>) -> Result<T, u16> {
        let fate = self.faults.fate(&write);
        let place = self.faults.writes.begin(write, self.faults.stage());
        match fate {
            Fate::Refused(status) => return Err(status),
            Fate::Dies(Side::Before) => self.dies().await,
            Fate::Hangs(Side::Before) => std::future::pending().await,
            Fate::Lands | Fate::Dies(Side::After) | Fate::Hangs(Side::After) => {}
        }
        let answer = landing.await;
        self.faults.writes.end(place);
        match fate {
            Fate::Dies(_) => self.dies().await,
            Fate::Hangs(_) => std::future::pending().await,
            Fate::Lands | Fate::Refused(_) => Ok(answer),
        }
    }

    async fn dies<T>(&self) -> T {
        self.end();
        std::future::pending().await
    }

    fn note(&self, wrong: Option<String>) {
        self.faults.wrong.lock().extend(wrong);
    }
}

/// The right to write of an operator that has no other beside it.
pub(super) struct Alone(pub(super) Arc<Life>);

impl Writing for Alone {
    fn left(&self) -> Option<Duration> {
        (!self.0.dead.is_cancelled()).then_some(Duration::from_mins(1))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn life(fate: Fate) -> Arc<Life> {
        Life::new(Faults::of_writes(move |_, _| fate), "im", None)
    }

    /// The answer to a write, and whether it landed.
    fn written(life: &Life) -> (Option<Result<u8, u16>>, bool) {
        let mut landed = false;
        let landing = async {
            landed = true;
            7
        };
        let answer = life.write(Write::of_topics("create", "im"), landing).now_or_never();
        (answer, landed)
    }

    #[test]
    fn a_write_has_its_fate() {
        for (fate, expected) in [
            (Fate::Lands, (Some(Ok(7)), true)),
            (Fate::Refused(409), (Some(Err(409)), false)),
            (Fate::Hangs(Side::Before), (None, false)),
            (Fate::Hangs(Side::After), (None, true)),
            (Fate::Dies(Side::Before), (None, false)),
            (Fate::Dies(Side::After), (None, true)),
        ] {
            let life = life(fate);
            assert_eq!(written(&life), expected, "{fate:?}");
            let dead = matches!(fate, Fate::Dies(_));
            assert_eq!(life.ended().now_or_never().is_some(), dead, "{fate:?}");
            assert_eq!(Alone(life.clone()).left().is_none(), dead, "{fate:?}");
            let [written] = life.faults.writes.all().try_into().unwrap();
            assert_eq!(written.ended.is_some(), expected.1, "{fate:?}");
        }
    }

    #[test]
    fn events_are_numbered_by_what_is_watched() {
        let faults =
            Faults::of_watches(
                |resource, number| {
                    if (resource, number) == ("pods", 2) { Delivery::Lost } else { Delivery::Once }
                },
            );
        let seen = ["pods", "secrets", "pods", "pods"].map(|resource| faults.delivery(resource));
        assert_eq!(seen, [Delivery::Once, Delivery::Once, Delivery::Lost, Delivery::Once]);
    }
}
