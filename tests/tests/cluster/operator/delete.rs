//! The end of an `ImCluster`.

use std::sync::Arc;
use std::time::Duration;

use imcluster_crds::ImCluster;
use imcluster_crds::ServerPhase::Retired;
use imcluster_crds::conditions::ConditionType;
use imcluster_operator::topics::admin::{AdminError, connect};
use imcluster_operator::topics::{KafkaSettings, Sasl};
use imcluster_tests::cluster::Kubectl;
use imcluster_tests::cluster::network::MACHINE;
use imcluster_tests::operator::{Log, Operator};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::scene::{MANY, Scene, pod, slow_drain, verdict};
use super::until_gone;
use crate::eventually::eventually;
use crate::manifests::overlay;

/// How late a busy machine may be.
const LATE: Duration = Duration::from_secs(15);

fn accepted(expected: (&'static str, &'static str)) -> impl Fn(&ImCluster) -> bool {
    move |it| verdict(it, ConditionType::Accepted) == Some(expected)
}

fn is_held(it: &ImCluster) -> bool {
    it.metadata.finalizers.iter().flatten().any(|name| name.starts_with("imcluster.dev/"))
}

fn policy(policy: &str) -> Value {
    json!({ "spec": { "kafka": { "topics": { "policy": policy } } } })
}

fn brokers(at: &str) -> Value {
    json!({ "spec": { "kafka": { "bootstrapServers": at } } })
}

/// Gives it another Kafka, and waits until that does not answer.
async fn lose_kafka(scene: &Scene, at: &str) {
    scene.change(&brokers(at)).await;
    let lost = |it: &ImCluster| verdict(it, ConditionType::TopicsReady) == Some(("False", "KafkaUnavailable"));
    scene.until_it("Kafka is not heard any more", lost).await;
}

