//! What `manifests/` has, at a real API server. Nearly all of it is only tried, so that no operator starts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use imcluster_tests::cluster::{Kubectl, Namespace};
use serde_json::{Value, json};

use crate::definition::define;
use crate::eventually::eventually;

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What the API server says to an object, without keeping it. A remark of it is an error.
fn ask(namespace: &Namespace, object: &Value) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), object.to_string())?;
    let file = format!("--filename={}", file.path().display());
    let arguments = ["--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors"];
    namespace.try_run(&[&["apply", &file], &arguments[..]].concat())
}

/// The objects of an overlay, by kubectl's own kustomize, moved into a namespace; those of the whole cluster stay what they are.
pub(crate) fn overlay(name: &str, namespace: &str) -> Vec<Value> {
    let kubectl = Kubectl::from_environment().unwrap();
    let folder = manifests().join("overlays").join(name);
    let mut objects = documents(&kubectl.run(&["kustomize", folder.to_str().unwrap()]).unwrap());
    for object in &mut objects {
        if object["metadata"].get("namespace").is_some() {
            object["metadata"]["namespace"] = namespace.into();
        }
        for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
            subject["namespace"] = namespace.into();
        }
    }
    objects
}

fn is_definition(object: &Value) -> bool {
    object["kind"] == "CustomResourceDefinition"
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn an_api_server_takes_every_example() {
    define();
    let namespace = Namespace::new("examples");
    // What it is called is known a little after that it is there.
    eventually(|| namespace.try_run(&["get", "imclusters"]));
    for file in manifests().join("examples").read_dir().unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        // Definitions of others are not on this cluster.
        let of_others = |object: &Value| {
            let group = object["apiVersion"].as_str().unwrap();
            ["kafka.strimzi.io/", "keda.sh/", "monitoring.coreos.com/"].iter().any(|other| group.starts_with(other))
        };
        for object in documents(&text).iter().filter(|it| !of_others(it)) {
            ask(&namespace, object).unwrap_or_else(|error| panic!("{error:#}: {object:#}"));
        }
    }
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn an_api_server_takes_every_overlay_and_its_pods_are_restricted() {
    let namespace = Namespace::new("overlays");
    for name in ["namespaced", "cluster-wide"] {
        let objects = overlay(name, namespace.name());
        // A pod is looked at with the account that it runs as.
        namespace.apply(&objects.iter().filter(|it| it["kind"] == "ServiceAccount").cloned().collect::<Vec<_>>());
        for object in objects.iter().filter(|it| !is_definition(it)) {
            ask(&namespace, object).unwrap_or_else(|error| panic!("{error:#}: {object:#}"));
        }
        let deployment = objects.iter().find(|it| it["kind"] == "Deployment").unwrap();
        let template = &deployment["spec"]["template"];
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": template["spec"] });
        pod["metadata"] = json!({ "name": "operator", "labels": template["metadata"]["labels"] });
        ask(&namespace, &pod).unwrap_or_else(|error| panic!("{error:#}: {pod:#}"));
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let refused = ask(&namespace, &pod).unwrap_err().to_string();
        assert!(refused.contains("violates PodSecurity"), "{refused}");
    }
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn the_operator_may_do_its_work_in_a_watched_namespace_and_nowhere_else() {
    let namespace = Namespace::new("rights");
    let rights: Vec<_> = overlay("namespaced", namespace.name())
        .into_iter()
        .filter(|it| ["ServiceAccount", "Role", "RoleBinding"].contains(&it["kind"].as_str().unwrap()))
        .collect();
    namespace.apply(&rights);
    let operator = format!("--as=system:serviceaccount:{}:imcluster-operator", namespace.name());
    let may = |verb: &str, what: &str, place: &str| {
        let place = format!("--namespace={place}");
        // It fails when the answer is no.
        let kubectl = Kubectl::from_environment().unwrap();
        kubectl.run(&["auth", "can-i", verb, what, &operator, &place]).is_ok()
    };
    let own = namespace.name();
    eventually(|| if may("patch", "statefulsets.apps", own) { Ok(()) } else { Err("not yet") });
    for what in ["secrets", "services", "ingresses.networking.k8s.io", "leases.coordination.k8s.io"] {
        assert!(may("create", what, own), "{what}");
    }
    assert!(may("update", "leases.coordination.k8s.io/imcluster-operator", own));
    assert!(!may("update", "leases.coordination.k8s.io/another", own));
    for (verb, what) in [("delete", "pods"), ("create", "pods/exec"), ("create", "roles.rbac.authorization.k8s.io")] {
        assert!(!may(verb, what, own), "{verb} {what}");
    }
    for what in ["secrets", "pods", "statefulsets.apps"] {
        assert!(!may("get", what, "kube-system"), "{what}");
    }
}
