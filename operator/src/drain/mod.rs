//! How the number of gateways changes, and their template: a pure machine.
//!
//! [`step`] looks at a [`Situation`] and answers with what `status.servers` should become, and with what may be done **by
//! what stands there already**. Nothing is done in the same step in which it is decided: see the crate's text.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::{Drain, ServerId, ServerStatus, TopicPolicy};
use k8s_openapi::jiff::Timestamp;

use crate::topics::Report;

/// All that a step looks at.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The time, by the operator's clock.
    pub now: Timestamp,
    /// `spec.gateways.replicas`; 0 while the resource is being deleted.
    pub wanted: u16,
    /// The resource is being deleted: nobody is drained, there is nowhere to go.
    pub deleting: bool,
    /// How clients are moved.
    pub limits: Drain,
    /// What becomes of topics.
    pub policy: TopicPolicy,
    /// What the names of topics begin with.
    pub prefix: &'a str,
    /// `status.servers`, as the API server has it.
    pub recorded: &'a [ServerStatus],
    /// Gateway pods by server id.
    pub pods: &'a BTreeMap<ServerId, GatewayPod>,
    /// What draining gateways said last, by pod UID.
    pub reports: &'a BTreeMap<String, DrainReport>,
    /// What was last seen of the topics.
    pub topics: Option<&'a Report>,
    /// Since when pods of ids are known to be gone, by this process: after a restart the wait begins anew.
    pub gone_since: &'a BTreeMap<ServerId, Timestamp>,
    /// The `StatefulSet`, if there is one.
    pub live: Option<LiveSet>,
    /// The template that would be applied differs from the live one.
    pub template_changes: bool,
}

/// A gateway pod, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayPod {
    /// Its UID.
    pub uid: String,
    /// Where its management port is reached.
    pub ip: Option<String>,
    /// Ready, and not terminating.
    pub ready: bool,
    /// When it was told to go, plus its grace period: `metadata.deletionTimestamp`.
    pub deletion_time: Option<Timestamp>,
    /// It has never run and cannot: its image cannot be pulled, its container cannot be made, nothing schedules it.
    pub cannot_run: bool,
    /// Label `controller-revision-hash`.
    pub revision: String,
}

/// The live `StatefulSet`, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSet {
    /// `spec.replicas`.
    pub replicas: u16,
    /// The controller has seen the newest spec.
    pub observed: bool,
    /// `status.updateRevision`.
    pub update_revision: String,
}

/// What a draining gateway says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReport {
    /// It takes clients: it has not heard of a drain.
    Serving,
    /// It moves clients.
    Draining,
    /// Nobody is left.
    Drained,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What `status.servers` should be. If it differs from what is recorded, it is written, and the next step follows at once.
    pub servers: Vec<ServerStatus>,
    /// `spec.replicas` of the `StatefulSet`.
    pub replicas: u16,
    /// The template may be changed now. Never together with `replicas`.
    pub may_change_template: bool,
    /// Pods to drain, with the seconds that are left of their deadline.
    pub drain: BTreeMap<ServerId, u32>,
    /// Pods whose drain is undone.
    pub undrain: BTreeSet<ServerId>,
    /// Topics to look at, to make, to delete: names.
    pub watch: BTreeSet<String>,
    /// See [`crate::topics::Wish::create`].
    pub create: BTreeSet<String>,
    /// See [`crate::topics::Wish::delete`].
    pub delete: BTreeSet<String>,
    /// Pods taken for dead: they should have been gone a minute ago.
    pub presumed_dead: BTreeSet<ServerId>,
}
