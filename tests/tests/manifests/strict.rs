//! Whether an object is what Kubernetes knows: read as its type and written again, nothing may be lost and nothing may come.
//! What is lost is a field that the type does not have; what comes is one that is required.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Groups whose definitions are not ours: nothing here knows their fields.
const FOREIGN: [&str; 3] = ["kafka.strimzi.io/", "keda.sh/", "monitoring.coreos.com/"];

/// What is wrong with an object; empty when nothing is.
pub(crate) fn faults(object: &Value) -> Vec<String> {
    let [version, kind] = ["apiVersion", "kind"].map(|field| object[field].as_str().unwrap_or_default());
    macro_rules! known {
        ($($kind:ty),+) => {
            $(if version == <$kind>::API_VERSION && kind == <$kind>::KIND {
                return differences_of::<$kind>(object);
            })+
        };
    }
    known!(
        ClusterRole,
        ClusterRoleBinding,
        CustomResourceDefinition,
        Deployment,
        HorizontalPodAutoscaler,
        Namespace,
        NetworkPolicy,
        PodDisruptionBudget,
        Role,
        RoleBinding,
        Secret,
        Service,
        ServiceAccount
    );
    // The examples of these are tested where their definition is.
    let ours = version == "imcluster.dev/v1alpha1" && kind == "ImCluster";
    if ours || FOREIGN.iter().any(|group| version.starts_with(group)) {
        return Vec::new();
    }
    vec![format!("{version} {kind} is not known here")]
}

/// Fails when anything is wrong with any of the objects.
pub(crate) fn check(objects: &[Value]) {
    for object in objects {
        assert_eq!(faults(object), [""; 0], "{object:#}");
    }
}

fn differences_of<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match serde_json::from_value::<T>(object.clone()) {
        Ok(read) => differences(object, &serde_json::to_value(read).unwrap(), "", &mut found),
        Err(error) => found.push(error.to_string()),
    }
    found
}

fn differences(object: &Value, read: &Value, path: &str, found: &mut Vec<String>) {
    match (object, read) {
        (Value::Object(fields), Value::Object(read)) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match read.get(name) {
                    Some(read) => differences(value, read, &path, found),
                    None => found.push(format!("{path} is no field")),
                }
            }
            let missing = read.keys().filter(|name| !fields.contains_key(*name));
            found.extend(missing.map(|name| format!("{path}.{name} is missing")));
        }
        (Value::Array(items), Value::Array(read)) if items.len() == read.len() => {
            for (index, (item, read)) in items.iter().zip(read).enumerate() {
                differences(item, read, &format!("{path}[{index}]"), found);
            }
        }
        // A quantity may be written as a number.
        (Value::Number(number), Value::String(read)) if number.to_string() == *read => {}
        // 1.0 and 1.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if object == read => {}
        _ => found.push(format!("{path} is {object} and is read as {read}")),
    }
}

#[test]
fn a_field_that_no_object_has_is_found_and_one_that_is_required_as_well() {
    let budget = |spec: Value| json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "a" }, "spec": spec });
    assert_eq!(faults(&budget(json!({ "maxUnavailable": 1 }))), [""; 0]);
    assert_eq!(faults(&budget(json!({ "maxUnavailble": 1 }))), [".spec.maxUnavailble is no field"]);
    assert_eq!(faults(&budget(json!({ "selector": { "labels": {} } }))), [".spec.selector.labels is no field"]);
    let deployment =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": { "selector": {} } });
    assert_eq!(faults(&deployment), [".spec.template is missing"]);
    assert_eq!(
        faults(&json!({ "apiVersion": "apps/v2", "kind": "Deployment" })),
        ["apps/v2 Deployment is not known here"]
    );
}
