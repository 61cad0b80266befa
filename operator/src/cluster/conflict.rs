//! Two `ImCluster`s that would write to the same topics: the oldest has them.

use std::collections::BTreeSet;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;

use super::conditions::Verdict;

/// Which of `others` has the topics that `cluster` wants: an older one with the same prefix on the same Kafka. The answer is
/// the same for both, whoever asks.
pub(super) fn owner<'a>(cluster: &ImCluster, others: impl IntoIterator<Item = &'a ImCluster>) -> Option<&'a ImCluster> {
    let mine = topics(cluster);
    others.into_iter().filter(|other| other.metadata.uid != cluster.metadata.uid && age(other) < age(cluster)).find(
        |other| {
            let theirs = topics(other);
            theirs.1 == mine.1 && !theirs.0.is_disjoint(&mine.0)
        },
    )
}

/// Whether [`ImCluster::topic_prefix`] is this, of one that was not read.
pub(super) fn has_prefix(object: &DynamicObject, prefix: &str) -> bool {
    if let Some(own) = object.data.pointer("/spec/kafka/topics/prefix").and_then(Value::as_str) {
        return own == prefix;
    }
    let rest = prefix.strip_prefix(object.metadata.namespace.as_deref().unwrap_or_default());
    let rest = rest.and_then(|rest| rest.strip_prefix('.'));
    rest.and_then(|rest| rest.strip_suffix('.')) == object.metadata.name.as_deref()
}

/// What the one that has to stand back is told.
pub(super) fn refusal(cluster: &ImCluster, owner: &ImCluster) -> Verdict {
    let what = format!(
        "ImCluster {}/{} is older and has the topic prefix {} on the same Kafka: set another kafka.topics.prefix in a new \
         ImCluster",
        owner.namespace().unwrap_or_default(),
        owner.name_any(),
        cluster.topic_prefix()
    );
    Verdict::no(Reason::TopicConflict, what)
}

/// Where its topics are: brokers, one of which is enough to be the same Kafka, and the prefix.
fn topics(cluster: &ImCluster) -> (BTreeSet<String>, String) {
    (cluster.bootstrap_servers().into_iter().collect(), cluster.topic_prefix())
}

/// By the time it was made; those of one second by UID.
fn age(cluster: &ImCluster) -> (Option<&Time>, Option<&str>) {
    (cluster.metadata.creation_timestamp.as_ref(), cluster.metadata.uid.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prefix_is_known_without_reading_the_resource() {
        for (kafka, others) in [(json!({}), "other."), (json!({ "prefix": "own." }), "chat.a.")] {
            let cluster = made("a", 1, &json!({ "bootstrapServers": "kafka:9092", "topics": kafka }));
            let object: DynamicObject = serde_json::from_value(serde_json::to_value(&cluster).unwrap()).unwrap();
            assert!(has_prefix(&object, &cluster.topic_prefix()), "{kafka}");
            assert!(!has_prefix(&object, others), "{kafka}");
        }
    }

    fn made(uid: &str, second: u8, kafka: &Value) -> ImCluster {
        serde_json::from_value(json!({
            "apiVersion": "imcluster.dev/v1alpha1",
            "kind": "ImCluster",
            "metadata": {
                "name": uid, "namespace": "chat", "uid": uid,
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "spec": {
                "kafka": kafka,
                "redis": { "urlSecretRef": { "name": "redis" } },
                "database": { "urlSecretRef": { "name": "database" } },
                "auth": { "jwt": { "keysSecretRef": { "name": "keys" }, "signingKey": "a" } },
            },
        }))
        .unwrap()
    }

    fn kafka(servers: &str, prefix: Option<&str>) -> Value {
        json!({ "bootstrapServers": servers, "topics": { "prefix": prefix } })
    }

    #[test]
    fn the_oldest_has_the_topics() {
        let old = made("b", 1, &kafka("kafka:9092", Some("x.")));
        let new = made("a", 2, &kafka("kafka:9092", Some("x.")));
        let all = [old.clone(), new.clone()];
        assert_eq!(owner(&new, &all).and_then(|owner| owner.metadata.uid.as_deref()), Some("b"));
        assert_eq!(owner(&old, &all), None);
    }

    #[test]
    fn of_two_made_in_one_second_only_one_has_them() {
        let all = [made("a", 1, &kafka("k.x:1", Some("x."))), made("b", 1, &kafka("k.x:1", Some("x.")))];
        assert_eq!(all.iter().filter(|cluster| owner(cluster, &all).is_none()).count(), 1);
    }

    #[test]
    fn who_stands_back_is_told_who_has_the_topics() {
        let old = made("a", 1, &kafka("kafka:9092", Some("x.")));
        let verdict = refusal(&made("b", 2, &kafka("kafka:9092", Some("x."))), &old);
        assert_eq!((verdict.holds, verdict.reason), (Some(false), Reason::TopicConflict));
        assert!(verdict.message.contains("chat/a ") && verdict.message.contains(" x. "), "{}", verdict.message);
    }

    #[test]
    fn one_broker_in_common_is_the_same_kafka() {
        let old = made("a", 1, &kafka("one.kafka:9092,two.kafka:9092", Some("x.")));
        let new = made("b", 2, &kafka("two.kafka:9092,three.kafka:9092", Some("x.")));
        assert!(owner(&new, [&old]).is_some());
    }

    #[test]
    fn another_kafka_or_another_prefix_is_no_conflict() {
        let old = made("a", 1, &kafka("kafka:9092", Some("x.")));
        for other in [kafka("other:9092", Some("x.")), kafka("kafka:9092", Some("y.")), kafka("kafka:9092", None)] {
            assert_eq!(owner(&made("b", 2, &other), [&old]), None);
        }
    }
}
