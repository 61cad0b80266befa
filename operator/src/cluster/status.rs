//! What the status says: pure, from what was seen.

use imcluster_crds::conditions::{ConditionType, Reason};
use imcluster_crds::{ImCluster, ImClusterStatus, ServerId, ServerPhase, ServerStatus, TopicPolicy};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::{self, GatewaysSeen, Roll, TopicsSeen, Verdict};
use super::look::Look;
use super::names;
use crate::drain::counts::{self, Counts};
use crate::topics::{Report, Seen};

/// What a reconcile came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome<'a> {
    /// Whether the spec is valid, and what it refers to is there.
    pub(super) accepted: Verdict,
    /// What there is.
    pub(super) look: &'a Look,
    /// `status.servers` as it is.
    pub(super) servers: &'a [ServerStatus],
    /// What was last seen of the topics.
    pub(super) topics: Option<&'a Report>,
    /// The image of the gateways.
    pub(super) image: Option<String>,
    /// The operator would make another template, and waits for somebody to roll; `None`: that was not looked at.
    pub(super) update_available: Option<bool>,
    /// Why objects are not as they should be, where somebody has to do something about it.
    pub(super) blocked: Option<Verdict>,
    /// Another template than the one that was seen should be: it waits, or was applied since.
    pub(super) template_changes: bool,
    /// Connections of clients, about.
    pub(super) connections: Option<i64>,
}

/// The status of a resource that could be read, and is not being deleted.
pub(super) fn of(cluster: &ImCluster, outcome: &Outcome<'_>, now: Timestamp) -> ImClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let Outcome { accepted, look, servers, .. } = outcome;
    let counts = counts::counts(&look.pods, servers, look.live().as_ref());
    let topics = conditions::topics(&topics_seen(cluster, outcome), &before.conditions);
    let gateways = conditions::gateways(&gateways_seen(cluster, outcome, &counts));
    let gateways = outcome.blocked.clone().unwrap_or(gateways);
    let paused = if cluster.spec.paused {
        Verdict::yes(Reason::PausedInSpec, "spec.paused is true: nothing is changed")
    } else {
        Verdict::no(Reason::NotPaused, "spec.paused is false")
    };
    let update = match outcome.update_available {
        Some(true) => {
            let what = "The operator would make a newer image or pod template: set image, or annotate imcluster.dev/restartedAt";
            Some(Verdict::yes(Reason::NewerRelease, what))
        }
        Some(false) => Some(Verdict::no(Reason::UpToDate, "The gateways are what the operator would make")),
        None => conditions::last(&before.conditions, ConditionType::UpdateAvailable),
    };
    // Who leaves everything as it is, or waits for another spec, is not on the way.
    let goes_on = !cluster.spec.paused && accepted.holds == Some(true);
    let reconciling = conditions::reconciling(&topics, &gateways).filter(|_| goes_on);
    let verdicts = [
        (ConditionType::Accepted, Some(accepted.clone())),
        (ConditionType::TopicsReady, Some(topics.clone())),
        (ConditionType::GatewaysReady, Some(gateways.clone())),
        (ConditionType::Ready, Some(conditions::ready(accepted, &topics, &gateways))),
        (ConditionType::Paused, Some(paused)),
        (ConditionType::UpdateAvailable, update),
        (ConditionType::Reconciling, reconciling),
        (ConditionType::Stalled, conditions::stalled(accepted, &topics, &gateways)),
    ];
    let generation = cluster.metadata.generation;
    ImClusterStatus {
        observed_generation: generation,
        conditions: conditions::merge(&before.conditions, &verdicts, generation, now),
        replicas: Some(counts.pods.into()),
        ready_replicas: Some(counts.ready.into()),
        selector: Some(names::selector_text(&cluster.name_any())),
        image: outcome.image.clone().or(before.image),
        // It is fixed from the moment at which topics may have it.
        topic_prefix: before.topic_prefix.or_else(|| (accepted.holds == Some(true)).then(|| cluster.topic_prefix())),
        connections: outcome.connections.or(before.connections),
        servers: servers.to_vec(),
    }
}

