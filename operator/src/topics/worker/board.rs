//! What is wished, and what was seen: where reconciles and tasks meet. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::until_retry;
use crate::topics::plan::{Sight, plan};
use crate::topics::trouble::Problems;
use crate::topics::{KafkaSettings, Report, Seen, Wish};

/// How often a standby with something to write looks whether it leads now. It asks nobody.
const LEASE_LOOK: Duration = Duration::from_secs(1);

/// Wishes by UID of the `ImCluster`.
pub(super) type Wishes = BTreeMap<String, Arc<Wish>>;

#[derive(Default)]
pub(super) struct Board(Mutex<State>);

#[derive(Default)]
struct State {
    kafkas: HashMap<Arc<KafkaSettings>, Kafka>,
    /// Where each `ImCluster` is found.
    of: HashMap<String, Arc<KafkaSettings>>,
}

/// A Kafka that somebody wishes something of. There is one task for it.
#[derive(Default)]
struct Kafka {
    clusters: BTreeMap<String, Cluster>,
    wake: Arc<Notify>,
}

/// A Kafka that has no task yet.
pub(super) struct NewKafka {
    pub(super) settings: Arc<KafkaSettings>,
    /// Told of every new wish, and of every one that is forgotten.
    pub(super) wake: Arc<Notify>,
}

struct Cluster {
    wish: Arc<Wish>,
    /// What was found last, for this wish or one before.
    sight: Sight,
    report: Option<Arc<Report>>,
    due: Due,
    /// Rounds in a row that left something undone.
    failures: u32,
}

/// When an `ImCluster` is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Its wish is new.
    Now,
    /// Something was left undone.
    At(Instant),
    /// There is something to write, and another operator leads.
    WhenLeading,
    /// All is well.
    WithTheAudit,
}

/// What a round ended with, for one `ImCluster`.
pub(super) struct Ended<'a> {
    pub(super) wish: &'a Arc<Wish>,
    pub(super) problems: Problems,
    pub(super) made: BTreeSet<String>,
    pub(super) auto_create: bool,
    /// `None`: as it follows from what is left.
    pub(super) due: Option<Due>,
}

/// What a task has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These are due.
    Round(Wishes),
    /// Nothing before that time.
    Wait(Instant),
    /// Nobody wishes anything of this Kafka any more, and the board has forgotten it.
    End,
}

impl Board {
    /// Sets a wish. Gives what was last seen, and the Kafka, if it is new.
    pub(super) fn wish(
        &self,
        cluster: &str,
        settings: &KafkaSettings,
        wish: Wish,
    ) -> (Option<Arc<Report>>, Option<NewKafka>) {
        let state = &mut *self.0.lock();
        let before = state.of.get(cluster).filter(|before| ***before != *settings).cloned();
        let moved = before.and_then(|before| {
            let seen = state.forget(cluster);
            // Another login for the same brokers: what was seen there is as true as before.
            seen.filter(|_| before.brokers == settings.brokers)
        });
        let found = state.kafkas.get_key_value(settings).map(|(known, _)| Arc::clone(known));
        let known = found.is_some();
        let settings = found.unwrap_or_else(|| Arc::new(settings.clone()));
        state.of.insert(cluster.to_owned(), Arc::clone(&settings));
        let kafka = state.kafkas.entry(Arc::clone(&settings)).or_default();
        let report = kafka.wish(cluster, wish, moved);
        let new = (!known).then(|| NewKafka { settings, wake: Arc::clone(&kafka.wake) });
        (report, new)
    }

    pub(super) fn forget(&self, cluster: &str) {
        self.0.lock().forget(cluster);
    }

    /// Who is due. With `audit` all are; as long as a Kafka is `shut`, nobody but those who have not heard of it.
    pub(super) fn next(&self, settings: &KafkaSettings, leads: bool, audit: Instant, shut: Option<Instant>) -> Next {
        let state = &mut *self.0.lock();
        let now = Instant::now();
        let Some(kafka) = state.kafkas.get(settings).filter(|kafka| !kafka.clusters.is_empty()) else {
            state.kafkas.remove(settings);
            return Next::End;
        };
        let shut = shut.filter(|until| now < *until);
        let is_due = |cluster: &Cluster| match cluster.due {
            Due::Now => true,
            _ if shut.is_some() => false,
            _ if now >= audit => true,
            Due::At(at) => now >= at,
            Due::WhenLeading => leads,
            Due::WithTheAudit => false,
        };
        let due = kafka.clusters.iter().filter(|(_, cluster)| is_due(cluster));
        let due: Wishes = due.map(|(name, cluster)| (name.clone(), Arc::clone(&cluster.wish))).collect();
        if !due.is_empty() {
            return Next::Round(due);
        }
        let wait = kafka.clusters.values().map(|cluster| match cluster.due {
            Due::Now => now,
            Due::At(at) => at,
            Due::WhenLeading => now + LEASE_LOOK,
            Due::WithTheAudit => audit,
        });
        Next::Wait(shut.unwrap_or_else(|| wait.min().map_or(audit, |at| at.min(audit))))
    }

