//! The objects of an `ImCluster` are what it says, whoever changes them; what is not its own is left alone.

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::{begin, until_gone};
use super::{done_since, event, look, objects, patch, pods, said, set, until_said, written};

const GATEWAY: &str = "chat-gateway";

/// No gateways are needed: whatever it says is there at once.
fn without_gateways() -> Value {
    json!({ "spec": { "gateways": { "replicas": 0 } } })
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn objects_that_are_deleted_by_hand_come_back() {
    let (_world, tenant, _operator) = begin("deleted").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &without_gateways())).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let before = objects(&tenant, "chat").await;
    macro_rules! comes_back {
        ($kind:ty) => {
            let api = tenant.api::<$kind>();
            let uid = api.get(GATEWAY).await.unwrap().uid();
            api.delete(GATEWAY, &DeleteParams::background()).await.unwrap();
            let is_back = |it: Option<&$kind>| it.is_some_and(|it| it.uid() != uid);
            tenant.until::<$kind>(GATEWAY, concat!(stringify!($kind), " is back"), is_back).await;
        };
    }
    comes_back!(ServiceAccount);
    comes_back!(ConfigMap);
    comes_back!(NetworkPolicy);
    comes_back!(PodDisruptionBudget);
    comes_back!(StatefulSet);
    let after = objects(&tenant, "chat").await;
    assert_eq!(after, before);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn objects_that_are_changed_by_hand_are_put_back() {
    let (_world, tenant, _operator) = begin("changed").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &without_gateways())).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let before = objects(&tenant, "chat").await;
    macro_rules! is_put_back {
        ($kind:ty, $change:expr, $field:literal) => {
            let (api, change): (_, Value) = (tenant.api::<$kind>(), $change);
            let value = |it: &$kind| serde_json::to_value(it).unwrap().pointer($field).cloned();
            let wanted = value(&api.get(GATEWAY).await.unwrap());
            let changed = api.patch(GATEWAY, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
            assert_ne!(value(&changed), wanted, "it was changed");
            let is_back = |it: Option<&$kind>| it.is_some_and(|it| value(it) == wanted);
            tenant.until::<$kind>(GATEWAY, concat!(stringify!($kind), " is as it was"), is_back).await;
        };
    }
    is_put_back!(ConfigMap, json!({ "data": { "im-server.toml": "nothing" } }), "/data/im-server.toml");
    is_put_back!(ServiceAccount, json!({ "automountServiceAccountToken": true }), "/automountServiceAccountToken");
    is_put_back!(
        Service,
        json!({ "spec": { "selector": { "app.kubernetes.io/instance": "other" } } }),
        "/spec/selector"
    );
    is_put_back!(PodDisruptionBudget, json!({ "spec": { "minAvailable": 7 } }), "/spec/minAvailable");
    is_put_back!(StatefulSet, json!({ "spec": { "minReadySeconds": 1 } }), "/spec/minReadySeconds");
    is_put_back!(
        StatefulSet,
        json!({ "metadata": { "annotations": { "imcluster.dev/applied-hash": "a" } } }),
        "/metadata/annotations"
    );
    is_put_back!(
        NetworkPolicy,
        json!({ "metadata": { "labels": { "app.kubernetes.io/component": "a" } } }),
        "/metadata/labels"
    );
    assert_eq!(objects(&tenant, "chat").await, before);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn labels_and_annotations_of_others_survive_a_change_of_the_spec() {
    let (_world, tenant, operator) = begin("foreign").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &without_gateways())).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let theirs = Patch::Merge(json!({ "metadata": {
        "labels": { "example.com/team": "chat" }, "annotations": { "example.com/note": "ours" },
    } }));
    let params = PatchParams::default();
    let before = written(&operator, &tenant);
    tenant.api::<StatefulSet>().patch(GATEWAY, &params, &theirs).await.unwrap();
    tenant.api::<Service>().patch(GATEWAY, &params, &theirs).await.unwrap();
    tenant.api::<ConfigMap>().patch(GATEWAY, &params, &theirs).await.unwrap();
    look(&tenant, "chat").await;
    assert_eq!(done_since(&operator, &tenant, before), [""; 0], "they are nobody's business");

    // Each of the three becomes another.
    let change = json!({ "spec": {
        "gateways": { "maxConnections": 10_000, "service": { "annotations": { "example.com/balancer": "fast" } } },
    } });
    patch(&tenant, "chat", &change).await;
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert!(done_since(&operator, &tenant, before).len() >= 3);
    for (name, object) in objects(&tenant, "chat").await {
        if ["StatefulSet chat-gateway", "Service chat-gateway", "ConfigMap chat-gateway"].contains(&&*name) {
            assert_eq!(object["metadata"]["labels"]["example.com/team"], "chat", "{name}");
            assert_eq!(object["metadata"]["annotations"]["example.com/note"], "ours", "{name}");
        }
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_object_of_somebody_else_is_named_and_left_alone_until_it_is_gone() {
    let (_world, tenant, _operator) = begin("others").await;
    let theirs: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": GATEWAY }, "data": { "theirs": "yes" } })).unwrap();
    let api = tenant.api::<ConfigMap>();
    let theirs = api.create(&PostParams::default(), &theirs).await.unwrap();
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &without_gateways())).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::GatewaysReady, "False/NotOurs").await;
    assert!(message.contains("ConfigMap chat-gateway"), "{message}");
    until_said(&tenant, "chat", ConditionType::Ready, "False/GatewaysNotReady").await;
    until_said(&tenant, "chat", ConditionType::Stalled, "True/NotOurs").await;
    assert_eq!(event(&tenant, "NotOurs").await, ("Warning".to_owned(), message));
    assert_eq!(api.get(GATEWAY).await.unwrap(), theirs);
    assert!(tenant.api::<StatefulSet>().get_opt(GATEWAY).await.unwrap().is_none(), "it would have the wrong settings");

    api.delete(GATEWAY, &DeleteParams::default()).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(said(&cluster, ConditionType::Stalled).0, "");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_the_spec_does_not_ask_for_any_more_goes_and_nothing_else() {
    let (_world, tenant, _operator) = begin("removed").await;
    let more = json!({ "spec": {
        "gateways": { "replicas": 0 }, "ingress": { "className": "none", "host": "chat.example" },
    } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &more)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(objects(&tenant, "chat").await.len(), 9);
    // It looks like one of ours, and is not.
    let theirs = json!({
        "metadata": { "name": "theirs", "labels": {
            "app.kubernetes.io/name": "imcluster", "app.kubernetes.io/instance": "chat",
            "app.kubernetes.io/component": "gateway", "app.kubernetes.io/managed-by": "imcluster-operator",
        } },
        "spec": { "podSelector": {} },
    });
    let theirs: NetworkPolicy = serde_json::from_value(theirs).unwrap();
    tenant.api().create(&PostParams::default(), &theirs).await.unwrap();

    let less = json!({ "spec": { "gateways": { "replicas": 0 }, "networkPolicy": { "enabled": false } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &less)).await.unwrap();
    tenant.until::<Ingress>(GATEWAY, "the Ingress is gone", |it| it.is_none()).await;
    tenant.until::<NetworkPolicy>(GATEWAY, "the NetworkPolicy is gone", |it| it.is_none()).await;
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let left: Vec<_> = objects(&tenant, "chat").await.into_keys().collect();
    assert!(left.contains(&"NetworkPolicy theirs".to_owned()) && left.len() == 8, "{left:?}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn another_one_of_the_same_name_waits_for_what_the_last_one_left_and_alarms_nobody() {
    let (_world, tenant, operator) = begin("again").await;
    let retained = json!({ "spec": { "gateways": { "replicas": 1 }, "kafka": { "topics": { "policy": "Retain" } } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &retained)).await.unwrap();
    let first = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    // So that what the first one left is found by the second one: it goes a moment later.
    let held = Patch::Merge(json!({ "metadata": { "finalizers": ["example.com/held"] } }));
    tenant.api::<ConfigMap>().patch(GATEWAY, &PatchParams::default(), &held).await.unwrap();
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    let before = written(&operator, &tenant);
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &retained)).await.unwrap();
    let applied = |it: Option<&Service>| {
        it.is_some_and(|it| it.owner_references().iter().all(|owner| Some(&owner.uid) != first.metadata.uid.as_ref()))
    };
    tenant
        .until::<Service>("chat-pods", "the Services of the first one are gone or taken", |it| {
            it.is_none() || applied(it)
        })
        .await;
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    tenant.api::<ConfigMap>().patch(GATEWAY, &PatchParams::default(), &free).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert!(written(&operator, &tenant) > before);
    let events =
        tenant.api::<k8s_openapi::api::events::v1::Event>().list(&kube::api::ListParams::default()).await.unwrap();
    assert!(events.items.iter().all(|event| event.reason.as_deref() != Some("NotOurs")), "nobody is in the way");
    assert_eq!(pods(&tenant).await.len(), 1);
    assert_eq!(set(&tenant, "chat").await.owner_references()[0].name, "chat");
}
