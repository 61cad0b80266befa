//! What a resource means where it is silent.

use imcluster_crds::{ImCluster, Resources, ServerId, Topics};
use serde_json::{Value, json};

use crate::cases::{merged, smallest};

fn resource(patch: &Value) -> ImCluster {
    serde_json::from_value(merged(&smallest(), patch)).unwrap()
}

#[test]
fn topics_are_called_prefix_and_number() {
    let plain = resource(&json!({}));
    assert_eq!(plain.topic_prefix(), "im.chat.");
    assert_eq!(plain.topic_name(ServerId(12)), "im.chat.12");
    let given = resource(&json!({ "spec": { "kafka": { "topics": { "prefix": "eu_" } } } }));
    assert_eq!(given.topic_name(ServerId(0)), "eu_0");
}

#[test]
fn installations_can_share_a_redis() {
    assert_eq!(resource(&json!({})).redis_prefix(), "im:im.chat:");
    assert_eq!(resource(&json!({ "spec": { "config": { "redisPrefix": "a:" } } })).redis_prefix(), "a:");
}

#[test]
fn a_broker_without_a_dot_is_a_service_of_the_namespace() {
    for (given, meant) in [
        ("kafka:9092", vec!["kafka.im.svc:9092"]),
        ("kafka.other:9092,a:1", vec!["kafka.other:9092", "a.im.svc:1"]),
        ("10.0.0.1:9092", vec!["10.0.0.1:9092"]),
        ("[fd00::1]:9092", vec!["[fd00::1]:9092"]),
    ] {
        let resource = resource(&json!({ "spec": { "kafka": { "bootstrapServers": given } } }));
        assert_eq!(resource.bootstrap_servers(), meant, "{given}");
    }
}

#[test]
fn records_are_not_kept_for_ever_because_another_setting_was_made() {
    assert_eq!(Topics::default().resolved_config()["retention.ms"], "600000");
    let config = |config: Value| resource(&json!({ "spec": { "kafka": { "topics": { "config": config } } } }));
    let resolved = config(json!({ "segment.ms": "60000" })).spec.kafka.topics.resolved_config();
    assert_eq!((&*resolved["retention.ms"], &*resolved["segment.ms"]), ("600000", "60000"));
    let resolved = config(json!({ "retention.ms": "60000" })).spec.kafka.topics.resolved_config();
    assert_eq!(resolved["retention.ms"], "60000");
}

#[test]
fn what_is_requested_by_default_is_never_above_a_limit() {
    let requests = |resources: Value| {
        let resources: Resources = serde_json::from_value(resources).unwrap();
        let requests = resources.resolved_requests().into_iter();
        requests.map(|(name, quantity)| format!("{name}={}", quantity.0)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(requests(json!({})), "cpu=250m memory=512Mi");
    assert_eq!(requests(json!({ "requests": { "cpu": 2 } })), "cpu=2 memory=512Mi");
    // Kubernetes makes the request of a limit that stands alone.
    assert_eq!(requests(json!({ "limits": { "memory": "128Mi" } })), "cpu=250m");
    assert_eq!(
        requests(json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": 1, "memory": "2Gi" } })),
        "memory=1Gi"
    );
}
