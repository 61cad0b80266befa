//! Every `ImCluster` of the examples is one that an API server would take, and the full one leaves nothing out.

use std::collections::BTreeSet;
use std::path::Path;

use imcluster_crds::ImCluster;
use serde_json::Value;

use crate::admission::{broken_bounds, broken_rules, defaulted, schema};

/// Each `ImCluster` of every example, each with the name of its file.
fn examples() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples");
    let mut found = Vec::new();
    for file in folder.read_dir().unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        found.extend(objects.into_iter().filter(|it| it["kind"] == "ImCluster").map(|it| (name.clone(), it)));
    }
    assert!(found.len() >= 7, "{found:?}");
    found
}

/// Fields that the definition does not have; an API server would drop them.
fn unknown(node: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if node["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        unknown(&node["items"], item, &format!("{path}[{index}]"), found);
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match node["properties"].get(name).or_else(|| node.get("additionalProperties")) {
            Some(node) => unknown(node, inner, &path, found),
            None => found.push(path),
        }
    }
}

/// Fields that the definition has and the example has not.
fn left_out(node: &Value, value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match value.get(name) {
            Some(value) => left_out(inner, value, &path, found),
            None => drop(found.insert(path)),
        }
    }
}

#[test]
fn every_example_is_accepted() {
    for (name, example) in examples() {
        let mut unknown_fields = Vec::new();
        unknown(&schema()["properties"]["spec"], &example["spec"], "spec", &mut unknown_fields);
        assert_eq!(unknown_fields, [""; 0], "{name}");
        let stored = defaulted(&example);
        assert_eq!(broken_bounds(&stored), BTreeSet::new(), "{name}");
        assert_eq!(broken_rules(&stored, None), [""; 0], "{name}");
        serde_json::from_value::<ImCluster>(stored).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_full_example_leaves_out_nothing_but_the_other_way_to_verify_tokens() {
    let (_, full) = examples().into_iter().find(|(name, _)| name == "full.yaml").unwrap();
    let mut fields = BTreeSet::new();
    left_out(&schema()["properties"]["spec"], &full["spec"], "spec", &mut fields);
    let other_way = ["spec.auth.jwksUrl", "spec.config.jwksAudience", "spec.config.jwksIssuer"];
    assert_eq!(fields, other_way.map(str::to_owned).into());
}

#[test]
fn the_smallest_example_has_nothing_that_may_be_left_out() {
    let (_, smallest) = examples().into_iter().find(|(name, _)| name == "smallest.yaml").unwrap();
    let spec = smallest["spec"].as_object().unwrap();
    for field in spec.keys() {
        let mut without = smallest.clone();
        without["spec"].as_object_mut().unwrap().remove(field);
        assert_ne!(broken_bounds(&defaulted(&without)), BTreeSet::new(), "{field} is not needed");
    }
}
