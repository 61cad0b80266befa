//! The end of an `ImCluster`: first its gateways, then the topics that the operator made. The rest goes by itself, since it has
//! an owner. Nobody is drained: there is nowhere to go. Nothing is created on the way, so that a namespace can always end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imcluster_crds::{ImCluster, ServerStatus, TopicOrigin, TopicPolicy};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource, ResourceExt};

use super::apply::{self, Live};
use super::build::Kind;
use super::context::Context;
use super::error::ReconcileError;
use super::look::Look;
use super::reconcile::has_topics_of_ours;
use super::record::FINALIZER;
use super::validate::{self, References};
use super::{names, status};
use crate::drain::{self, Situation};
use crate::events::Event;
use crate::telemetry::metrics;
use crate::topics::{KafkaSettings, Report, Wish};

/// How long a namespace that ends waits for Kafka.
const NAMESPACE_WAITS: Duration = Duration::from_secs(10);

/// While something is awaited that no watch tells of.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One that cannot be read: nobody knows which topics are its, but what holds it would hold it for ever.
pub(super) async fn unreadable(context: &Context, object: &DynamicObject) -> Result<Action, ReconcileError> {
    tracing::warn!(
        name = object.name_any(),
        "an ImCluster that cannot be read is gone; its topics, if any, stay in Kafka"
    );
    release(context, object).await
}

/// One that is being deleted.
pub(super) async fn delete(
    context: &Context,
    mut object: DynamicObject,
    mut cluster: ImCluster,
) -> Result<Action, ReconcileError> {
    let shared = &context.shared;
    let uid = cluster.uid().unwrap_or_default();
    let namespace = cluster.namespace().unwrap_or_default();
    shared.gateways.forget(&uid);
    if !holds(&object) {
        shared.forget(&uid);
        return Ok(Action::await_change());
    }
    let set = context.watched.owned(Kind::StatefulSet, &namespace, &names::gateway(&cluster.name_any()));
    if leaves_all(&object, set.as_deref()) {
        return release(context, &object).await;
    }
    let mut servers = cluster.status.as_ref().map(|status| status.servers.clone()).unwrap_or_default();
    if cluster.spec.kafka.topics.policy != TopicPolicy::Delete || !has_topics_of_ours(&servers) {
        return release(context, &object).await;
    }
    let kafka = kafka(context, &cluster).await?;
    if namespace_ends(&context.shared.client, &namespace).await {
        return last_attempt(context, &object, &cluster, kafka.as_ref(), &servers).await;
    }
    let ours = |set: &Arc<Live>| apply::is_owned(&set.metadata, &uid) && set.metadata.deletion_timestamp.is_none();
    if let Some(set) = set.filter(ours) {
        shared.applier.remove(&*shared.writing, &namespace, Kind::StatefulSet, &set).await?;
    }
    let look = Look::cached(&context.watched, &cluster);
    let now = Timestamp::now();
    let mut report = None;
    let step = loop {
        let gone_since = shared.memories.gone_since(&uid, &look, &servers, now);
        let step = drain::step(&Situation {
            now,
            wanted: 0,
            deleting: true,
            limits: cluster.spec.gateways.drain,
            policy: TopicPolicy::Delete,
            prefix: &cluster.topic_prefix(),
            recorded: &servers,
            pods: &look.pods,
            reports: &BTreeMap::new(),
            topics: report.as_deref(),
            gone_since: &gone_since,
            live: look.live(),
            template_changes: false,
        });
        if step.servers != servers {
            servers = step.servers;
            let status = status::deleting(&cluster, &servers, now);
            object = shared.recorder.status(&*shared.writing, &object, &status).await?;
            cluster.status = Some(status);
            continue;
        }
        let wish = Wish { watch: step.watch.clone(), delete: step.delete.clone(), ..Wish::default() };
        let seen = kafka.as_ref().and_then(|kafka| shared.topics.wish(&uid, kafka, wish));
        if seen == report {
            break step;
        }
        report = seen;
    };
    if !has_topics_of_ours(&servers) {
        return release(context, &object).await;
    }
    let status = status::deleting(&cluster, &servers, now);
    if cluster.status.as_ref() != Some(&status) {
        shared.recorder.status(&*shared.writing, &object, &status).await?;
    }
    let due = step.again_at.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    Ok(Action::requeue(due.unwrap_or(LOOK_AGAIN).max(LOOK_AGAIN)))
}

