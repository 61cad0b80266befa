//! The pod template: when it changes, and when it must not.

use std::time::Duration;

use imcluster_crds::ServerPhase::{Draining, Serving};
use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, MAX_DRAIN_SECONDS};
use imcluster_tests::operator::{Operator, Tenant, World};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::ids;
use super::scene::{MANY, Scene, observed, pod, slow_drain, uids, verdict};

/// Seconds that a gateway is ready before the next is replaced, and how inexact a watch is.
const APART: Duration = Duration::from_secs(15 - 1);

/// Something in the template.
fn note(text: &str) -> Value {
    json!({ "spec": { "gateways": { "podTemplate": { "metadata": { "annotations": { "example.com/note": text } } } } } })
}

fn has_note(set: &StatefulSet, text: &str) -> bool {
    let metadata = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    annotations.and_then(|annotations| annotations.get("example.com/note")).map(String::as_str) == Some(text)
}

fn restarted_at(time: &str) -> Value {
    json!({ "metadata": { "annotations": { "imcluster.dev/restartedAt": time } } })
}

fn rolls(it: &ImCluster) -> bool {
    observed(it) && verdict(it, ConditionType::GatewaysReady) == Some(("True", "Rolling"))
}

async fn delete(scene: &Scene, id: u16) {
    scene.api::<Pod>().delete(&pod(id), &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_restart_that_is_asked_for_rolls_once_one_at_a_time_and_keeps_it_ready() {
    let scene = Scene::ready("restart", &json!({})).await;
    scene.change(&restarted_at("2026-11-21T08:00:00Z")).await;
    scene.until_it("it rolls", rolls).await;
    scene.until_told("RollStarted").await;
    scene.settled().await;
    scene.until_told("RollFinished").await;
    let course = scene.course().await;
    assert!(course.stayed_ready(), "a planned roll keeps it Ready");
    assert_eq!((course.templates(), course.replicas()), (2, vec![0, 2]));
    assert_eq!([course.revisions(&pod(0)), course.revisions(&pod(1))], [2, 2]);
    // The last first, and the next when that one has been ready for a while.
    let (zero, one) = (pod(0), pod(1));
    let first = course.pods(&one).next().unwrap().1.metadata.uid.clone();
    let replaced = course.pods(&one).find(|(_, it)| it.metadata.uid != first).unwrap().0.heard;
    let next = course.pods(&zero).find(|(_, it)| it.metadata.deletion_timestamp.is_some()).unwrap().0.heard;
    assert!(next - replaced >= APART, "{:?}", next - replaced);

    // The same again, and then not any more: nobody asks for another.
    scene.change(&restarted_at("2026-11-21T08:00:00Z")).await;
    scene.change(&json!({ "metadata": { "annotations": { "imcluster.dev/restartedAt": null } } })).await;
    scene.change(&json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": 301 } } } })).await;
    scene.settled().await;
    assert_eq!(scene.course().await.templates(), 2);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn the_template_and_the_number_of_gateways_never_change_in_one_apply() {
    let scene = Scene::ready("apart", &json!({ "spec": { "gateways": { "replicas": 1 } } })).await;
    let mut both = note("one");
    json_patch::merge(&mut both, &json!({ "spec": { "gateways": { "replicas": 2 } } }));
    scene.change(&both).await;
    scene.settled().await;
    assert!(has_note(&scene.set().await, "one"));
    let course = scene.course().await;
    assert_eq!((course.replicas(), course.templates()), (vec![0, 1, 2], 2));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_template_change_waits_until_nobody_drains() {
    let scene = Scene::ready("waits-drain", &slow_drain(3)).await;
    let before = scene.set().await.metadata.generation;
    let held = scene.held(2, MANY).await;
    scene.scale(2);
    scene.until_ids(&[(0, Serving), (1, Serving), (2, Draining)]).await;
    scene.change(&note("one")).await;
    scene.until_it("the roll waits", rolls).await;
    assert_eq!(scene.set().await.metadata.generation, before);
    held.hold(0).await.unwrap();
    let fewer = scene.until_replicas(2).await;
    assert!(!has_note(&fewer, "one"), "the number changes first");
    scene.until_set("it has the new template", |set| has_note(set, "one")).await;
    scene.settled().await;
    let course = scene.course().await;
    assert_eq!((course.replicas(), course.templates()), (vec![0, 3, 2], 2));
    assert_eq!(course.lives(&pod(2)), 1);
    assert!(course.stayed_ready(), "planned, both of it");
    let reasons = course.reasons(ConditionType::GatewaysReady);
    assert!(reasons.ends_with(&["Rolling", "GatewaysInPlace"]), "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| **reason == "Rolling").count(), 1, "{reasons:?}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_template_change_waits_until_no_pod_terminates() {
    let scene = Scene::ready("waits-end", &json!({})).await;
    let before = scene.set().await.metadata.generation;
    scene.keep_pod(1, true).await;
    delete(&scene, 1).await;
    scene.change(&note("one")).await;
    scene.until_it("it has looked", observed).await;
    assert_eq!(scene.set().await.metadata.generation, before);
    scene.keep_pod(1, false).await;
    scene.until_set("it has the new template", |set| has_note(set, "one")).await;
    scene.settled().await;
    let course = scene.course().await;
    assert_eq!((course.templates(), course.revisions(&pod(0))), (2, 2));
    let reasons = course.reasons(ConditionType::GatewaysReady);
    assert_eq!(reasons.iter().filter(|reason| **reason == "Rolling").count(), 1, "{reasons:?}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_template_change_does_not_wait_for_a_draining_pod_that_cannot_run() {
    let selector = |none: Value| json!({ "spec": { "gateways": { "podTemplate": { "spec": { "nodeSelector": { "none": none } } } } } });
    let has_selector = |set: &StatefulSet| {
        let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        pod.and_then(|pod| pod.node_selector.as_ref()).is_some_and(|selector| selector.contains_key("none"))
    };
    let scene = Scene::ready("cannot-run", &json!({ "spec": { "gateways": { "replicas": 3 } } })).await;
    scene.change(&selector(json!("such"))).await;
    let stuck = |it: &ImCluster| verdict(it, ConditionType::GatewaysReady) == Some(("False", "PodsNotReady"));
    scene.until_it("it says that no node takes a pod", stuck).await;
    // It goes, and does not get away, as when its node is lost.
    scene.keep_pod(2, true).await;
    let mut mended = selector(Value::Null);
    json_patch::merge(&mut mended, &json!({ "spec": { "gateways": { "replicas": 2 } } }));
    scene.change(&mended).await;
    scene.until_replicas(2).await;
    scene.until_set("it has the template that works", |set| !has_selector(set)).await;
    scene.eventually("it is asked to go", || async { scene.pod(2).await.metadata.deletion_timestamp.is_some() }).await;
    let now: ImCluster = scene.api().get("chat").await.unwrap();
    assert!(ids(&now).contains(&(2, Draining)), "{:?}", ids(&now));
    scene.keep_pod(2, false).await;
    scene.settled().await;
    scene.course().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn pods_may_take_longer_than_the_longest_drain_and_there_is_no_max_unavailable() {
    let scene = Scene::ready("grace", &json!({})).await;
    let spec = scene.set().await.spec.unwrap();
    let grace = spec.template.spec.unwrap().termination_grace_period_seconds.unwrap();
    assert!(grace > i64::from(MAX_DRAIN_SECONDS), "{grace}");
    assert_eq!(spec.min_ready_seconds, Some(15));
    assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
    let update = spec.update_strategy.unwrap();
    assert_eq!(update.type_.as_deref(), Some("RollingUpdate"));
    assert!(update.rolling_update.is_none_or(|it| it.max_unavailable.is_none()));
}

/// An operator of another release.
fn of_release(image: &'static str) -> impl FnOnce(&World, &Tenant) -> Operator {
    move |world, tenant| {
        Operator::start_other(world, world.config().clone(), tenant, |running| image.clone_into(&mut running.release))
            .unwrap()
    }
}

const OLD: &str = "example.com/gateway:1";
const NEW: &str = "example.com/gateway:2";

fn image(it: &ImCluster) -> Option<&str> {
    it.status.as_ref()?.image.as_deref()
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn another_release_of_the_operator_alone_rolls_nothing_and_is_shown_until_somebody_rolls() {
    let scene = Scene::with("upgrade", of_release(OLD)).await;
    scene.make(&json!({ "spec": { "image": null } })).await;
    let (before, pods) = (scene.set().await.metadata.generation, uids(&scene).await);
    let scene = scene.followed_by(of_release(NEW)).await;
    let available = |it: &ImCluster| verdict(it, ConditionType::UpdateAvailable) == Some(("True", "NewerRelease"));
    let shown = scene.until_it("an update is shown", available).await;
    assert_eq!(image(&shown), Some(OLD));
    scene.change(&json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": 301 } } } })).await;
    scene.settled().await;
    assert_eq!(scene.set().await.metadata.generation, before);
    assert_eq!(uids(&scene).await, pods);

    scene.change(&restarted_at("2026-11-21T08:00:00Z")).await;
    scene.until_it("it rolls", rolls).await;
    let rolled = scene.settled().await;
    assert_eq!(image(&rolled), Some(NEW), "a roll takes the release along");
    assert_eq!(verdict(&rolled, ConditionType::UpdateAvailable), Some(("False", "UpToDate")));
    let course = scene.course().await;
    assert_eq!((course.templates(), course.stayed_ready()), (2, true));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn with_the_operator_gateways_follow_its_release() {
    let scene = Scene::with("with-operator", of_release(OLD)).await;
    scene.make(&json!({ "spec": { "image": null, "updatePolicy": "WithOperator" } })).await;
    let scene = scene.followed_by(of_release(NEW)).await;
    scene.until_it("it rolls", |it| rolls(it) && image(it) == Some(NEW)).await;
    let rolled = scene.settled().await;
    assert_eq!(verdict(&rolled, ConditionType::UpdateAvailable), Some(("False", "UpToDate")));
    let course = scene.course().await;
    assert_eq!((course.templates(), course.stayed_ready()), (2, true));
    assert_eq!([course.revisions(&pod(0)), course.revisions(&pod(1))], [2, 2]);
}