    /// The wishes of a Kafka.
    pub(super) fn wishes(&self, settings: &KafkaSettings) -> Wishes {
        let state = self.0.lock();
        let clusters = state.kafkas.get(settings).into_iter().flat_map(|kafka| &kafka.clusters);
        clusters.map(|(name, cluster)| (name.clone(), Arc::clone(&cluster.wish))).collect()
    }

    /// Whether a wish still holds.
    pub(super) fn holds(&self, settings: &KafkaSettings, cluster: &str, wish: &Arc<Wish>) -> bool {
        let mut state = self.0.lock();
        state.cluster(settings, cluster).is_some_and(|cluster| cluster.wish == *wish)
    }

    /// Keeps what was found of the topics of a wish.
    pub(super) fn saw(&self, settings: &KafkaSettings, cluster: &str, sight: Sight) {
        if let Some(cluster) = self.0.lock().cluster(settings, cluster) {
            cluster.sight = sight;
        }
    }

    /// Forgets what was found of topics, until they are looked at again.
    pub(super) fn unsee(&self, settings: &KafkaSettings, cluster: &str, topics: &BTreeSet<String>) {
        if let Some(cluster) = self.0.lock().cluster(settings, cluster) {
            cluster.sight.retain(|topic, _| !topics.contains(topic));
        }
    }

    /// Writes the report, and when to look again. Whether the report is another than before.
    pub(super) fn end(&self, settings: &KafkaSettings, cluster: &str, ended: Ended<'_>) -> bool {
        let mut state = self.0.lock();
        let Some(cluster) = state.cluster(settings, cluster) else { return false };
        let left = plan(ended.wish, &cluster.sight);
        let mut problems = left.problems.clone();
        problems.extend(ended.problems);
        // Somebody else makes it, and gateways wait for it.
        let awaited = |(topic, seen): (&String, &Seen)| *seen == Seen::Absent && !ended.wish.delete.contains(topic);
        let settled = left.is_empty() && problems.is_empty() && !left.seen.iter().any(awaited);
        if cluster.wish == *ended.wish {
            cluster.failures = if settled { 0 } else { cluster.failures.saturating_add(1) };
            cluster.due = match ended.due {
                Some(due) => due,
                None if settled => Due::WithTheAudit,
                None => Due::At(Instant::now() + until_retry(cluster.failures)),
            };
        }
        let report = Report {
            wish: Wish::clone(ended.wish),
            topics: left.seen,
            made: BTreeSet::new(),
            troubles: problems.troubles(),
            auto_create: ended.auto_create,
        };
        // Another wish may have taken its place meanwhile, and this one may return.
        let report = Report { made: ended.made, ..report.under(&cluster.wish) };
        // That nothing more was made is no news.
        let same = |before: &Report| Report { made: BTreeSet::new(), ..before.clone() } == report;
        if cluster.report.as_deref().is_some_and(same) {
            return false;
        }
        cluster.report = Some(Arc::new(report));
        true
    }
}

impl State {
    fn cluster(&mut self, settings: &KafkaSettings, cluster: &str) -> Option<&mut Cluster> {
        self.kafkas.get_mut(settings)?.clusters.get_mut(cluster)
    }

    /// The task of a Kafka that nobody wishes anything of ends when it looks here next.
    fn forget(&mut self, cluster: &str) -> Option<Cluster> {
        let settings = self.of.remove(cluster)?;
        let kafka = self.kafkas.get_mut(&settings)?;
        kafka.wake.notify_one();
        kafka.clusters.remove(cluster)
    }
}

impl Kafka {
    fn wish(&mut self, cluster: &str, wish: Wish, moved: Option<Cluster>) -> Option<Arc<Report>> {
        if let Some(known) = self.clusters.get_mut(cluster) {
            if *known.wish == wish {
                return known.report.clone();
            }
            known.report = known.report.take().map(|report| under(&report, &wish));
            known.wish = Arc::new(wish);
            known.due = Due::Now;
            known.failures = 0;
            self.wake.notify_one();
            return known.report.clone();
        }
        let (sight, report) = moved.map(|moved| (moved.sight, moved.report)).unwrap_or_default();
        let report = report.map(|report| under(&report, &wish));
        let new = Cluster { wish: Arc::new(wish), sight, report: report.clone(), due: Due::Now, failures: 0 };
        self.clusters.insert(cluster.to_owned(), new);
        self.wake.notify_one();
        report
    }
}

fn under(report: &Report, wish: &Wish) -> Arc<Report> {
    Arc::new(report.clone().under(wish))
}
