//! Situations for tests, built up from what differs.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::{Drain, ServerId, ServerPhase, ServerStatus, TopicOrigin, TopicPolicy, TopicStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{DrainReport, GatewayPod, LiveSet, Situation, Step, step};
use crate::topics::{Report, Seen, Wish};

pub(super) const PREFIX: &str = "default.chat.";

/// What a [`Situation`] looks at, owned.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) now: Timestamp,
    pub(super) wanted: u16,
    pub(super) deleting: bool,
    pub(super) limits: Drain,
    pub(super) policy: TopicPolicy,
    pub(super) recorded: Vec<ServerStatus>,
    pub(super) pods: BTreeMap<ServerId, GatewayPod>,
    pub(super) reports: BTreeMap<String, DrainReport>,
    pub(super) topics: Option<Report>,
    pub(super) gone_since: BTreeMap<ServerId, Timestamp>,
    pub(super) live: Option<LiveSet>,
    pub(super) template_changes: bool,
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("it is a time")
}

/// A record of a phase, without a pod and a topic.
pub(super) fn entry(id: u16, phase: ServerPhase) -> ServerStatus {
    ServerStatus { id: ServerId(id), phase, pod_uid: None, drain_start_time: None, topic: None }
}

/// A record with a topic.
pub(super) fn entry_with(id: u16, phase: ServerPhase, origin: TopicOrigin) -> ServerStatus {
    ServerStatus { topic: Some(TopicStatus { name: topic(id), origin }), ..entry(id, phase) }
}

pub(super) fn topic(id: u16) -> String {
    format!("{PREFIX}{id}")
}

pub(super) fn topics(ids: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
    ids.into_iter().map(topic).collect()
}

pub(super) fn ids(ids: impl IntoIterator<Item = u16>) -> BTreeSet<ServerId> {
    ids.into_iter().map(ServerId).collect()
}

/// A pod that is ready.
pub(super) fn pod(uid: &str) -> GatewayPod {
    GatewayPod {
        uid: uid.to_owned(),
        ip: Some("10.0.0.1".to_owned()),
        ready: true,
        deletion_time: None,
        cannot_run: false,
        revision: "newest".to_owned(),
    }
}

impl Scene {
    /// So many are wanted, and nothing is there.
    pub(super) fn of(wanted: u16) -> Self {
        Self {
            now: at(0),
            wanted,
            deleting: false,
            limits: Drain { deadline_seconds: 60, connections_per_second: 100 },
            policy: TopicPolicy::Delete,
            recorded: Vec::new(),
            pods: BTreeMap::new(),
            reports: BTreeMap::new(),
            topics: None,
            gone_since: BTreeMap::new(),
            live: None,
            template_changes: false,
        }
    }

    /// So many serve, recorded and with topics of the operator's own; so many are wanted.
    pub(super) fn serving(pods: u16, wanted: u16) -> Self {
        (0..pods).fold(Self::of(wanted).set(pods).sees(0..pods, 0..0), |scene, id| {
            let uid = uid(id);
            let recorded = entry_with(id, ServerPhase::Serving, TopicOrigin::Created);
            scene.record(ServerStatus { pod_uid: Some(uid.clone()), ..recorded }).pod(id, pod(&uid))
        })
    }

    pub(super) fn later(mut self, seconds: i64) -> Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    pub(super) fn wants(mut self, wanted: u16) -> Self {
        self.wanted = wanted;
        self
    }

    pub(super) fn deleted(mut self) -> Self {
        self.deleting = true;
        self
    }

    pub(super) fn policy(mut self, policy: TopicPolicy) -> Self {
        self.policy = policy;
        self
    }

    pub(super) fn set(mut self, replicas: u16) -> Self {
        self.live = Some(LiveSet { replicas, observed: true, update_revision: "newest".to_owned() });
        self
    }

    pub(super) fn unobserved(mut self) -> Self {
        self.live.as_mut().expect("there is a StatefulSet").observed = false;
        self
    }

