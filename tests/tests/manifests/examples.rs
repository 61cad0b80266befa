//! What the examples have beside an `ImCluster`. That is tested where its definition is.

use serde_json::Value;

use crate::render::{documents, manifests};
use crate::strict;

/// Every example: the name of its file, and its objects.
fn examples() -> Vec<(String, Vec<Value>)> {
    let files = manifests().join("examples").read_dir().unwrap();
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, documents(&std::fs::read_to_string(path).unwrap()))
    };
    let examples: Vec<_> = files.map(|file| read(file.unwrap().path())).collect();
    assert!(examples.len() >= 7);
    examples
}

#[test]
fn the_examples_are_objects_that_kubernetes_knows() {
    for (_, objects) in examples() {
        strict::check(&objects);
    }
}

#[test]
fn no_example_names_replicas_beside_an_autoscaler() {
    let scaler = |it: &Value| it["kind"] == "HorizontalPodAutoscaler" || it["kind"] == "ScaledObject";
    let mut scaled = 0;
    for (name, objects) in examples() {
        for scaler in objects.iter().filter(|it| scaler(it)) {
            let target = &scaler["spec"]["scaleTargetRef"];
            let meant = |it: &&Value| {
                ["apiVersion", "kind"].iter().all(|field| it[field] == target[field])
                    && it["metadata"]["name"] == target["name"]
            };
            let cluster = objects.iter().find(meant).unwrap_or_else(|| panic!("{name} has not what is scaled"));
            assert_eq!(cluster.pointer("/spec/gateways/replicas"), None, "{name}");
            scaled += 1;
        }
    }
    assert_eq!(scaled, 2);
}

/// Secrets that an example names and others make: Strimzi, cert-manager, or the person who reads that.
#[test]
fn the_examples_that_are_whole_have_every_secret_that_they_name() {
    for (name, objects) in
        examples().into_iter().filter(|(name, _)| ["smallest.yaml", "tls-sasl.yaml"].contains(&&**name))
    {
        let mut named = Vec::new();
        let cluster = objects.iter().find(|it| it["kind"] == "ImCluster").unwrap();
        secrets(&cluster["spec"], &mut named);
        assert!(named.len() >= 3, "{name}");
        for secret in named {
            let there = objects.iter().any(|it| it["kind"] == "Secret" && it["metadata"]["name"] == *secret);
            assert!(there, "{name} has no Secret {secret}");
        }
    }
}

/// The names in whatever ends in `SecretRef`.
fn secrets<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    for (field, inner) in value.as_object().into_iter().flatten() {
        if field.to_lowercase().ends_with("secretref") {
            found.push(&inner["name"]);
        } else {
            secrets(inner, found);
        }
    }
}
