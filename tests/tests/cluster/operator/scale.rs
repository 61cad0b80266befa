//! The number of gateways: what comes before what, and who counts.

use std::time::Duration;

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase};
use imcluster_operator::drain::{LEASE_TTL, TOPIC_STAYS};
use imcluster_tests::operator::timeline::Course;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::scene::{MANY, Scene, observed, pod, slow_drain, verdict};

fn serving(ids: u16) -> Vec<(u16, ServerPhase)> {
    (0..ids).map(|id| (id, ServerPhase::Serving)).collect()
}

/// Where the number turned, after it was first none: it may have moved in one step or in several.
fn turns(course: &Course) -> Vec<i32> {
    let replicas = course.replicas();
    assert_eq!(replicas.first(), Some(&0), "the first pods wait for their topics too");
    let inner = replicas.windows(3).filter(|it| (it[0] < it[1]) != (it[1] < it[2])).map(|it| it[1]);
    inner.chain(replicas.last().copied()).collect()
}

fn replicas(replicas: u16) -> Value {
    json!({ "spec": { "gateways": { "replicas": replicas } } })
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn three_gateways_become_five_and_then_two_with_topics_before_pods_and_after_them() {
    let scene = Scene::ready("three-five-two", &replicas(3)).await;
    scene.scale(5);
    scene.until_ids(&serving(5)).await;
    scene.settled().await;
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1", "2", "3", "4"]);
    scene.scale(2);
    scene.until_ids(&serving(2)).await;
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1"]);
    let left: Vec<_> = scene.pods().await.unwrap().into_iter().map(|pod| pod.metadata.name.unwrap()).collect();
    assert_eq!(left, [pod(0), pod(1)]);
    // Topics before pods, and pods that drained before they went.
    let course = scene.course().await;
    assert_eq!(turns(&course), [5, 2]);
    for id in 2..5 {
        let name = pod(id);
        let (went, _) = course.pods(&name).find(|(moment, _)| moment.gone).expect("its pod is gone");
        let is_recorded =
            |it: &ImCluster| it.status.iter().flat_map(|status| &status.servers).any(|entry| entry.id.0 == id);
        let mut later = course.clusters().filter(|(moment, _)| moment.version > went.version);
        assert!(later.any(|(_, it)| is_recorded(it)), "the topic of {id} goes after its pod");
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_topic_goes_two_lease_ttls_after_its_pod() {
    assert_eq!(TOPIC_STAYS, LEASE_TTL * 2);
    let scene = Scene::ready("topic-stays", &json!({})).await;
    scene.scale(1);
    scene.until::<Pod>(&pod(1), "its pod is gone", |it| it.is_none()).await;
    let one_topic = || async { scene.topics("chat").await.unwrap() == ["0"] };
    scene.eventually("its topic is gone", one_topic).await;
    let topic_gone = tokio::time::Instant::now();
    let course = scene.course().await;
    let name = pod(1);
    let pod_gone = course.pods(&name).find(|(moment, _)| moment.gone).unwrap().0.heard;
    // The operator heard of it at most a moment before this test did.
    let stayed = topic_gone - pod_gone + Duration::from_secs(1);
    assert!(stayed >= TOPIC_STAYS.unsigned_abs(), "{stayed:?}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn gateways_grow_over_the_ready_topics_up_to_the_first_that_cannot_be_made() {
    let scene = Scene::empty("prefix").await;
    // To Kafka a dot and an underscore in a name are the same: it refuses chat.1 beside chat_1.
    let collides = format!("{}.chat_1", scene.name());
    scene.world.kafka.create_topic(&collides).await.unwrap();
    scene.apply::<ImCluster>(&scene.im_cluster("chat", &replicas(3))).await.unwrap();
    scene.until_replicas(1).await;
    let rejected = |it: &ImCluster| verdict(it, ConditionType::TopicsReady) == Some(("False", "TopicRejected"));
    scene.until_it("it says that a topic cannot be made", rejected).await;
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "2"]);
    scene.world.kafka.delete_topic(&collides).await.unwrap();
    scene.settled().await;
    assert_eq!(scene.topics("chat").await.unwrap(), ["0", "1", "2"]);
    assert_eq!(scene.course().await.replicas(), [0, 1, 3]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn the_stateful_set_is_made_last_and_topics_are_recorded_first() {
    let scene = Scene::ready("order", &json!({})).await;
    let writes = scene.operator.writes().in_namespace(scene.name());
    let first = |verb: &str, resource: &str| {
        let position = writes.iter().position(|write| write.verb == verb && write.resource == resource);
        position.unwrap_or_else(|| panic!("no {verb} {resource}: {writes:?}"))
    };
    let set = first("apply", "statefulsets");
    for resource in ["serviceaccounts", "configmaps", "secrets", "services", "networkpolicies", "poddisruptionbudgets"]
    {
        assert!(first("apply", resource) < set, "{resource}: {writes:?}");
    }
    // The budget follows the pods.
    let mut after = writes[set..].iter().filter(|write| write.verb == "apply").map(|write| write.resource.as_str());
    assert!(after.all(|resource| ["poddisruptionbudgets", "statefulsets"].contains(&resource)), "{writes:?}");
    scene.course().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn none_are_left_when_none_are_wanted_and_they_come_back() {
    let scene = Scene::ready("zero", &json!({})).await;
    scene.scale(0);
    let none = scene.until_ids(&[]).await;
    assert_eq!(verdict(&none, ConditionType::Ready), Some(("True", "Serving")));
    assert_eq!(verdict(&none, ConditionType::GatewaysReady), Some(("True", "ScaledToZero")));
    assert!(scene.pods().await.unwrap().is_empty());
    assert!(scene.topics("chat").await.unwrap().is_empty());
    scene.scale(1);
    scene.until_ids(&serving(1)).await;
    scene.settled().await;
    assert_eq!(scene.topics("chat").await.unwrap(), ["0"]);
    assert_eq!(turns(&scene.course().await), [2, 0, 1]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_disruption_budget_keeps_all_but_one_of_those_that_should_be_and_are() {
    let scene = Scene::ready("budget", &slow_drain(3)).await;
    let until = async |available: i32| {
        let what = format!("the budget wants {available}");
        let wants = |it: &PodDisruptionBudget| {
            let spec = it.spec.as_ref().unwrap();
            assert_eq!(spec.unhealthy_pod_eviction_policy.as_deref(), Some("AlwaysAllow"));
            spec.min_available == Some(IntOrString::Int(available))
        };
        scene.until::<PodDisruptionBudget>("chat-gateway", &what, |it| it.is_some_and(wants)).await;
    };
    until(2).await;
    let gateways = [scene.held(1, MANY).await, scene.held(2, MANY).await];
    scene.scale(1);
    until(0).await;
    assert_eq!(scene.pods().await.unwrap().len(), 3, "they drain, and an eviction of them is allowed");
    for gateway in gateways {
        gateway.hold(0).await.unwrap();
    }
    scene.until_replicas(1).await;
    scene.scale(4);
    until(3).await;
    scene.scale(0);
    until(0).await;
    scene.course().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_autoscaler_moves_the_imcluster_and_nothing_fights() {
    let scene = Scene::ready("autoscaler", &json!({})).await;
    let autoscaler = |least: u16, most: u16| {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "chat" },
            "spec": {
                "scaleTargetRef": { "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "name": "chat" },
                "minReplicas": least, "maxReplicas": most,
                "metrics": [{ "type": "Resource", "resource": {
                    "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 },
                } }],
            },
        })
    };
    // Without metrics it keeps to its limits.
    scene.apply::<HorizontalPodAutoscaler>(&autoscaler(3, 4)).await.unwrap();
    scene.until_ids(&serving(3)).await;
    scene.settled().await;
    scene.apply::<HorizontalPodAutoscaler>(&autoscaler(1, 2)).await.unwrap();
    scene.until_ids(&serving(2)).await;
    scene.settled().await;
    let found = |it: Option<&HorizontalPodAutoscaler>| {
        it.and_then(|it| it.status.as_ref()).is_some_and(|status| {
            let able = status.conditions.iter().flatten().any(|it| it.type_ == "AbleToScale" && it.status == "True");
            able && status.current_replicas == Some(2)
        })
    };
    scene.until("chat", "the autoscaler counts the pods", found).await;
    let course = scene.course().await;
    assert_eq!(turns(&course), [3, 2]);
    let mut wanted: Vec<_> = course.clusters().map(|(_, it)| it.spec.gateways.replicas).collect();
    wanted.dedup();
    assert_eq!(wanted, [2, 3, 2], "nobody but the autoscaler moves it");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_autoscaler_counts_every_gateway_pod_those_that_drain_too() {
    let scene = Scene::ready("scale-counts", &slow_drain(3)).await;
    scene.held(2, MANY).await;
    scene.scale(1);
    // Of the two that go, one has nobody, and the other keeps its pod below it.
    let draining = |it: &ImCluster| observed(it) && verdict(it, ConditionType::Reconciling).is_some();
    scene.until_it("two drain", draining).await;
    let scale = scene.api::<ImCluster>().get_scale("chat").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(1));
    let status = scale.status.unwrap();
    assert_eq!(status.replicas, 3);
    let selector = ListParams::default().labels(&status.selector.unwrap());
    assert_eq!(scene.api::<Pod>().list(&selector).await.unwrap().items.len(), 3);
    scene.course().await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn pods_are_counted_and_what_the_stateful_set_says_of_itself_is_not_believed() {
    let scene = Scene::ready("own-counts", &json!({})).await;
    let generation = scene.set().await.metadata.generation;
    let lies = json!({ "status": {
        "replicas": 7, "readyReplicas": 0, "availableReplicas": 0, "currentReplicas": 0, "updatedReplicas": 0,
        "observedGeneration": generation,
    } });
    let sets = scene.api::<StatefulSet>();
    sets.patch_status("chat-gateway", &PatchParams::default(), &Patch::Merge(&lies)).await.unwrap();
    // What can be waited for, behind it.
    scene.change(&json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": 301 } } } })).await;
    let now = scene.settled().await;
    let status = now.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
    let course = scene.course().await;
    let lied = |(_, set): (_, &StatefulSet)| set.status.as_ref().is_some_and(|status| status.replicas == 7);
    assert!(course.sets().any(lied), "it was said");
    assert!(course.stayed_ready());
    let most = course.clusters().filter_map(|(_, it)| it.status.as_ref()?.replicas).max();
    assert_eq!(most, Some(2));
}
