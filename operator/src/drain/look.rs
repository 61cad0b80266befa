//! A situation with its questions: what the rules ask of it more than once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use imcluster_crds::{MAX_REPLICAS, ServerId, ServerPhase, ServerStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{DRAIN_MARGIN, DrainReport, GatewayPod, Situation, TOPIC_STAYS, after, gone};
use crate::topics::Seen;

pub(super) struct Look<'a> {
    situation: &'a Situation<'a>,
    recorded: BTreeMap<ServerId, &'a ServerStatus>,
}

impl<'a> Deref for Look<'a> {
    type Target = Situation<'a>;

    fn deref(&self) -> &Situation<'a> {
        self.situation
    }
}

impl<'a> Look<'a> {
    pub(super) fn new(situation: &'a Situation<'a>) -> Self {
        Self { situation, recorded: situation.recorded.iter().map(|entry| (entry.id, entry)).collect() }
    }

    /// How many gateways there should be.
    pub(super) fn target(&self) -> u16 {
        if self.deleting { 0 } else { self.wanted.min(MAX_REPLICAS) }
    }

    /// The ids that should serve.
    pub(super) fn wanted(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.target()).map(ServerId)
    }

    pub(super) fn wants(&self, id: ServerId) -> bool {
        id.0 < self.target()
    }

    /// How many pods are to be there by what was done so far. Where somebody took the `StatefulSet` away and left the pods, a new
    /// one adopts them: it must not begin with fewer.
    pub(super) fn current(&self) -> u16 {
        let adoptable = || self.pods.keys().rev().find(|id| self.pod(**id).is_some()).map_or(0, |id| id.0 + 1);
        self.live.as_ref().map_or_else(adoptable, |set| set.replicas)
    }

    /// Every id that may have a record now or after this step.
    pub(super) fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        let expected = (0..self.target().max(self.current())).map(ServerId);
        let known = self.recorded.keys().chain(self.pods.keys()).copied();
        expected.chain(known).filter(|id| id.0 < MAX_REPLICAS).collect::<BTreeSet<_>>().into_iter()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &'a ServerStatus> {
        self.recorded.values().copied()
    }

    pub(super) fn entry(&self, id: ServerId) -> Option<&'a ServerStatus> {
        self.recorded.get(&id).copied()
    }

    /// The pod of an id, unless it is taken for dead.
    pub(super) fn pod(&self, id: ServerId) -> Option<&'a GatewayPod> {
        gone::living(self.situation.pods, id, self.now)
    }

    /// An id has no pod, and gets none.
    pub(super) fn gone(&self, id: ServerId) -> bool {
        self.absent(id) && gone::settled(self.live.as_ref())
    }

    /// An id has no pod, and the `StatefulSet` asks for none.
    pub(super) fn absent(&self, id: ServerId) -> bool {
        gone::absent(self.pods, self.live.as_ref(), id, self.now)
    }

    pub(super) fn report(&self, pod: &GatewayPod) -> Option<DrainReport> {
        self.reports.get(&pod.uid).copied()
    }

    /// The name that is recorded, else the one that it would have.
    pub(super) fn topic_name(&self, id: ServerId) -> String {
        let recorded = self.entry(id).and_then(|entry| entry.topic.as_ref());
        recorded.map_or_else(|| format!("{}{id}", self.prefix), |topic| topic.name.clone())
    }

    /// Whether a topic is there; `None` if that is not known. One that was seen while it was to be deleted may be gone by now, and
    /// one that was missing while it was to be made may be there.
    pub(super) fn topic(&self, id: ServerId) -> Option<Seen> {
        let name = self.topic_name(id);
        let report = self.topics?;
        let seen = *report.topics.get(&name)?;
        let doubted = match seen {
            Seen::Present { .. } => &report.wish.delete,
            Seen::Absent => &report.wish.create,
        };
        (!doubted.contains(&name)).then_some(seen)
    }

    /// A topic was to be deleted, and is not there: whatever was asked of it before is over.
    pub(super) fn topic_was_deleted(&self, id: ServerId) -> bool {
        let name = self.topic_name(id);
        self.topics
            .is_some_and(|report| report.wish.delete.contains(&name) && report.topics.get(&name) == Some(&Seen::Absent))
    }

    /// Until when the topic of an id stays; `None` while a pod may be there.
    pub(super) fn topic_stays_until(&self, id: ServerId) -> Option<Timestamp> {
        self.gone_since.get(&id).filter(|_| self.absent(id)).map(|since| after(*since, TOPIC_STAYS))
    }

    /// The pod of an id is gone for so long that nobody reads its topic, and nobody thinks that he has to write to it.
    pub(super) fn topic_is_idle(&self, id: ServerId) -> bool {
        self.topic_stays_until(id).is_some_and(|until| self.now >= until)
    }

    /// When a recorded drain ends, whatever the gateway says.
    pub(super) fn drain_ends(&self, entry: &ServerStatus) -> Option<Timestamp> {
        let start = entry.drain_start_time.as_ref().filter(|_| entry.phase == ServerPhase::Draining)?;
        let deadline = SignedDuration::from_secs(self.limits.deadline_seconds.into());
        Some(after(after(start.0, deadline), DRAIN_MARGIN))
    }
}
