//! How the number of gateways changes, and their template: a pure machine.
//!
//! [`step`] looks at a [`Situation`] and answers with what `status.servers` should become, and with what may be done **by
//! what stands there already**. Nothing is done in the same step in which it is decided: see the crate's text.
//!
//! - `ids` has the life of a server id: which phase comes next, and whose its topic is.
//! - `gate` says what may be done: let a pod go, make one, change the template, delete a topic. Each with a named reason.
//! - [`counts`] and [`connections`] make numbers for the status of what is there.
//! - [`gateways`] speaks to the gateways: the only part that does anything.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::{Drain, ServerId, ServerStatus, TopicPolicy};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::topics::Report;

pub mod connections;
pub mod counts;
pub mod gateways;

mod gate;
mod gone;
mod ids;
mod look;
mod step;

#[cfg(test)]
mod model;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scene;

pub use gone::note_gone;
pub use step::step;

/// How long a gateway that lost touch may still believe that it holds its server id: the time-to-live of its lease, see
/// `im-server/src/identity`.
pub const LEASE_TTL: SignedDuration = SignedDuration::from_secs(10);

/// A topic stays for so long after its pod: whoever held a lease has noticed, and who sent to that id has learned of it.
pub const TOPIC_STAYS: SignedDuration = SignedDuration::from_secs(2 * LEASE_TTL.as_secs());

/// A pod that is still there so long after its grace period is taken for dead: its node does not answer.
pub const PRESUMED_DEAD_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A drain may take so much longer than its deadline: orders are repeated every 5 s, so a gateway may have begun 5 s late, and
/// whoever is sent away last has 5 s to go.
pub const DRAIN_MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// All that a step looks at.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The time, by the operator's clock.
    pub now: Timestamp,
    /// `spec.gateways.replicas`. It does not matter while the resource is being deleted.
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
    /// What gateways said last of a drain, by pod UID.
    pub reports: &'a BTreeMap<String, DrainReport>,
    /// What was last seen of the topics.
    pub topics: Option<&'a Report>,
    /// Since when pods of ids are known to be gone, by this process: after a restart the wait begins anew. [`note_gone`] keeps it.
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

impl GatewayPod {
    /// It was told to go.
    pub fn terminating(&self) -> bool {
        self.deletion_time.is_some()
    }

    /// It runs, or may yet, and nobody told it to go: it can be spoken to.
    pub fn stays(&self) -> bool {
        !self.terminating() && !self.cannot_run
    }

    /// When it is taken for dead if it is still there; `None` if nobody told it to go.
    pub(crate) fn presumed_dead_at(&self) -> Option<Timestamp> {
        self.deletion_time.map(|time| after(time, PRESUMED_DEAD_AFTER))
    }
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

/// What a gateway says of a drain. One that is starting, or does not answer, says nothing.
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
    /// What `status.servers` should be, by id. If it differs from what is recorded, it is written, and the next step follows at
    /// once. What else is in the step follows from the record that it was made of: it may be done before the write or after.
    pub servers: Vec<ServerStatus>,
    /// `spec.replicas` of the `StatefulSet`.
    pub replicas: u16,
    /// The ids that `replicas` leaves out and the live `StatefulSet` has, and why their pods may go.
    pub released: BTreeMap<ServerId, Release>,
    /// Whether the template may be changed. Never together with `replicas`.
    pub template: TemplateGate,
    /// Pods to drain. The order has the whole deadline and not what is left of it: a gateway counts from the first order that
    /// it got, so what is repeated has to be the same.
    pub drain: BTreeSet<ServerId>,
    /// Pods whose drain is undone.
    pub undrain: BTreeSet<ServerId>,
    /// See [`crate::topics::Wish::watch`].
    pub watch: BTreeSet<String>,
    /// See [`crate::topics::Wish::create`].
    pub create: BTreeSet<String>,
    /// See [`crate::topics::Wish::delete`]. Right before one is deleted, a step made of what the API server has then must still
    /// name it.
    pub delete: BTreeSet<String>,
    /// Pods taken for dead: they should have been gone a minute ago.
    pub presumed_dead: BTreeSet<ServerId>,
    /// When time alone changes the answer: a step is due then even if nothing happened.
    pub again_at: Option<Timestamp>,
}

/// Why a pod may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nobody is connected to it any more.
    Drained,
    /// The deadline has passed, and the margin.
    DeadlinePassed,
    /// It cannot run, so nobody is connected to it.
    CannotRun,
    /// It goes already: left out now, it does not come back only to be drained.
    Terminating,
    /// There is none.
    NoPod,
    /// The id is above all that an `ImCluster` can have: somebody else raised the `StatefulSet`.
    OutOfRange,
    /// The resource is being deleted.
    Deleting,
}

/// Whether the template of the `StatefulSet` may be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemplateGate {
    /// There is nothing to change.
    #[default]
    Unchanged,
    /// It may be changed now.
    Open,
    /// The resource is being deleted.
    Deleting,
    /// The number of pods changes first.
    ReplicasFirst,
    /// Clients are being moved: they would move again.
    Draining(ServerId),
    /// A pod is terminating: the roll before this one, or a drain, is not over.
    Terminating(ServerId),
}

/// A time that much later, or the last that there is: times come from a status that anybody may have written.
fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
