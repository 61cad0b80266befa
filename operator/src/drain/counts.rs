//! Numbers for the status, counted from the pods themselves: those in the status of a `StatefulSet` are late, and are wrong
//! while it rolls.

use std::collections::BTreeMap;

use imcluster_crds::{ServerId, ServerPhase, ServerStatus};

use super::{GatewayPod, LiveSet};

/// What there is of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Gateway pods, those that go included: what an autoscaler divides by.
    pub pods: u16,
    /// Those that are ready, and not told to go.
    pub ready: u16,
    /// The controller has seen the newest `StatefulSet`, and every pod is of it.
    pub rolled: bool,
    /// The first pod that should be ready and is not; one that cannot run comes before one that may be starting.
    pub trouble: Option<Trouble>,
}

/// A pod that should be ready and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot run.
    CannotRun(ServerId),
    /// It is not ready.
    NotReady(ServerId),
}

/// Counts pods.
pub fn counts(pods: &BTreeMap<ServerId, GatewayPod>, recorded: &[ServerStatus], live: Option<&LiveSet>) -> Counts {
    let number = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let drains = |id| recorded.iter().any(|entry| entry.id == id && entry.phase == ServerPhase::Draining);
    let troubled = || pods.iter().filter(|(id, pod)| !pod.ready && !pod.terminating() && !drains(**id));
    let cannot_run = troubled().find(|(_, pod)| pod.cannot_run).map(|(id, _)| Trouble::CannotRun(*id));
    Counts {
        pods: number(pods.len()),
        ready: number(pods.values().filter(|pod| pod.ready).count()),
        rolled: live.is_some_and(|set| set.observed && pods.values().all(|pod| pod.revision == set.update_revision)),
        trouble: cannot_run.or_else(|| troubled().next().map(|(id, _)| Trouble::NotReady(*id))),
    }
}

#[cfg(test)]
mod tests {
    use imcluster_crds::ServerPhase::{Draining, Serving};

    use super::super::scene::{Scene, entry, pod, uid};
    use super::*;

    fn counted(scene: &Scene) -> Counts {
        counts(&scene.pods, &scene.recorded, scene.live.as_ref())
    }

    fn serving(pods: u16) -> Scene {
        (0..pods).fold(Scene::of(pods).set(pods), |scene, id| scene.record(entry(id, Serving)).pod(id, pod(&uid(id))))
    }

    #[test]
    fn a_pod_that_is_told_to_go_counts_and_is_not_ready() {
        let scene = serving(3).change_pod(1, |pod| pod.ready = false).terminate(1, 30);
        let Counts { pods, ready, trouble, .. } = counted(&scene);
        assert_eq!((pods, ready, trouble), (3, 2, None));
    }

    #[test]
    fn a_roll_is_over_when_the_controller_has_seen_it_and_every_pod_is_of_it() {
        let scene = serving(2);
        assert!(counted(&scene).rolled);
        assert!(!counted(&scene.clone().unobserved()).rolled);
        assert!(!counted(&scene.clone().change_pod(0, |pod| pod.revision = "older".to_owned())).rolled);
        assert!(!counted(&Scene::of(2)).rolled, "there is no StatefulSet");
    }

    #[test]
    fn the_first_pod_that_is_not_ready_is_named_unless_another_cannot_run() {
        let scene = serving(4).change_pod(1, |pod| pod.ready = false);
        assert_eq!(counted(&scene).trouble, Some(Trouble::NotReady(ServerId(1))));
        let scene = scene.change_pod(3, |pod| (pod.ready, pod.cannot_run) = (false, true));
        assert_eq!(counted(&scene).trouble, Some(Trouble::CannotRun(ServerId(3))));
    }

    #[test]
    fn a_pod_that_drains_is_not_in_trouble() {
        let scene = serving(2).change_pod(1, |pod| pod.ready = false).record(entry(1, Draining));
        assert_eq!(counted(&scene).trouble, None);
    }
}