/// A namespace that ends takes everything with it, the operator's rights included: Kafka is tried for a moment, and not waited for.
async fn last_attempt(
    context: &Context,
    object: &DynamicObject,
    cluster: &ImCluster,
    kafka: Option<&KafkaSettings>,
    servers: &[ServerStatus],
) -> Result<Action, ReconcileError> {
    let uid = cluster.uid().unwrap_or_default();
    let begun = object.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let names: BTreeSet<_> = topics_of_ours(servers).map(str::to_owned).collect();
    let wish = Wish { watch: names.clone(), delete: names.clone(), ..Wish::default() };
    let report = kafka.and_then(|kafka| context.shared.topics.wish(&uid, kafka, wish));
    let gone = |report: &Report| names.iter().all(|name| report.topics.get(name) == Some(&crate::topics::Seen::Absent));
    let waited = Duration::try_from(Timestamp::now().duration_since(begun)).unwrap_or_default();
    if report.is_some_and(|report| gone(&report)) {
        return release(context, object).await;
    }
    if waited >= NAMESPACE_WAITS || kafka.is_none() {
        metrics::gave_up_finalizer();
        context.shared.events.publish(&cluster.object_ref(&()), Event::FinalizerReleased(names.clone()));
        tracing::warn!(namespace = cluster.namespace(), name = cluster.name_any(), topics = ?names,
            "the namespace ends, and Kafka did not delete the topics in time: they stay");
        return release(context, object).await;
    }
    Ok(Action::requeue(LOOK_AGAIN))
}

/// Which topics the operator made, or may have made.
pub(super) fn topics_of_ours(servers: &[ServerStatus]) -> impl Iterator<Item = &str> {
    let topics = servers.iter().filter_map(|entry| entry.topic.as_ref());
    topics.filter(|topic| topic.origin != TopicOrigin::Adopted).map(|topic| topic.name.as_str())
}

/// Kubernetes' own finalizer: what belongs to an object is to lose its owner, and to stay.
const ORPHANS: &str = "orphan";

/// Whether all is to go on without the resource, gateways and topics: it is deleted with `--cascade=orphan`. The `StatefulSet` may
/// have lost its owner by now.
fn leaves_all(object: &DynamicObject, set: Option<&Live>) -> bool {
    object.finalizers().iter().any(|name| name == ORPHANS)
        || set.is_some_and(|set| apply::is_orphan(&set.metadata, &object.name_any()))
}

/// Lets go of it.
async fn release(context: &Context, object: &DynamicObject) -> Result<Action, ReconcileError> {
    if holds(object) {
        context.shared.recorder.finalizer(&*context.shared.writing, object, false).await?;
    }
    context.shared.forget(&object.uid().unwrap_or_default());
    Ok(Action::await_change())
}

fn holds(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// How Kafka is reached: by what the Secrets say, or said last.
async fn kafka(context: &Context, cluster: &ImCluster) -> Result<Option<KafkaSettings>, ReconcileError> {
    let referenced = validate::referenced(cluster);
    let namespace = cluster.namespace().unwrap_or_default();
    // Without the right to read them any more, what they said last has to do.
    let secrets = context.shared.secrets.read(&context.watched, &namespace, &referenced).await.unwrap_or_default();
    let valid = validate::validate(cluster, &secrets);
    let resolved = match valid.as_ref().map(validate::Valid::references) {
        Ok(References::Resolved(resolved)) => Some(&resolved.kafka),
        _ => None,
    };
    Ok(context.shared.memories.kafka(&cluster.uid().unwrap_or_default(), resolved))
}

/// Whether the namespace is on its way out. Who may not ask is no longer welcome there, which comes to the same.
pub(super) async fn namespace_ends(client: &Client, namespace: &str) -> bool {
    match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        Ok(namespace) => namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::warn!(%error, namespace, "the namespace could not be read");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use imcluster_crds::{ServerId, ServerPhase, TopicStatus};
    use serde_json::{Value, json};

    use super::*;

    fn object(finalizers: &[&str]) -> DynamicObject {
        let metadata = json!({ "name": "chat", "namespace": "im", "finalizers": finalizers });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn set(owners: &Value) -> Live {
        let metadata = json!({ "name": "chat-gateway", "labels": names::labels("chat"), "ownerReferences": owners });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn an_imcluster_that_is_deleted_without_what_belongs_to_it_leaves_everything() {
        let owned = json!([{ "apiVersion": "a", "kind": "ImCluster", "name": "chat", "uid": "1", "controller": true }]);
        assert!(leaves_all(&object(&[FINALIZER, "orphan"]), Some(&set(&owned))));
        assert!(leaves_all(&object(&[FINALIZER]), Some(&set(&json!([])))), "the operator was away meanwhile");
        assert!(!leaves_all(&object(&[FINALIZER]), Some(&set(&owned))));
        assert!(!leaves_all(&object(&[FINALIZER, "foregroundDeletion"]), None));
    }

    #[test]
    fn topics_that_were_there_before_are_not_the_operators() {
        let entry = |id, origin| ServerStatus {
            id: ServerId(id),
            phase: ServerPhase::Serving,
            pod_uid: None,
            drain_start_time: None,
            topic: Some(TopicStatus { name: format!("im.{id}"), origin }),
        };
        let servers = [entry(0, TopicOrigin::Creating), entry(1, TopicOrigin::Created), entry(2, TopicOrigin::Adopted)];
        assert_eq!(topics_of_ours(&servers).collect::<Vec<_>>(), ["im.0", "im.1"]);
        assert!(!has_topics_of_ours(&servers[2..]) && has_topics_of_ours(&servers));
    }
}
