//! One step: what the record should become, and what may be done by what stands in it.

use imcluster_crds::{ServerPhase, ServerStatus, TopicPolicy};
use k8s_openapi::jiff::Timestamp;

use super::look::Look;
use super::{DrainReport, GatewayPod, Situation, Step, gate, ids};

/// What to do in a situation. Done again and again, with what happens in between, it ends where the spec wants it.
pub fn step(situation: &Situation<'_>) -> Step {
    let look = &Look::new(situation);
    let servers: Vec<_> = look.ids().filter_map(|id| ids::next(look, id)).collect();
    let (replicas, released) = gate::replicas(look);
    let those = |rule: Rule| look.entries().filter(move |entry| rule(look, entry)).map(|entry| entry.id);
    let topics = |rule: Rule| those(rule).map(|id| look.topic_name(id)).collect();
    Step {
        template: gate::template(look, &servers, replicas),
        servers,
        replicas,
        released,
        drain: those(is_to_drain).collect(),
        undrain: those(is_to_undrain).collect(),
        watch: look.entries().map(|entry| entry.id).chain(look.wanted()).map(|id| look.topic_name(id)).collect(),
        create: topics(may_make_topic),
        delete: topics(gate::topic_may_go),
        presumed_dead: situation.pods.keys().copied().filter(|id| look.pod(*id).is_none()).collect(),
        again_at: again_at(look),
    }
}

/// What may be done for an id by its record.
type Rule = fn(&Look<'_>, &ServerStatus) -> bool;

/// The pod whose drain is recorded is spoken to. One that was told to go drains by itself.
fn is_to_drain(look: &Look<'_>, entry: &ServerStatus) -> bool {
    !look.deleting
        && !look.wants(entry.id)
        && entry.phase == ServerPhase::Draining
        && look.pod(entry.id).is_some_and(|pod| pod.stays() && entry.pod_uid.as_ref() == Some(&pod.uid))
}

/// It says that it drains, and by the record it should not.
fn is_to_undrain(look: &Look<'_>, entry: &ServerStatus) -> bool {
    look.wants(entry.id)
        && matches!(entry.phase, ServerPhase::Provisioning | ServerPhase::Serving)
        && look.pod(entry.id).is_some_and(|pod| {
            pod.stays() && matches!(look.report(pod), Some(DrainReport::Draining | DrainReport::Drained))
        })
}

/// Whatever stands in the record of an id that serves is intended: where it is missing it may be made, for the first time or
/// again.
fn may_make_topic(look: &Look<'_>, entry: &ServerStatus) -> bool {
    !look.deleting
        && look.policy != TopicPolicy::Unmanaged
        && entry.topic.is_some()
        && entry.phase != ServerPhase::Retired
        && (look.wants(entry.id) || look.pod(entry.id).is_some())
}

fn again_at(look: &Look<'_>) -> Option<Timestamp> {
    let drains = look.entries().filter_map(|entry| look.drain_ends(entry));
    let deaths = look.pods.values().filter_map(GatewayPod::presumed_dead_at);
    let topics = look.entries().filter_map(|entry| look.topic_stays_until(entry.id));
    drains.chain(deaths).chain(topics).filter(|time| *time > look.now).min()
}