/// The status of a resource that is refused, and of which nothing else is known: what stood there stays.
pub(super) fn refused(
    before: &ImClusterStatus,
    accepted: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> ImClusterStatus {
    let kept = |kind| conditions::last(&before.conditions, kind);
    let topics = kept(ConditionType::TopicsReady).unwrap_or_else(not_looked);
    let gateways = kept(ConditionType::GatewaysReady).unwrap_or_else(not_looked);
    let verdicts = [
        (ConditionType::Accepted, Some(accepted.clone())),
        (ConditionType::TopicsReady, Some(topics.clone())),
        (ConditionType::GatewaysReady, Some(gateways.clone())),
        (ConditionType::Ready, Some(conditions::ready(accepted, &topics, &gateways))),
        (ConditionType::Paused, kept(ConditionType::Paused)),
        (ConditionType::UpdateAvailable, kept(ConditionType::UpdateAvailable)),
        (ConditionType::Stalled, conditions::stalled(accepted, &topics, &gateways)),
    ];
    let conditions = conditions::merge(&before.conditions, &verdicts, generation, now);
    ImClusterStatus { observed_generation: generation, conditions, ..before.clone() }
}

fn not_looked() -> Verdict {
    Verdict::unknown(Reason::Pending, "The operator has not looked yet")
}

/// The status of a resource that is being deleted.
pub(super) fn deleting(cluster: &ImCluster, servers: &[ServerStatus], now: Timestamp) -> ImClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let what = "The gateways go, then the topics that the operator made";
    let kept = |kind| (kind, conditions::last(&before.conditions, kind));
    let verdicts = [
        kept(ConditionType::Accepted),
        kept(ConditionType::TopicsReady),
        kept(ConditionType::GatewaysReady),
        (ConditionType::Ready, Some(Verdict::no(Reason::Deleting, what))),
        kept(ConditionType::Paused),
        kept(ConditionType::UpdateAvailable),
        (ConditionType::Reconciling, Some(Verdict::yes(Reason::Deleting, what))),
    ];
    let conditions = conditions::merge(&before.conditions, &verdicts, generation, now);
    ImClusterStatus { observed_generation: generation, conditions, servers: servers.to_vec(), ..before }
}

/// The topics of the ids that should serve.
fn topics_seen(cluster: &ImCluster, outcome: &Outcome<'_>) -> TopicsSeen {
    let Some(report) = outcome.topics else { return TopicsSeen::NotYet };
    let names = wanted(cluster).map(|id| name(cluster, outcome.servers, id));
    let seen: Vec<_> = names.map(|name| (report.topics.get(&name).copied(), name)).collect();
    let in_place = |seen: &Option<Seen>| matches!(seen, Some(Seen::Present { as_wished: true }));
    if let Some(trouble) = report.troubles.first() {
        return TopicsSeen::Trouble(trouble.reason, trouble.message.clone());
    }
    match seen.iter().find(|(seen, _)| !in_place(seen)) {
        None => TopicsSeen::InPlace,
        Some((Some(Seen::Absent), name)) if cluster.spec.kafka.topics.policy == TopicPolicy::Unmanaged => {
            TopicsSeen::NotOurs(name.clone())
        }
        Some(_) => TopicsSeen::Missing,
    }
}

fn gateways_seen<'a>(cluster: &ImCluster, outcome: &Outcome<'a>, counts: &Counts) -> GatewaysSeen<'a> {
    let Outcome { look, servers, .. } = outcome;
    let wanted = cluster.spec.gateways.replicas;
    let ready = look.pods.iter().filter(|(id, pod)| id.0 < wanted && pod.ready).count();
    let before = cluster.status.as_ref().and_then(|it| conditions::last(&it.conditions, ConditionType::GatewaysReady));
    let rolled = before.is_some_and(|verdict| verdict.reason == Reason::Rolling);
    let roll = match look.live() {
        Some(_) if outcome.template_changes => Roll::UnderWay,
        Some(set) if set.observed && !counts.rolled => Roll::UnderWay,
        // What its controller has not seen yet may be another number alone.
        Some(set) if !set.observed && rolled => Roll::UnderWay,
        _ if rolled => Roll::Ending,
        _ => Roll::Over,
    };
    GatewaysSeen {
        wanted,
        ready: u16::try_from(ready).unwrap_or(u16::MAX),
        roll,
        draining: servers.iter().any(|entry| entry.phase == ServerPhase::Draining),
        waiting: look.live().is_none_or(|set| set.replicas < wanted),
        stuck: look.stuck.as_deref(),
    }
}

fn wanted(cluster: &ImCluster) -> impl Iterator<Item = ServerId> + use<> {
    (0..cluster.spec.gateways.replicas).map(ServerId)
}

/// The name that is recorded, else the one that it would have.
fn name(cluster: &ImCluster, servers: &[ServerStatus], id: ServerId) -> String {
    let recorded = servers.iter().find(|entry| entry.id == id).and_then(|entry| entry.topic.as_ref());
    recorded.map_or_else(|| cluster.topic_name(id), |topic| topic.name.clone())
}

#[cfg(test)]
mod tests;