/// Deletes the namespace, and waits until it is gone.
async fn end_namespace(scene: &Scene) {
    let namespace = format!("namespace/{}", scene.name());
    scene.world.kubectl().run(&["delete", &namespace, "--wait=false"]).unwrap();
    until_gone(&scene.tenant).await;
    scene.world.kubectl().run(&["wait", "--for=delete", &namespace, "--timeout=60s"]).unwrap();
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn deleting_drains_nobody_takes_topics_after_pods_and_leaves_nothing_behind() {
    let mut changes = slow_drain(2);
    json_patch::merge(
        &mut changes,
        &json!({ "spec": { "ingress": { "className": "none", "host": "chat.example.com" } } }),
    );
    let scene = Scene::ready("delete", &changes).await;
    let mut gateways = Vec::new();
    for id in 0..2 {
        gateways.push(scene.held(id, MANY).await);
        // So that it can be asked afterwards.
        scene.keep_pod(id, true).await;
    }
    scene.delete().await;
    scene.until::<StatefulSet>("chat-gateway", "the StatefulSet is gone", |it| it.is_none()).await;
    for id in 0..2 {
        let goes = |it: Option<&Pod>| it.is_some_and(|it| it.metadata.deletion_timestamp.is_some());
        scene.until(&pod(id), "its pods go", goes).await;
    }
    let going =
        scene.until_it("it says so", |it| verdict(it, ConditionType::Ready) == Some(("False", "Deleting"))).await;
    assert!(is_held(&going));
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1"], "topics go after the pods");
    for (id, gateway) in (0..).zip(&gateways) {
        let report = gateway.report().await.unwrap();
        assert_eq!((report.seen.orders, report.status.connections), (0, MANY), "there is nowhere to go");
        scene.keep_pod(id, false).await;
    }
    scene.until_nothing_is_left().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn deleting_works_while_it_is_paused() {
    let scene = Scene::ready("delete-paused", &json!({})).await;
    scene.change(&json!({ "spec": { "paused": true } })).await;
    scene.until_condition("chat", ConditionType::Paused, "True").await;
    scene.delete().await;
    scene.until_nothing_is_left().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn deleting_works_while_the_spec_is_invalid() {
    let scene = Scene::ready("delete-invalid", &json!({})).await;
    scene.change(&json!({ "spec": { "gateways": { "podTemplate": { "spec": { "containerz": [] } } } } })).await;
    scene.until_it("it is refused", accepted(("False", "InvalidSpec"))).await;
    scene.delete().await;
    scene.until_nothing_is_left().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn deleting_works_with_the_last_good_credentials_when_all_secrets_are_gone() {
    // The Kafka of the tests takes no login: what the operator signs in with is looked at on the way.
    let guarded = |kafka: &KafkaSettings| match &kafka.sasl {
        Some(Sasl { user, password, .. }) if user == "operator" && password == "right" => {
            connect(&KafkaSettings { sasl: None, ..kafka.clone() })
        }
        _ => Err(AdminError::Login),
    };
    let scene = Scene::with("delete-secrets", |world, tenant| {
        let config = world.config().clone();
        Operator::start_other(world, config, tenant, |running| running.kafka = Arc::new(guarded)).unwrap()
    })
    .await;
    scene.secret("login", &[("username", "operator"), ("password", "right")]).await.unwrap();
    scene.make(&json!({ "spec": { "kafka": { "sasl": { "secretRef": { "name": "login" } } } } })).await;
    for name in ["login", "redis", "database", "keys"] {
        scene.api::<Secret>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    scene.until_it("a reference is missing", accepted(("False", "ReferenceNotFound"))).await;
    scene.delete().await;
    scene.until_nothing_is_left().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn deleting_waits_for_a_kafka_that_is_gone_and_ends_when_it_is_back() {
    let scene = Scene::ready("delete-kafka", &json!({})).await;
    // Nothing listens there.
    lose_kafka(&scene, &format!("{MACHINE}:1")).await;
    scene.delete().await;
    let waiting = scene.until_ids(&[(0, Retired), (1, Retired)]).await;
    assert!(is_held(&waiting));
    scene.change(&brokers(&scene.world.bootstrap().to_string())).await;
    scene.until_nothing_is_left().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_was_never_made_needs_no_kafka_to_go() {
    let scene = Scene::empty("delete-nothing").await;
    let missing = json!({ "spec": { "redis": { "urlSecretRef": { "name": "never" } } } });
    scene.apply::<ImCluster>(&scene.im_cluster("chat", &missing)).await.unwrap();
    let refused = scene.until_it("it is refused", accepted(("False", "ReferenceNotFound"))).await;
    assert!(!is_held(&refused));
    scene.delete().await;
    scene.until_nothing_is_left().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn it_is_held_only_while_there_is_a_topic_to_delete() {
    let scene = Scene::ready("held", &json!({})).await;
    scene.until_it("it is held", is_held).await;
    scene.change(&policy("Retain")).await;
    scene.until_it("it is not held: its topics stay", |it| !is_held(it)).await;
    scene.change(&policy("Delete")).await;
    scene.until_it("it is held again", is_held).await;
    scene.scale(0);
    scene.until_it("it is not held: it has no topics", |it| !is_held(it)).await;
    assert!(scene.topics("chat").await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn topics_stay_by_policy_and_nothing_holds_it() {
    for kept in ["Retain", "Unmanaged"] {
        let scene = Scene::empty(&format!("delete-{}", kept.to_lowercase())).await;
        let topics = [0, 1].map(|id| format!("{}.chat.{id}", scene.name()));
        if kept == "Unmanaged" {
            for topic in &topics {
                scene.world.kafka.create_topic(topic).await.unwrap();
            }
        }
        scene.make(&policy(kept)).await;
        let course = scene.course().await;
        assert!(!course.clusters().any(|(_, it)| is_held(it)), "{kept}");
        scene.delete().await;
        until_gone(&scene.tenant).await;
        scene.until::<StatefulSet>("chat-gateway", "the StatefulSet is gone", |it| it.is_none()).await;
        assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1"], "{kept}");
        for topic in &topics {
            scene.world.kafka.delete_topic(topic).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_namespace_that_ends_does_not_wait_for_kafka_longer_than_ten_seconds() {
    let scene = Scene::ready("end-kafka", &json!({})).await;
    // It takes connections, and never says a word.
    let silent = TcpListener::bind((MACHINE, 0)).await.unwrap();
    lose_kafka(&scene, &silent.local_addr().unwrap().to_string()).await;
    let ended = async {
        let goes = |it: Option<&ImCluster>| it.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
        scene.until("chat", "it goes with its namespace", goes).await;
        let begun = Instant::now();
        until_gone(&scene.tenant).await;
        begun.elapsed()
    };
    let (took, ()) = tokio::join!(ended, end_namespace(&scene));
    assert!(took <= Duration::from_secs(10) + LATE, "{took:?}");
    let said = Log::of_this_process().tail(scene.name(), 1_000);
    assert!(said.contains("they stay"), "{said}");
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1"], "nobody could delete them");
    for id in 0..2 {
        scene.world.kafka.delete_topic(&format!("{}.chat.{id}", scene.name())).await.unwrap();
    }
}

/// A right in the whole cluster, taken back when dropped.
struct Right(String);

impl Drop for Right {
    fn drop(&mut self) {
        // A test that failed says why by itself.
        let _ = Kubectl::from_environment().and_then(|kubectl| kubectl.run(&["delete", "clusterrolebinding", &self.0]));
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_namespace_ends_even_if_the_operators_role_in_it_goes_first() {
    let mut right = None;
    let mut account = String::new();
    let scene = Scene::with("end-role", |world, tenant| {
        // With the rights that the manifests give it, and no others.
        for mut object in overlay("namespaced", tenant.name()) {
            match object["kind"].as_str() {
                Some("ClusterRoleBinding") => {
                    let name = format!("{}-{}", object["metadata"]["name"].as_str().unwrap(), tenant.name());
                    object["metadata"]["name"] = name.as_str().into();
                    right = Some(Right(name));
                }
                Some("ServiceAccount" | "ClusterRole" | "Role" | "RoleBinding") => {}
                _ => continue,
            }
            world.kubectl().apply(&object).unwrap();
        }
        account = format!("system:serviceaccount:{}:imcluster-operator", tenant.name());
        let mut config = world.config().clone();
        config.auth_info.impersonate = Some(account.clone());
        Operator::start_other(world, config, tenant, |_| {}).unwrap()
    })
    .await;
    scene.make(&json!({})).await;
    scene.kubectl().run(&["delete", "rolebinding,role", "--all"]);
    let may = || scene.kubectl().try_run(&["auth", "can-i", "get", "secrets", "--as", &account]).is_ok();
    eventually(|| if may() { Err("it still may") } else { Ok(()) });
    end_namespace(&scene).await;
    let no_topics = || async { scene.topics("chat").await.unwrap().is_empty() };
    scene.eventually("its topics are deleted", no_topics).await;
}
