//! What another process did need not be done again.

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use imcluster_tests::operator::{Operator, World};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{done_since, event, look, objects, patch, pods, until_said, written};

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_operator_that_begins_writes_nothing_where_everything_is_as_it_should_be() {
    let world = World::shared().await;
    let tenant = world.tenant("restart").await;
    let first = Operator::start(world, &tenant).unwrap();
    let ingress = json!({ "spec": { "ingress": { "host": "chat.example" } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &ingress)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let (before, running) = (objects(&tenant, "chat").await, pods(&tenant).await);
    first.stop().await.unwrap();

    let second = Operator::start(world, &tenant).unwrap();
    // The first thing that it says is the answer to a change: it has looked at all by then.
    look(&tenant, "chat").await;
    assert_eq!(done_since(&second, &tenant, 0), [""; 0]);
    assert_eq!(written(&second, &tenant), 1, "{:?}", second.writes().in_namespace(tenant.name()));
    assert_eq!((objects(&tenant, "chat").await, pods(&tenant).await), (before, running));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_was_changed_while_no_operator_ran_is_put_back_by_the_next_one() {
    let world = World::shared().await;
    let tenant = world.tenant("away").await;
    let first = Operator::start(world, &tenant).unwrap();
    let none = json!({ "spec": { "gateways": { "replicas": 0 } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &none)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let before = objects(&tenant, "chat").await;
    first.stop().await.unwrap();
    // Its annotation still says what was applied.
    let change = Patch::Merge(json!({ "data": { "im-server.toml": "nothing" } }));
    tenant.api::<ConfigMap>().patch("chat-gateway", &PatchParams::default(), &change).await.unwrap();
    assert_ne!(objects(&tenant, "chat").await, before);

    let second = Operator::start(world, &tenant).unwrap();
    look(&tenant, "chat").await;
    assert_eq!(objects(&tenant, "chat").await, before);
    assert_eq!(done_since(&second, &tenant, 0), ["apply configmaps chat-gateway"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_status_that_cannot_be_read_holds_up_nobody_and_is_made_anew() {
    let world = World::shared().await;
    let tenant = world.tenant("unreadable").await;
    let none = json!({ "spec": { "gateways": { "replicas": 0 } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("odd", &none)).await.unwrap();
    // A time by the rules of the API server, and by no others.
    let odd = json!({ "status": { "servers": [{ "id": 0, "phase": "Draining", "drainStartTime": "2026-11-21T12:00:00+99:99" }] } });
    let api = tenant.api::<ImCluster>();
    let _ = api.patch_status("odd", &PatchParams::default(), &Patch::Merge(&odd)).await;
    assert!(api.get("odd").await.is_err(), "it cannot be read");
    let _operator = Operator::start(world, &tenant).unwrap();
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &none)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    until_said(&tenant, "odd", ConditionType::Accepted, "False/InvalidSpec").await;
    assert!(event(&tenant, "InvalidSpec").await.1.contains("status.servers[0].drainStartTime"));
    patch(&tenant, "odd", &json!({ "spec": { "updatePolicy": "WithOperator" } })).await;
    tenant.until_condition("odd", ConditionType::Ready, "True").await;
}
