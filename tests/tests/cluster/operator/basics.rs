//! One `ImCluster` from its beginning to its end.

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase, TopicOrigin};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use super::{begin, change, ids, until_gone};

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_imcluster_becomes_ready_with_a_topic_and_a_pod_per_id_and_leaves_nothing_behind() {
    let (_world, tenant, _operator) = begin("ready").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(ids(&cluster), [(0, ServerPhase::Serving), (1, ServerPhase::Serving)]);
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
    let pods: Vec<_> = tenant.pods().await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(pods, ["chat-gateway-0", "chat-gateway-1"]);
    let status = cluster.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
    let origins = status.servers.iter().map(|entry| entry.topic.as_ref().map(|topic| topic.origin));
    assert!(origins.into_iter().all(|origin| origin == Some(TopicOrigin::Created)));

    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    assert!(tenant.topics("chat").await.unwrap().is_empty(), "its topics are deleted");
    tenant.until::<StatefulSet>("chat-gateway", "the StatefulSet is gone", |it| it.is_none()).await;
    tenant.until::<Pod>("chat-gateway-0", "the pods are gone", |it| it.is_none()).await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn gateways_grow_behind_their_topics_and_shrink_when_they_are_drained() {
    let (_world, tenant, _operator) = begin("scale").await;
    let drain = json!({ "spec": { "gateways": {
        "maxConnections": 100, "drain": { "deadlineSeconds": 5, "connectionsPerSecond": 100 },
    } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &drain)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    tenant.kubectl().run(&["scale", "imc/chat", "--replicas=4"]);
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1", "2", "3"]);

    tenant.gateway("chat-gateway-3").await.unwrap().hold(100).await.unwrap();
    tenant.kubectl().run(&["scale", "imc/chat", "--replicas=1"]);
    let one_left = |it: Option<&ImCluster>| it.is_some_and(|it| ids(it) == [(0, ServerPhase::Serving)]);
    tenant.until("chat", "one id is left", one_left).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0"]);
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn nothing_is_written_while_nothing_changes() {
    let (_world, tenant, operator) = begin("quiet").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    // A change that means nothing, and one that can be waited for behind it.
    let before = operator.writes().in_namespace(tenant.name()).len();
    change(&tenant, &json!({ "metadata": { "annotations": { "example.com/note": "one" } } })).await;
    change(&tenant, &json!({ "spec": { "paused": true } })).await;
    tenant.until_condition("chat", ConditionType::Paused, "True").await;
    let writes = operator.writes().in_namespace(tenant.name());
    let objects: Vec<_> = writes[before..]
        .iter()
        .filter(|write| !write.resource.starts_with("imclusters") && write.resource != "events")
        .collect();
    assert!(objects.is_empty(), "{objects:?}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_secret_that_is_missing_is_named_and_nothing_is_made_until_it_is_there() {
    let (_world, tenant, _operator) = begin("missing").await;
    let other = json!({ "spec": { "redis": { "urlSecretRef": { "name": "later" } } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &other)).await.unwrap();
    let refused = tenant.until_condition("chat", ConditionType::Accepted, "False").await;
    let conditions = refused.status.unwrap().conditions;
    let accepted = conditions.iter().find(|condition| condition.type_ == "Accepted").unwrap();
    assert_eq!(accepted.reason, "ReferenceNotFound");
    assert!(accepted.message.contains("later"), "{}", accepted.message);
    assert!(tenant.api::<StatefulSet>().get_opt("chat-gateway").await.unwrap().is_none());
    assert!(tenant.topics("chat").await.unwrap().is_empty());
    tenant.secret("later", &[("url", "redis://10.0.0.1:6379/0")]).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
}
