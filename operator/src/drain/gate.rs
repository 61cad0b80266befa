//! What may be done, by what stands in the record.

use std::collections::BTreeMap;

use imcluster_crds::{MAX_REPLICAS, ServerId, ServerPhase, ServerStatus, TopicOrigin, TopicPolicy};

use super::look::Look;
use super::{DrainReport, GatewayPod, Release, TemplateGate};
use crate::topics::Seen;

/// How many pods the `StatefulSet` should have, and why those may go that it leaves out.
pub(super) fn replicas(look: &Look<'_>) -> (u16, BTreeMap<ServerId, Release>) {
    let current = look.current();
    if current <= look.target() {
        return (current.max(provisioned(look)), BTreeMap::new());
    }
    // Pods go from the end only: one that still drains holds up those below it.
    let tail = (look.target()..current).rev().map(ServerId);
    let released: BTreeMap<_, _> = tail.map_while(|id| Some((id, release(look, id)?))).collect();
    (released.keys().next().map_or(current, |lowest| lowest.0), released)
}

/// How many ids from the first on have what a pod needs: a record that says so, and a topic that is there.
fn provisioned(look: &Look<'_>) -> u16 {
    let is_provisioned = |id| {
        let recorded = look.entry(id).is_some_and(|entry| {
            matches!(entry.phase, ServerPhase::Provisioning | ServerPhase::Serving) && entry.topic.is_some()
        });
        recorded && matches!(look.topic(id), Some(Seen::Present { .. }))
    };
    look.wanted().find(|id| !is_provisioned(*id)).map_or(look.target(), |missing| missing.0)
}

/// Why the pod of an id may go; `None` as long as it may not.
fn release(look: &Look<'_>, id: ServerId) -> Option<Release> {
    if look.deleting {
        // What is recorded is the deletion of the resource.
        return Some(Release::Deleting);
    }
    if id.0 >= MAX_REPLICAS {
        return Some(Release::OutOfRange);
    }
    let entry = look.entry(id).filter(|entry| entry.phase == ServerPhase::Draining)?;
    let Some(pod) = look.pod(id) else { return Some(Release::NoPod) };
    if pod.terminating() {
        return Some(Release::Terminating);
    }
    if pod.cannot_run {
        return Some(Release::CannotRun);
    }
    // What was said and what has passed is about the pod whose drain is recorded.
    if entry.pod_uid.as_ref() != Some(&pod.uid) {
        return None;
    }
    if look.report(pod) == Some(DrainReport::Drained) {
        return Some(Release::Drained);
    }
    look.drain_ends(entry).filter(|end| look.now >= *end).map(|_| Release::DeadlinePassed)
}

/// Whether the template may be changed, given what the record becomes and how many pods there should be.
pub(super) fn template(look: &Look<'_>, servers: &[ServerStatus], replicas: u16) -> TemplateGate {
    if look.deleting {
        return TemplateGate::Deleting;
    }
    if look.live.is_none() {
        return TemplateGate::Open;
    }
    if !look.template_changes {
        return TemplateGate::Unchanged;
    }
    if replicas != look.current() {
        return TemplateGate::ReplicasFirst;
    }
    // A pod that cannot run has nobody to move, and a new template may be what it needs.
    let pod = |id| look.pod(id).filter(|pod| !pod.cannot_run);
    let draining = |entry: &&ServerStatus| entry.phase == ServerPhase::Draining && pod(entry.id).is_some();
    if let Some(entry) = look.entries().chain(servers).find(draining) {
        return TemplateGate::Draining(entry.id);
    }
    let mut ids = look.pods.keys().copied();
    let terminating = ids.find(|id| pod(*id).is_some_and(GatewayPod::terminating));
    terminating.map_or(TemplateGate::Open, TemplateGate::Terminating)
}

/// Whether the topic of an id may be deleted: the operator made it, and nobody uses it. Once it may, it goes, even if the id is
/// wanted again: the deletion may be under way.
pub(super) fn topic_may_go(look: &Look<'_>, entry: &ServerStatus) -> bool {
    look.policy == TopicPolicy::Delete
        && entry.phase == ServerPhase::Retired
        && entry.topic.as_ref().is_some_and(|topic| topic.origin == TopicOrigin::Created)
        && look.topic_is_idle(entry.id)
}
