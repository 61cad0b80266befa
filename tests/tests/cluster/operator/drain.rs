//! Clients are moved off gateways before these go.

use std::time::Duration;

use imcluster_crds::ServerPhase::{Draining, Serving};
use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerStatus};
use imcluster_tests::gateway::{Fault, Handle, Phase, Report};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::scene::{MANY, Scene, pod, slow_drain, uids, verdict};

/// How late a busy machine may be.
const LATE: Duration = Duration::from_secs(3);

/// Waits until a gateway is so.
async fn until_gateway(scene: &Scene, gateway: &Handle, what: &str, holds: impl Fn(&Report) -> bool) -> Report {
    let holds = &holds;
    scene.eventually(what, || async move { holds(&gateway.report().await.unwrap()) }).await;
    gateway.report().await.unwrap()
}

fn entry(it: &ImCluster, id: u16) -> ServerStatus {
    let mut servers = it.status.iter().flat_map(|status| &status.servers);
    servers.find(|entry| entry.id.0 == id).cloned().unwrap_or_else(|| panic!("{id} is not recorded"))
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn all_ids_that_are_too_many_drain_at_once_and_the_set_shrinks_over_the_drained_tail() {
    let scene = Scene::ready("tail", &slow_drain(4)).await;
    let before = scene.set().await.metadata.generation;
    let mut gateways = Vec::new();
    for id in 0..4 {
        gateways.push(scene.held(id, MANY).await);
    }
    scene.scale(1);
    let draining = scene.until_ids(&[(0, Serving), (1, Draining), (2, Draining), (3, Draining)]).await;
    let starts: Vec<_> = (1..4).map(|id| entry(&draining, id).drain_start_time).collect();
    assert!(starts[0].is_some() && starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    for gateway in &gateways[1..] {
        until_gateway(&scene, gateway, "it drains", |it| it.status.phase == Phase::Draining).await;
    }
    assert_eq!(gateways[0].report().await.unwrap().seen.orders, 0, "who stays is left alone");
    assert_eq!(scene.set().await.metadata.generation, before, "nothing goes yet");

    gateways[1].hold(0).await.unwrap();
    let heard = gateways[1].report().await.unwrap().seen.orders;
    until_gateway(&scene, &gateways[1], "it has told that it is drained", |it| it.seen.orders >= heard + 2).await;
    assert_eq!(scene.set().await.metadata.generation, before, "two above it still drain");
    gateways[3].hold(0).await.unwrap();
    scene.until_replicas(3).await;
    gateways[2].hold(0).await.unwrap();
    scene.until_replicas(1).await;
    scene.until_it("it is Ready", |it| verdict(it, ConditionType::Ready) == Some(("True", "Serving"))).await;

    let course = scene.course().await;
    assert_eq!(course.replicas(), [0, 4, 3, 1]);
    assert!(course.stayed_ready(), "a planned drain keeps it Ready");
    assert_eq!(course.templates(), 1);
    assert_eq!(gateways[0].report().await.unwrap().status.connections, MANY);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn scaling_up_again_undoes_a_drain_and_who_is_connected_stays() {
    let scene = Scene::ready("undone", &slow_drain(3)).await;
    let (before, pods) = (scene.set().await.metadata.generation, uids(&scene).await);
    let gateways = [scene.held(1, MANY).await, scene.held(2, MANY).await];
    scene.scale(1);
    for gateway in &gateways {
        until_gateway(&scene, gateway, "it drains", |it| it.status.phase == Phase::Draining).await;
    }
    scene.scale(3);
    let again = scene.until_ids(&[(0, Serving), (1, Serving), (2, Serving)]).await;
    assert!((0..3).all(|id| entry(&again, id).drain_start_time.is_none()));
    for gateway in &gateways {
        let told = until_gateway(&scene, gateway, "it was told to stay", |it| it.status.phase == Phase::Serving).await;
        assert!(told.seen.undos > 0 && told.status.connections > MANY / 2, "{told:?}");
    }
    scene.until_told("DrainUndone").await;
    scene.settled().await;
    assert_eq!(scene.set().await.metadata.generation, before);
    assert_eq!(uids(&scene).await, pods);
    let course = scene.course().await;
    assert!(course.stayed_ready());
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn scaling_up_again_half_way_keeps_those_that_still_drain_and_makes_the_others_anew() {
    let scene = Scene::ready("half-way", &slow_drain(4)).await;
    let held = scene.held(1, MANY).await;
    scene.scale(1);
    // Those above go, the one with clients stays.
    scene.until_replicas(2).await;
    scene.scale(4);
    scene.until_ids(&[(0, Serving), (1, Serving), (2, Serving), (3, Serving)]).await;
    scene.settled().await;
    let kept = until_gateway(&scene, &held, "it was told to stay", |it| it.status.phase == Phase::Serving).await;
    assert!(kept.status.connections > MANY / 2, "{kept:?}");
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1", "2", "3"]);
    let course = scene.course().await;
    assert_eq!(course.replicas().iter().skip(1).min(), Some(&2));
    assert_eq!([course.lives(&pod(0)), course.lives(&pod(1))], [1, 1]);
    assert!(course.lives(&pod(2)) > 1 && course.lives(&pod(3)) > 1);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_order_to_drain_is_repeated_every_five_seconds() {
    let scene = Scene::ready("repeated", &slow_drain(2)).await;
    let gateway = scene.held(1, MANY).await;
    scene.scale(1);
    let mut heard = until_gateway(&scene, &gateway, "it is told", |it| it.seen.orders > 0).await.seen.orders;
    for _ in 0..3 {
        let begun = Instant::now();
        heard = until_gateway(&scene, &gateway, "it is told again", |it| it.seen.orders > heard).await.seen.orders;
        let waited = begun.elapsed();
        assert!(waited <= Duration::from_secs(5) + LATE, "{waited:?}");
    }
    scene.course().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_pod_that_comes_in_the_place_of_a_draining_one_is_told_to_drain_itself() {
    let scene = Scene::ready("successor", &slow_drain(3)).await;
    let first = scene.held(1, MANY).await;
    scene.held(2, MANY).await;
    scene.scale(1);
    until_gateway(&scene, &first, "it drains", |it| it.status.phase == Phase::Draining).await;
    let before = scene.pod(1).await.uid();
    let begun = entry(&scene.until_ids(&[(0, Serving), (1, Draining), (2, Draining)]).await, 1);
    assert_eq!(begun.pod_uid, before);
    // The one above still drains, and so the set asks for another.
    scene.api::<Pod>().delete(&pod(1), &DeleteParams::default()).await.unwrap();
    let of_another = |it: &ImCluster| {
        let entry = entry(it, 1);
        entry.phase == Draining && entry.pod_uid.is_some() && entry.pod_uid != before
    };
    let after = entry(&scene.until_it("the drain is that of another pod", of_another).await, 1);
    assert!(after.drain_start_time.unwrap().0 >= begun.drain_start_time.unwrap().0);
    assert_eq!(scene.pod(1).await.uid(), after.pod_uid);
    let second = scene.gateway(&pod(1)).await.unwrap();
    until_gateway(&scene, &second, "it is told too", |it| it.seen.orders > 0).await;
    assert!(scene.course().await.lives(&pod(1)) > 1);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_draining_pod_that_dies_does_not_come_back() {
    let scene = Scene::ready("dies", &slow_drain(2)).await;
    let gateway = scene.held(1, MANY).await;
    scene.scale(1);
    until_gateway(&scene, &gateway, "it drains", |it| it.status.phase == Phase::Draining).await;
    // Seen while it goes: it is left out, and nobody makes another.
    scene.keep_pod(1, true).await;
    scene.api::<Pod>().delete(&pod(1), &DeleteParams::default()).await.unwrap();
    scene.until_replicas(1).await;
    scene.keep_pod(1, false).await;
    scene.until::<Pod>(&pod(1), "it is gone", |it| it.is_none()).await;
    scene.until_ids(&[(0, Serving)]).await;
    assert_eq!(scene.course().await.lives(&pod(1)), 1);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_gateway_that_answers_nobody_goes_when_its_deadline_has_passed() {
    let deadline = json!({ "spec": { "gateways": {
        "maxConnections": 100, "drain": { "deadlineSeconds": 1, "connectionsPerSecond": 100 },
    } } });
    let scene = Scene::ready("hangs", &deadline).await;
    scene.held(1, 100).await.fail(Fault::Hang).await.unwrap();
    scene.scale(1);
    let draining = scene.until_ids(&[(0, Serving), (1, Draining)]).await;
    let begun = entry(&draining, 1).drain_start_time.unwrap().0;
    scene.until_replicas(1).await;
    let now = k8s_openapi::jiff::Timestamp::now();
    let waited = Duration::try_from(now.duration_since(begun)).unwrap();
    assert!(waited >= Duration::from_secs(11), "the deadline and what orders may be late: {waited:?}");
    scene.course().await;
}

fn deadline(seconds: u32) -> Value {
    json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": seconds } } } })
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn another_deadline_rolls_nothing_and_whoever_drains_learns_of_it() {
    let scene = Scene::ready("deadline", &slow_drain(2)).await;
    let (before, pods) = (scene.set().await.metadata.generation, uids(&scene).await);
    scene.change(&deadline(400)).await;
    scene.settled().await;
    assert_eq!(scene.set().await.metadata.generation, before);
    let gateway = scene.held(1, MANY).await;
    scene.scale(1);
    let ordered = |seconds: u32| move |it: &Report| it.seen.last_order.is_some_and(|it| it.deadline_seconds == seconds);
    until_gateway(&scene, &gateway, "it is told the deadline", ordered(400)).await;
    scene.change(&deadline(500)).await;
    until_gateway(&scene, &gateway, "it is told the new one", ordered(500)).await;
    assert_eq!(scene.set().await.metadata.generation, before);
    assert_eq!(uids(&scene).await, pods);
    let course = scene.course().await;
    assert_eq!((course.templates(), course.stayed_ready()), (1, true));
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "needs Kubernetes: make test-cluster-full"]
    async fn a_pod_that_does_not_go_is_presumed_dead_a_minute_after_its_end_and_told_of() {
        let scene = Scene::ready("presumed-dead", &json!({})).await;
        scene.keep_pod(1, true).await;
        scene.scale(1);
        scene.until_replicas(1).await;
        // A node that is there cuts the grace period short when the pod has stopped.
        let stopped = |it: Option<&Pod>| it.is_some_and(|it| it.metadata.deletion_grace_period_seconds == Some(0));
        let held = scene.until(&pod(1), "its pod has stopped", stopped).await.unwrap();
        let end = held.metadata.deletion_timestamp.unwrap().0;
        let patience = Duration::from_mins(3);
        let retired = |it: Option<&ImCluster>| {
            it.is_some_and(|it| super::super::ids(it) == [(0, Serving), (1, imcluster_crds::ServerPhase::Retired)])
        };
        scene.until_within(patience, "chat", "its id is retired", retired).await;
        let waited = k8s_openapi::jiff::Timestamp::now().duration_since(end).as_secs();
        assert!(waited >= 60, "{waited} s");
        scene.until_told("PodPresumedDead").await;
        assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1"], "its topic has still its time");
        let alone = |it: Option<&ImCluster>| it.is_some_and(|it| super::super::ids(it) == [(0, Serving)]);
        scene.until_within(patience, "chat", "its topic is gone", alone).await;
        assert_eq!(scene.topics("chat").await.unwrap(), ["0"]);
        scene.keep_pod(1, false).await;
        scene.until::<Pod>(&pod(1), "it is gone in the end", |it| it.is_none()).await;
        assert_eq!(scene.course().await.lives(&pod(1)), 1);
    }
}
