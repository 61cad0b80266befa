//! The life of a server id: Provisioning → Serving → Draining → Retired, and whose its topic is.

use imcluster_crds::{ServerId, ServerPhase, ServerStatus, TopicOrigin, TopicPolicy, TopicStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::gate;
use super::look::Look;
use crate::topics::Seen;

/// What the record of an id should become; `None`: it needs none.
pub(super) fn next(look: &Look<'_>, id: ServerId) -> Option<ServerStatus> {
    let recorded = look.entry(id);
    if look.wants(id) {
        Some(wanted(look, id, recorded))
    } else if look.gone(id) {
        retired(look, recorded?)
    } else {
        leaving(look, id, recorded)
    }
}

/// An id that should serve.
fn wanted(look: &Look<'_>, id: ServerId, recorded: Option<&ServerStatus>) -> ServerStatus {
    let mut known = recorded.and_then(|entry| entry.topic.as_ref());
    if let Some(entry) = recorded.filter(|entry| gate::topic_may_go(look, entry)) {
        if !look.topic_was_deleted(id) {
            return entry.clone();
        }
        known = None;
    }
    let pod = look.pod(id);
    let phase = match (recorded.map(|entry| entry.phase), pod) {
        (Some(ServerPhase::Serving), _) => ServerPhase::Serving,
        (Some(ServerPhase::Draining), Some(pod)) if pod.stays() => ServerPhase::Serving,
        (_, Some(pod)) if pod.ready => ServerPhase::Serving,
        _ => ServerPhase::Provisioning,
    };
    let pod_uid = pod.map(|pod| pod.uid.clone());
    ServerStatus { id, phase, pod_uid, drain_start_time: None, topic: topic(look, id, known) }
}

/// An id that should not serve and has a pod, or may yet get one.
fn leaving(look: &Look<'_>, id: ServerId, recorded: Option<&ServerStatus>) -> Option<ServerStatus> {
    let pod = look.pod(id);
    if look.absent(id) {
        // Nothing is left of it but a controller that has not said so, or a pod that is taken for dead.
        return recorded.cloned();
    }
    // A drain belongs to a pod: one that came in its place gets one of its own.
    let goes_on = recorded.filter(|entry| {
        let same = pod.is_none_or(|pod| entry.pod_uid.as_ref() == Some(&pod.uid));
        same && entry.phase == ServerPhase::Draining && entry.drain_start_time.is_some()
    });
    let (pod_uid, drain_start_time) = match goes_on {
        Some(entry) => (entry.pod_uid.clone(), entry.drain_start_time.clone()),
        None => (pod.map(|pod| pod.uid.clone()), Some(whole_seconds(look.now))),
    };
    let topic = topic(look, id, recorded.and_then(|entry| entry.topic.as_ref()));
    Some(ServerStatus { id, phase: ServerPhase::Draining, pod_uid, drain_start_time, topic })
}

/// An id that has no pod and gets none: it is kept as long as there may be a topic that has to go.
fn retired(look: &Look<'_>, recorded: &ServerStatus) -> Option<ServerStatus> {
    let id = recorded.id;
    let topic = topic(look, id, recorded.topic.as_ref())?;
    if look.policy != TopicPolicy::Delete || topic.origin == TopicOrigin::Adopted {
        return None;
    }
    if recorded.phase == ServerPhase::Retired && look.topic_was_deleted(id) {
        return None;
    }
    // One that was about to be made may be there by now: what is intended counts as made.
    let topic = Some(TopicStatus { origin: TopicOrigin::Created, ..topic });
    Some(ServerStatus { id, phase: ServerPhase::Retired, pod_uid: None, drain_start_time: None, topic })
}

/// Whose a topic is, by what is known and what is there.
fn topic(look: &Look<'_>, id: ServerId, known: Option<&TopicStatus>) -> Option<TopicStatus> {
    let of = |origin| Some(TopicStatus { name: look.topic_name(id), origin });
    match (known.map(|topic| topic.origin), look.topic(id)) {
        (Some(TopicOrigin::Creating), Some(Seen::Present { .. })) => of(TopicOrigin::Created),
        // The intent is taken back: who makes it now is not the operator.
        (Some(TopicOrigin::Creating), Some(Seen::Absent)) if look.policy == TopicPolicy::Unmanaged => None,
        (None, Some(Seen::Present { .. })) => of(TopicOrigin::Adopted),
        (None, Some(Seen::Absent)) if look.wants(id) && look.policy != TopicPolicy::Unmanaged => {
            of(TopicOrigin::Creating)
        }
        _ => known.cloned(),
    }
}

/// A time as the API server keeps it.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