    pub(super) fn new_template(mut self) -> Self {
        self.template_changes = true;
        self
    }

    pub(super) fn record(mut self, entry: ServerStatus) -> Self {
        self.recorded.retain(|other| other.id != entry.id);
        self.recorded.push(entry);
        self.recorded.sort_by_key(|entry| entry.id);
        self
    }

    pub(super) fn pod(mut self, id: u16, pod: GatewayPod) -> Self {
        self.pods.insert(ServerId(id), pod);
        self
    }

    pub(super) fn no_pod(mut self, id: u16) -> Self {
        self.pods.remove(&ServerId(id));
        self
    }

    pub(super) fn change_pod(mut self, id: u16, change: impl FnOnce(&mut GatewayPod)) -> Self {
        change(self.pods.get_mut(&ServerId(id)).expect("there is a pod"));
        self
    }

    /// The pod is told to go, and has so many seconds.
    pub(super) fn terminate(self, id: u16, grace: i64) -> Self {
        let end = self.now + SignedDuration::from_secs(grace);
        self.change_pod(id, |pod| (pod.ready, pod.deletion_time) = (false, Some(end)))
    }

    /// The drain of a pod is recorded, since now.
    pub(super) fn drains(mut self, id: u16) -> Self {
        let pod_uid = self.pods.get(&ServerId(id)).map(|pod| pod.uid.clone());
        let entry = self.recorded.iter_mut().find(|entry| entry.id.0 == id).expect("it is recorded");
        entry.phase = ServerPhase::Draining;
        entry.pod_uid = pod_uid;
        entry.drain_start_time = Some(Time(self.now));
        self
    }

    pub(super) fn reports(mut self, id: u16, report: DrainReport) -> Self {
        self.reports.insert(self.pods[&ServerId(id)].uid.clone(), report);
        self
    }

    /// Kafka was looked at, with nothing to make and nothing to delete.
    pub(super) fn sees(
        mut self,
        present: impl IntoIterator<Item = u16>,
        absent: impl IntoIterator<Item = u16>,
    ) -> Self {
        let present = present.into_iter().map(|id| (topic(id), Seen::Present { as_wished: true }));
        let absent = absent.into_iter().map(|id| (topic(id), Seen::Absent));
        self.topics = Some(Report { topics: present.chain(absent).collect(), ..Report::default() });
        self
    }

    /// Kafka was looked at while these were to be made, and those to be deleted.
    pub(super) fn while_wishing(
        mut self,
        create: impl IntoIterator<Item = u16>,
        delete: impl IntoIterator<Item = u16>,
    ) -> Self {
        let wish = Wish { create: topics(create), delete: topics(delete), ..Wish::default() };
        self.topics.as_mut().expect("Kafka was looked at").wish = wish;
        self
    }

    pub(super) fn gone_for(mut self, id: u16, seconds: i64) -> Self {
        self.gone_since.insert(ServerId(id), self.now - SignedDuration::from_secs(seconds));
        self
    }

    pub(super) fn step(&self) -> Step {
        step(&Situation {
            now: self.now,
            wanted: self.wanted,
            deleting: self.deleting,
            limits: self.limits,
            policy: self.policy,
            prefix: PREFIX,
            recorded: &self.recorded,
            pods: &self.pods,
            reports: &self.reports,
            topics: self.topics.as_ref(),
            gone_since: &self.gone_since,
            live: self.live.clone(),
            template_changes: self.template_changes,
        })
    }

    /// The step is made, and what it records is written.
    pub(super) fn recorded(mut self) -> Self {
        self.recorded = self.step().servers;
        self
    }

    /// What a step makes of the record of an id.
    pub(super) fn next(&self, id: u16) -> Option<ServerStatus> {
        self.step().servers.into_iter().find(|entry| entry.id.0 == id)
    }
}

/// The UID of the pod of an id in [`Scene::serving`].
pub(super) fn uid(id: u16) -> String {
    format!("pod-{id}")
}
