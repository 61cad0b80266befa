//! Two `ImCluster`s that would have the same topics.

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use imcluster_tests::operator::{Operator, Tenant, World};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::begin;
use super::spec::{event, objects, pods, until_said};

/// Nothing has to wait for the topics of one that goes.
fn shared(tenant: &Tenant) -> Value {
    let prefix = format!("shared.{}.", tenant.name());
    json!({ "spec": { "gateways": { "replicas": 1 }, "kafka": { "topics": { "prefix": prefix, "policy": "Retain" } } } })
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn the_oldest_has_the_topics_and_the_other_follows_when_it_is_gone() {
    let (world, tenant, _operator) = begin("conflict").await;
    let shared = shared(&tenant);
    tenant.apply::<ImCluster>(&tenant.im_cluster("zoe", &shared)).await.unwrap();
    // A second passes meanwhile, and times have no less.
    tenant.until_condition("zoe", ConditionType::Ready, "True").await;
    let running = pods(&tenant).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("adam", &shared)).await.unwrap();
    let message = until_said(&tenant, "adam", ConditionType::Accepted, "False/TopicConflict").await;
    assert!(message.contains(&format!("{}/zoe", tenant.name())) && message.contains("shared."), "{message}");
    until_said(&tenant, "adam", ConditionType::Ready, "False/NotAccepted").await;
    until_said(&tenant, "adam", ConditionType::Stalled, "True/TopicConflict").await;
    assert_eq!(event(&tenant, "TopicConflict").await, ("Warning".to_owned(), message));
    assert!(objects(&tenant, "adam").await.is_empty());
    until_said(&tenant, "zoe", ConditionType::Ready, "True/Serving").await;
    assert_eq!(pods(&tenant).await, running);

    tenant.api::<ImCluster>().delete("zoe", &DeleteParams::default()).await.unwrap();
    tenant.until_condition("adam", ConditionType::Ready, "True").await;
    assert_eq!(world.kafka.topics(&format!("shared.{}.", tenant.name())).await.unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn of_two_that_were_there_before_the_operator_one_serves_and_one_stands_back() {
    let world = World::shared().await;
    let tenant = world.tenant("two").await;
    let shared = shared(&tenant);
    let mut made = Vec::new();
    for name in ["zoe", "adam"] {
        made.push(tenant.apply::<ImCluster>(&tenant.im_cluster(name, &shared)).await.unwrap());
    }
    made.sort_by_key(|it| (it.metadata.creation_timestamp.clone(), it.metadata.uid.clone()));
    let [first, second] = [0, 1].map(|place| made[place].metadata.name.clone().unwrap());
    let _operator = Operator::start(world, &tenant).unwrap();
    until_said(&tenant, &second, ConditionType::Accepted, "False/TopicConflict").await;
    tenant.until_condition(&first, ConditionType::Ready, "True").await;
    let running: Vec<_> = pods(&tenant).await.into_keys().collect();
    assert_eq!(running, [format!("{first}-gateway-0")]);
}
