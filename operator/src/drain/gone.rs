//! When a pod is gone.

use std::collections::BTreeMap;

use imcluster_crds::{ServerId, ServerStatus};
use k8s_openapi::jiff::Timestamp;

use super::{GatewayPod, LiveSet};

/// The pod of an id, unless it is taken for dead.
pub(super) fn living(pods: &BTreeMap<ServerId, GatewayPod>, id: ServerId, now: Timestamp) -> Option<&GatewayPod> {
    pods.get(&id).filter(|pod| pod.presumed_dead_at().is_none_or(|dead| now < dead))
}

/// An id has no pod, and the `StatefulSet` asks for none.
pub(super) fn absent(
    pods: &BTreeMap<ServerId, GatewayPod>,
    live: Option<&LiveSet>,
    id: ServerId,
    now: Timestamp,
) -> bool {
    living(pods, id, now).is_none() && live.is_none_or(|set| set.replicas <= id.0)
}

/// Its controller knows what the `StatefulSet` asks for: what is absent does not come any more.
pub(super) fn settled(live: Option<&LiveSet>) -> bool {
    live.is_none_or(|set| set.observed)
}

/// Keeps the times since when the pods of recorded ids are known to be gone: an id is added when its pod is absent and does not
/// come any more, and removed when it has one again or is not recorded any more.
pub fn note_gone(
    since: &mut BTreeMap<ServerId, Timestamp>,
    recorded: &[ServerStatus],
    pods: &BTreeMap<ServerId, GatewayPod>,
    live: Option<&LiveSet>,
    now: Timestamp,
) {
    let before = std::mem::take(since);
    for ServerStatus { id, .. } in recorded {
        // Another change of the `StatefulSet`, which its controller has still to see, does not bring a pod back.
        let known = before.get(id).copied().or_else(|| settled(live).then_some(now));
        if let Some(time) = known.filter(|_| absent(pods, live, *id, now)) {
            since.insert(*id, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Scene, entry, pod};
    use super::*;
    use imcluster_crds::ServerPhase::Retired;

    fn noted(scene: &Scene, since: &BTreeMap<ServerId, Timestamp>) -> BTreeMap<ServerId, Timestamp> {
        let mut since = since.clone();
        note_gone(&mut since, &scene.recorded, &scene.pods, scene.live.as_ref(), scene.now);
        since
    }

    #[test]
    fn the_time_counts_from_when_the_pod_was_first_seen_to_be_gone() {
        let scene = Scene::of(0).set(0).record(entry(0, Retired));
        let first = noted(&scene, &BTreeMap::new());
        assert_eq!(first, BTreeMap::from([(ServerId(0), scene.now)]));
        assert_eq!(noted(&scene.clone().later(5), &first), first);
    }

    #[test]
    fn an_id_whose_pod_is_back_or_that_is_forgotten_counts_anew() {
        let scene = Scene::of(0).set(0).record(entry(0, Retired));
        let first = noted(&scene, &BTreeMap::new());
        assert!(noted(&scene.clone().pod(0, pod("a")), &first).is_empty());
        assert!(noted(&scene.clone().set(1), &first).is_empty());
        assert!(noted(&Scene::of(0).set(0), &first).is_empty());
    }

    #[test]
    fn a_pod_is_not_gone_before_the_controller_knows_that_it_shall_make_none() {
        let scene = Scene::of(0).set(0).record(entry(0, Retired)).unobserved();
        assert!(noted(&scene, &BTreeMap::new()).is_empty());
        let first = noted(&scene.clone().set(0), &BTreeMap::new());
        assert_eq!(noted(&scene, &first), first, "a later change of the template does not count");
    }
}
