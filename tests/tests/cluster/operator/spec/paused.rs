//! `spec.paused`: everything is left as it is.

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use k8s_openapi::api::core::v1::Service;
use kube::api::DeleteParams;
use serde_json::json;

use super::super::begin;
use super::{done_since, event, objects, patch, pods, said, until_said, written};

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn nothing_is_done_while_it_is_paused_and_all_of_it_afterwards() {
    let (_world, tenant, operator) = begin("paused").await;
    let one = json!({ "spec": { "gateways": { "replicas": 1 } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &one)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let (before, running) = (objects(&tenant, "chat").await, pods(&tenant).await);

    patch(&tenant, "chat", &json!({ "spec": { "paused": true } })).await;
    until_said(&tenant, "chat", ConditionType::Paused, "True/PausedInSpec").await;
    assert_eq!(event(&tenant, "Paused").await.0, "Normal");
    let since = written(&operator, &tenant);
    tenant.api::<Service>().delete("chat-gateway", &DeleteParams::default()).await.unwrap();
    tenant.secret("redis", &[("url", "redis://10.0.0.9:6379/0")]).await.unwrap();
    let change = json!({ "spec": {
        "gateways": { "replicas": 2, "maxConnections": 10_000 }, "ingress": { "host": "chat.example" },
    } });
    patch(&tenant, "chat", &change).await;
    until_said(&tenant, "chat", ConditionType::Accepted, "True/Valid").await;
    // Who edits what is paused wants to know at once what is wrong with it.
    let wrong = json!({ "spec": { "gateways": { "podTemplate": { "spec": { "restartPolicy": "Never" } } } } });
    patch(&tenant, "chat", &wrong).await;
    until_said(&tenant, "chat", ConditionType::Accepted, "False/InvalidSpec").await;
    patch(
        &tenant,
        "chat",
        &json!({ "spec": { "gateways": { "podTemplate": { "spec": { "restartPolicy": null } } } } }),
    )
    .await;
    until_said(&tenant, "chat", ConditionType::Accepted, "True/Valid").await;

    assert_eq!(done_since(&operator, &tenant, since), [""; 0]);
    let mut left = before;
    left.remove("Service chat-gateway");
    assert_eq!(objects(&tenant, "chat").await, left);
    assert_eq!(pods(&tenant).await, running);
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0"]);
    let paused = tenant.api::<ImCluster>().get("chat").await.unwrap();
    assert_eq!(said(&paused, ConditionType::Reconciling).0, "", "nobody is on the way");

    patch(&tenant, "chat", &json!({ "spec": { "paused": false } })).await;
    until_said(&tenant, "chat", ConditionType::Paused, "False/NotPaused").await;
    event(&tenant, "Resumed").await;
    tenant.until::<Service>("chat-gateway", "the Service is back", |it| it.is_some()).await;
    let grown =
        |it: Option<&ImCluster>| it.is_some_and(|it| it.status.as_ref().and_then(|it| it.ready_replicas) == Some(2));
    tenant.until("chat", "two are ready", grown).await;
    let after = objects(&tenant, "chat").await;
    assert!(after.contains_key("Ingress chat-gateway"));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn one_that_is_paused_from_the_beginning_gets_nothing_and_one_that_is_deleted_goes() {
    let (_world, tenant, operator) = begin("pausedfirst").await;
    let paused = json!({ "spec": { "paused": true } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &paused)).await.unwrap();
    until_said(&tenant, "chat", ConditionType::Paused, "True/PausedInSpec").await;
    assert_eq!(done_since(&operator, &tenant, 0), [""; 0]);
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    super::super::until_gone(&tenant).await;
}
