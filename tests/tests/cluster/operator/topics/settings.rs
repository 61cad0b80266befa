//! Topics are kept as the spec wants them, as far as Kafka can.

use std::collections::BTreeMap;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use imcluster_tests::operator::{Operator, World};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;

use super::super::begin;
use super::super::spec::{event, patch, pods, said, until_said};
use super::{admin, make, own_setting, settings, topic};

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn settings_are_repaired_one_by_one_and_those_of_others_stay() {
    let (world, tenant, operator) = begin("repaired").await;
    let (made, adopted) = (topic(&tenant, 0), topic(&tenant, 1));
    make(world, &adopted, &[("retention.ms", "5000000"), ("segment.ms", "60000")]).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    for topic in [&made, &adopted] {
        assert_eq!(own_setting(world, topic, "retention.ms").await.as_deref(), Some("600000"), "{topic}");
    }
    assert_eq!(own_setting(world, &adopted, "segment.ms").await.as_deref(), Some("60000"));

    // Somebody changes both a setting of ours and one that is not, while nobody looks.
    operator.stop().await.unwrap();
    let theirs = settings(&[("retention.ms", "70000"), ("max.message.bytes", "2000000")]);
    admin(world).set(&BTreeMap::from([(made.clone(), theirs)])).await.unwrap().remove(&made).unwrap().unwrap();
    let _operator = Operator::start(world, &tenant).unwrap();
    // The operator looks at all topics for this one.
    let more = json!({ "spec": { "kafka": { "topics": { "config": { "retention.ms": "600000", "segment.bytes": "20000000" } } } } });
    patch(&tenant, "chat", &more).await;
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    until_own(world, &made, "segment.bytes", "20000000").await;
    assert_eq!(own_setting(world, &made, "retention.ms").await.as_deref(), Some("600000"));
    assert_eq!(own_setting(world, &made, "max.message.bytes").await.as_deref(), Some("2000000"), "nobody asked");
    // What the spec does not name any more is not taken back: nobody knows what it was.
    assert_eq!(own_setting(world, &adopted, "segment.ms").await.as_deref(), Some("60000"));
}

/// Waits until a topic has a setting.
async fn until_own(world: &World, topic: &str, name: &str, value: &str) {
    let reached = async {
        while own_setting(world, topic, name).await.as_deref() != Some(value) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let patience = std::time::Duration::from_mins(1);
    tokio::time::timeout(patience, reached).await.unwrap_or_else(|_| panic!("{topic} never has {name} = {value}"));
}

/// Makes a topic with more partitions than one.
async fn make_wide(world: &World, topic: &str) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", world.bootstrap().to_string()).create().unwrap();
    let wide = NewTopic::new(topic, 3, TopicReplication::Fixed(1));
    admin.create_topics(&[wide], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn partitions_that_cannot_be_taken_away_are_not_supported_and_the_rest_goes_on() {
    let (world, tenant, _operator) = begin("partitions").await;
    make_wide(world, &topic(&tenant, 0)).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::TopicsReady, "False/NotSupported").await;
    assert!(message.contains(&topic(&tenant, 0)) && message.contains("partition"), "{message}");
    let cluster = tenant.until_condition("chat", ConditionType::GatewaysReady, "True").await;
    assert_eq!(said(&cluster, ConditionType::Ready).0, "False/TopicsNotReady");
    assert_eq!(said(&cluster, ConditionType::Stalled).0, "True/NotSupported");
    assert_eq!(event(&tenant, "NotSupported").await.0, "Warning");
    assert_eq!(own_setting(world, &topic(&tenant, 0), "retention.ms").await.as_deref(), Some("600000"));
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn other_copies_are_not_supported_more_than_brokers_are_rejected_and_gateways_that_run_go_on() {
    let (_world, tenant, _operator) = begin("copies").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let running = pods(&tenant).await;
    let copies = |copies: u16| json!({ "spec": { "kafka": { "topics": { "replicationFactor": copies } } } });
    patch(&tenant, "chat", &copies(2)).await;
    let message = until_said(&tenant, "chat", ConditionType::TopicsReady, "False/NotSupported").await;
    assert!(message.contains("spec.kafka.topics.replicationFactor"), "{message}");
    patch(&tenant, "chat", &json!({ "spec": { "gateways": { "replicas": 3 } } })).await;
    let message = until_said(&tenant, "chat", ConditionType::TopicsReady, "False/TopicRejected").await;
    assert!(message.contains(&topic(&tenant, 2)) && message.contains("replicationFactor"), "{message}");
    until_said(&tenant, "chat", ConditionType::GatewaysReady, "False/WaitingForTopics").await;
    assert_eq!(pods(&tenant).await, running);
    patch(&tenant, "chat", &copies(1)).await;
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1", "2"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_setting_that_kafka_refuses_is_told_and_no_pod_comes_before_its_topic() {
    let (_world, tenant, _operator) = begin("setting").await;
    let odd = json!({ "spec": { "kafka": { "topics": { "config": { "no.such.setting": "1" } } } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &odd)).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::TopicsReady, "False/TopicRejected").await;
    assert!(message.contains(&topic(&tenant, 0)) && message.contains("spec.kafka.topics.config"), "{message}");
    until_said(&tenant, "chat", ConditionType::Stalled, "True/TopicRejected").await;
    assert!(pods(&tenant).await.is_empty());
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_topic_that_is_missing_under_a_gateway_is_made_again_and_that_is_told() {
    let (world, tenant, _operator) = begin("missing-topic").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let running = pods(&tenant).await;
    world.kafka.delete_topic(&topic(&tenant, 1)).await.unwrap();
    // For this one the operator looks at all of them.
    patch(&tenant, "chat", &json!({ "spec": { "kafka": { "topics": { "config": { "segment.ms": "60000" } } } } }))
        .await;
    let (kind, text) = event(&tenant, "TopicsRecreated").await;
    assert!(kind == "Warning" && text.contains(&topic(&tenant, 1)) && !text.contains(&topic(&tenant, 0)), "{text}");
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
    assert_eq!(own_setting(world, &topic(&tenant, 1), "retention.ms").await.as_deref(), Some("600000"));
    assert_eq!(pods(&tenant).await, running);
}
