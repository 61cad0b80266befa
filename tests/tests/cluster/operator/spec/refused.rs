//! Specs that cannot work: each is refused by name, and what runs goes on.

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::super::begin;
use super::{event, objects, patch, pods, said, until_said};

/// What the definition lets through, since a pod template has no schema there, and the words that a person finds it by.
fn refused() -> Vec<(Value, [&'static str; 2])> {
    let pod = |spec: Value| json!({ "podTemplate": { "spec": spec } });
    let gateway = |field: &str, value: Value| pod(json!({ "containers": [{ "name": "im-server", field: value }] }));
    let long = "x".repeat(140_000);
    vec![
        (pod(json!({ "tolerationz": [] })), ["podTemplate.spec.tolerationz", "no such field"]),
        (pod(json!({ "priorityClassName": 1 })), ["podTemplate.spec.priorityClassName", "string"]),
        (pod(json!({ "containers": [{ "image": "a" }] })), ["containers[1].name", "must be set"]),
        (pod(json!({ "restartPolicy": "Never" })), ["podTemplate.spec.restartPolicy", "leave it out"]),
        (gateway("image", json!("a")), ["containers[0].image", "spec.image"]),
        (
            gateway("env", json!([{ "name": "IM_SERVER_ID", "value": "1" }])),
            ["containers[0].env[0]", "set the field of the spec instead"],
        ),
        (pod(json!({ "$patch": "replace" })), ["podTemplate.spec.$patch", "instructions like $patch"]),
        (
            json!({ "podTemplate": { "metadata": { "labels": { "a b": "c" } } } }),
            ["podTemplate.metadata.labels", "a b"],
        ),
        (pod(json!({ "priorityClassName": long })), ["spec.gateways.podTemplate", "bytes"]),
    ]
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_the_definition_lets_through_and_cannot_work_is_named_and_gateways_go_on() {
    let (_world, tenant, _operator) = begin("refused").await;
    let one = json!({ "spec": { "gateways": { "replicas": 1 } } });
    let manifest = tenant.im_cluster("chat", &one);
    tenant.apply::<ImCluster>(&manifest).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let (before, running) = (objects(&tenant, "chat").await, pods(&tenant).await);
    for (change, words) in refused() {
        let mut wrong = manifest.clone();
        json_patch::merge(&mut wrong["spec"]["gateways"], &change);
        tenant.apply::<ImCluster>(&wrong).await.unwrap();
        let message = until_said(&tenant, "chat", ConditionType::Accepted, "False/InvalidSpec").await;
        assert!(words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
        let cluster = tenant.api::<ImCluster>().get("chat").await.unwrap();
        assert_eq!(said(&cluster, ConditionType::Stalled), ("True/InvalidSpec".to_owned(), message));
        assert_eq!(said(&cluster, ConditionType::GatewaysReady).0, "True/GatewaysInPlace");
    }
    assert_eq!((objects(&tenant, "chat").await, pods(&tenant).await), (before.clone(), running.clone()));
    assert_eq!(event(&tenant, "InvalidSpec").await.0, "Warning");
    tenant.apply::<ImCluster>(&manifest).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(said(&cluster, ConditionType::Stalled).0, "");
    assert_eq!((objects(&tenant, "chat").await, pods(&tenant).await), (before, running));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_prefix_that_is_another_than_that_of_the_topics_is_refused_with_both() {
    let (_world, tenant, _operator) = begin("prefix").await;
    tenant
        .apply::<ImCluster>(&tenant.im_cluster("chat", &json!({ "spec": { "gateways": { "replicas": 0 } } })))
        .await
        .unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let prefix = format!("{}.chat.", tenant.name());
    assert_eq!(cluster.status.unwrap().topic_prefix, Some(prefix.clone()), "the default");
    let refused = json!({ "spec": { "kafka": { "topics": { "prefix": "other." } } } });
    let error = tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &refused)).await.unwrap_err().to_string();
    assert!(error.contains("prefix cannot change, be added or be removed"), "{error}");
    // As if it had been changed under a definition without that rule.
    let older = Patch::Merge(json!({ "status": { "topicPrefix": "older." } }));
    tenant.api::<ImCluster>().patch_status("chat", &PatchParams::default(), &older).await.unwrap();
    patch(&tenant, "chat", &json!({ "spec": { "updatePolicy": "WithOperator" } })).await;
    let message = until_said(&tenant, "chat", ConditionType::Accepted, "False/InvalidSpec").await;
    assert!(message.contains("older.") && message.contains(&prefix), "{message}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_only_the_api_server_refuses_is_told_in_its_words_and_gateways_go_on() {
    let (_world, tenant, _operator) = begin("forbidden").await;
    let one = json!({ "spec": { "gateways": { "replicas": 1 } } });
    let manifest = tenant.im_cluster("chat", &one);
    tenant.apply::<ImCluster>(&manifest).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let running = pods(&tenant).await;
    let mut wrong = manifest.clone();
    // Any text is one by its type.
    wrong["spec"]["gateways"]["podTemplate"]["spec"]["dnsPolicy"] = json!("Sometimes");
    tenant.apply::<ImCluster>(&wrong).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::GatewaysReady, "False/ObjectRefused").await;
    assert!(message.contains("StatefulSet chat-gateway") && message.contains("dnsPolicy"), "{message}");
    until_said(&tenant, "chat", ConditionType::Stalled, "True/ObjectRefused").await;
    assert_eq!(event(&tenant, "ObjectRefused").await, ("Warning".to_owned(), message));
    assert_eq!(pods(&tenant).await, running);

    tenant.apply::<ImCluster>(&manifest).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(said(&cluster, ConditionType::Stalled).0, "");
    assert_eq!(pods(&tenant).await, running);
    assert!(tenant.api::<StatefulSet>().get_opt("chat-gateway").await.unwrap().is_some());
}
