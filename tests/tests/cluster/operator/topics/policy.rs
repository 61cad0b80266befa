//! Who makes topics, and what becomes of them: `kafka.topics.policy`.

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase, TopicOrigin};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::super::spec::{patch, pods, until_said};
use super::super::{begin, ids, until_gone};
use super::{make, origins, own_setting, topic};

fn policy(policy: &str) -> Value {
    json!({ "spec": { "kafka": { "topics": { "policy": policy } } } })
}

/// The drain of gateways without clients takes no time.
fn fewer() -> Value {
    json!({ "spec": { "gateways": { "replicas": 1 } } })
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn topics_that_are_retained_outlive_their_gateways_and_hold_nobody_up() {
    let (_world, tenant, _operator) = begin("retain").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &policy("Retain"))).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(origins(&cluster), [Some(TopicOrigin::Created); 2]);
    assert!(cluster.finalizers().is_empty(), "there is nothing to wait for");
    patch(&tenant, "chat", &fewer()).await;
    let one_left = |it: Option<&ImCluster>| it.is_some_and(|it| ids(it) == [(0, ServerPhase::Serving)]);
    tenant.until("chat", "one id is left", one_left).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_policy_that_changes_takes_the_finalizer_along() {
    let (_world, tenant, _operator) = begin("finalizer").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &policy("Delete"))).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(cluster.finalizers(), ["imcluster.dev/topics"]);
    patch(&tenant, "chat", &policy("Retain")).await;
    let free = |it: Option<&ImCluster>| it.is_some_and(|it| it.finalizers().is_empty());
    tenant.until("chat", "nothing holds it", free).await;
    patch(&tenant, "chat", &policy("Delete")).await;
    let held = |it: Option<&ImCluster>| it.is_some_and(|it| it.finalizers() == ["imcluster.dev/topics"]);
    tenant.until("chat", "it is held again", held).await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn topics_of_somebody_else_are_waited_for_used_and_left_as_they_are() {
    let (world, tenant, _operator) = begin("unmanaged").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &policy("Unmanaged"))).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::TopicsReady, "False/TopicsMissing").await;
    assert!(message.contains(&topic(&tenant, 0)) && message.contains("one partition"), "{message}");
    until_said(&tenant, "chat", ConditionType::Stalled, "True/TopicsMissing").await;
    until_said(&tenant, "chat", ConditionType::GatewaysReady, "False/WaitingForTopics").await;
    assert!(pods(&tenant).await.is_empty() && tenant.topics("chat").await.unwrap().is_empty());
    for id in 0..2 {
        make(world, &topic(&tenant, id), &[("retention.ms", "5000000")]).await;
    }
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(origins(&cluster), [Some(TopicOrigin::Adopted); 2]);
    assert_eq!(own_setting(world, &topic(&tenant, 0), "retention.ms").await.as_deref(), Some("5000000"));
    assert!(cluster.finalizers().is_empty());
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn topics_are_named_after_the_resource_or_as_the_spec_says() {
    let (world, tenant, _operator) = begin("named").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &policy("Retain"))).await.unwrap();
    let own = format!("own-{}-", tenant.name());
    let named = json!({ "spec": { "gateways": { "replicas": 1 }, "kafka": { "topics": { "prefix": own, "policy": "Retain" } } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("other", &named)).await.unwrap();
    for (name, prefix) in [("chat", format!("{}.chat.", tenant.name())), ("other", own.clone())] {
        let cluster = tenant.until_condition(name, ConditionType::Ready, "True").await;
        assert_eq!(cluster.status.unwrap().topic_prefix, Some(prefix));
    }
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
    assert_eq!(Vec::from_iter(world.kafka.topics(&own).await.unwrap()), [format!("{own}0")]);
}
