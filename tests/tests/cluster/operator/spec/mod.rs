//! What the spec says comes about, and what it does not say stays.

mod fields;
mod objects;
mod paused;
mod refused;
mod restart;
mod secrets;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, UpdatePolicy};
use imcluster_tests::operator::{Operator, Tenant};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_mins(1);

/// `Status/Reason` of a condition, and its message; empty where it is not there.
pub(super) fn said(cluster: &ImCluster, condition: ConditionType) -> (String, String) {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    let found = conditions.into_iter().find(|known| known.type_ == condition.as_str());
    found.map_or_else(Default::default, |it| (format!("{}/{}", it.status, it.reason), it.message.clone()))
}

/// Waits until a condition says this, of the newest spec; gives the message.
pub(super) async fn until_said(tenant: &Tenant, name: &str, condition: ConditionType, what: &str) -> String {
    let holds = |it: Option<&ImCluster>| {
        it.is_some_and(|it| {
            let status = it.status.as_ref();
            status.and_then(|status| status.observed_generation) == it.metadata.generation
                && said(it, condition).0 == what
        })
    };
    let cluster = tenant.until(name, &format!("{name} says {condition}={what}"), holds).await.unwrap();
    said(&cluster, condition).1
}

/// Waits for an event about an `ImCluster`; gives its type and text.
pub(super) async fn event(tenant: &Tenant, reason: &str) -> (String, String) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let events = tenant.api::<Event>().list(&ListParams::default()).await.unwrap();
        let found = events.items.into_iter().find(|event| event.reason.as_deref() == Some(reason));
        if let Some(event) = found {
            return (event.type_.unwrap_or_default(), event.note.unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no event {reason}\n{}", tenant.report().await)
}

/// The UIDs of the pods, by their names.
pub(super) async fn pods(tenant: &Tenant) -> BTreeMap<String, String> {
    let pods = tenant.pods().await.unwrap();
    pods.iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())).collect()
}

/// The `StatefulSet` of an `ImCluster`.
pub(super) async fn set(tenant: &Tenant, name: &str) -> StatefulSet {
    tenant.api::<StatefulSet>().get(&format!("{name}-gateway")).await.unwrap()
}

/// What an operator has written since it had written so much, without what it says: events, and the status.
pub(super) fn done_since(operator: &Operator, tenant: &Tenant, since: usize) -> Vec<String> {
    let writes = operator.writes().in_namespace(tenant.name());
    let does = writes[since..].iter().filter(|it| it.resource != "events" && it.resource != "imclusters/status");
    does.map(ToString::to_string).collect()
}

/// So much an operator has written.
pub(super) fn written(operator: &Operator, tenant: &Tenant) -> usize {
    operator.writes().in_namespace(tenant.name()).len()
}

/// Waits until the operator has looked at an `ImCluster` once more: at a change of its spec that means nothing to the objects.
pub(super) async fn look(tenant: &Tenant, name: &str) {
    let policy = tenant.api::<ImCluster>().get(name).await.unwrap().spec.update_policy;
    let other = if policy == UpdatePolicy::Manual { UpdatePolicy::WithOperator } else { UpdatePolicy::Manual };
    patch(tenant, name, &json!({ "spec": { "updatePolicy": other } })).await;
    let looked = |it: Option<&ImCluster>| {
        it.is_some_and(|it| {
            it.spec.update_policy == other
                && it.status.as_ref().and_then(|status| status.observed_generation) == it.metadata.generation
        })
    };
    tenant.until(name, "it was looked at", looked).await;
}

/// Changes an `ImCluster` by a merge patch.
pub(super) async fn patch(tenant: &Tenant, name: &str, change: &Value) {
    tenant.api::<ImCluster>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

/// The kinds that the operator makes.
fn kinds() -> [ApiResource; 8] {
    [
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<Ingress>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<StatefulSet>(&()),
    ]
}

/// The objects of an `ImCluster`, by `Kind name`, without what changes by itself: who set what and when, versions, identities,
/// and what others say of them.
pub(super) async fn objects(tenant: &Tenant, name: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let its = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
    for kind in kinds() {
        let api: Api<DynamicObject> = Api::namespaced_with(tenant.client().clone(), tenant.name(), &kind);
        for object in api.list(&its).await.unwrap() {
            let name = object.name_any();
            let mut object = serde_json::to_value(object).unwrap();
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            for own in ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"] {
                metadata.remove(own);
            }
            found.insert(format!("{} {name}", kind.kind), object);
        }
    }
    found
}
