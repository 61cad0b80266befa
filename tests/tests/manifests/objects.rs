//! Finding one's way in rendered objects.

use serde_json::Value;

/// The one object of a kind and name.
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    let first = found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(found.next().is_none(), "there are several {kind} {name}");
    first
}

/// Kind, namespace and name of each object, in order.
pub(crate) fn names(objects: &[Value]) -> Vec<String> {
    let mut names: Vec<_> = objects.iter().map(name).collect();
    names.sort_unstable();
    names
}

fn name(object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("-");
    format!("{} {namespace}/{}", object["kind"].as_str().unwrap(), metadata["name"].as_str().unwrap())
}

/// The container of the operator.
pub(crate) fn container(objects: &[Value]) -> &Value {
    let containers = &object(objects, "Deployment", "imcluster-operator")["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    &containers[0]
}

/// The arguments of the operator.
pub(crate) fn arguments(objects: &[Value]) -> Vec<&str> {
    container(objects)["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
}

/// All objects but those of a kind.
pub(crate) fn without(mut objects: Vec<Value>, kinds: &[&str]) -> Vec<Value> {
    objects.retain(|it| !kinds.contains(&it["kind"].as_str().unwrap()));
    objects
}

/// The objects without the labels that helm puts on all of its own, in a fixed order: to be compared with what kustomize makes.
pub(crate) fn comparable(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        for name in ["instance", "version", "managed-by"] {
            labels.remove(&format!("app.kubernetes.io/{name}"));
        }
        labels.remove("helm.sh/chart");
    }
    objects.sort_by_key(name);
    objects
}
