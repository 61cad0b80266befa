//! What API servers, kubectl and other appliers rely on in the definition.

use imcluster_crds::conditions::{ConditionType, Reason};
use imcluster_crds::{ImCluster, manifest};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::admission::{broken_bounds, broken_rules, defaulted, full, nodes, schema};
use crate::cases::{merged, smallest};

/// Types of Kubernetes' own, which are as it wrote them.
fn ours(place: &str) -> bool {
    !place.starts_with("spec.networkPolicy.metricsFrom[]")
}

#[test]
fn the_smallest_and_the_full_resource_are_right() {
    for object in [smallest(), full()] {
        assert!(broken_bounds(&object).is_empty(), "{:?}", broken_bounds(&object));
        assert_eq!(broken_rules(&object, None), Vec::<String>::new());
    }
}

#[test]
fn the_types_lose_nothing_of_a_full_resource() {
    let typed: ImCluster = serde_json::from_value(full()).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), full());
}

#[test]
fn defaults_are_the_same_in_the_definition_and_in_the_types() {
    let some = [
        smallest(),
        merged(&smallest(), &json!({ "spec": { "gateways": {} } })),
        merged(&smallest(), &json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": 200 }, "service": {} } } })),
        merged(&smallest(), &json!({ "spec": { "kafka": { "sasl": { "secretRef": { "name": "a" } } } } })),
        merged(&smallest(), &json!({ "spec": { "kafka": { "tls": { "caSecretRef": { "name": "a" } } } } })),
        merged(&smallest(), &json!({ "spec": { "networkPolicy": { "metricsFrom": [{ "podSelector": {} }] } } })),
    ];
    for object in some {
        let plain: ImCluster = serde_json::from_value(object.clone()).unwrap();
        let filled = defaulted(&object);
        let typed: ImCluster = serde_json::from_value(filled.clone()).unwrap();
        assert_eq!(plain.spec, typed.spec, "{object}");
        assert_eq!(serde_json::to_value(&typed).unwrap(), filled, "every default is written down: {object}");
    }
}

#[test]
fn there_is_always_a_number_to_scale() {
    let scale = ImCluster::crd().spec.versions[0].subresources.clone().unwrap().scale.unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.gateways.replicas");
    assert_eq!(scale.status_replicas_path, ".status.replicas");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"));
    let places: Vec<_> = nodes().into_iter().map(|(place, _)| place).collect();
    for path in ["spec.gateways.replicas", "status.replicas", "status.selector"] {
        assert!(places.iter().any(|place| place == path), "{path}");
    }
    for patch in [json!({}), json!({ "spec": { "gateways": {} } })] {
        assert_eq!(
            defaulted(&merged(&smallest(), &patch)).pointer("/spec/gateways/replicas"),
            Some(&json!(3)),
            "{patch}"
        );
    }
}

#[test]
fn a_resource_that_nobody_has_looked_at_is_not_known_to_be_ready() {
    for patch in [json!({}), json!({ "status": { "replicas": 1 } })] {
        let typed: ImCluster = serde_json::from_value(defaulted(&merged(&smallest(), &patch))).unwrap();
        let [condition] = &typed.status.unwrap().conditions[..] else { panic!("one condition") };
        assert_eq!(
            (&*condition.type_, &*condition.status, &*condition.reason),
            ("Ready", "Unknown", "Pending"),
            "{patch}"
        );
    }
}

#[test]
fn names_are_those_that_people_type() {
    let spec = ImCluster::crd().spec;
    let names = (spec.group.as_str(), spec.names.plural.as_str(), spec.names.short_names.unwrap());
    assert_eq!(names, ("imcluster.dev", "imclusters", vec!["imc".to_owned()]));
    assert_eq!((spec.scope.as_str(), spec.versions[0].name.as_str()), ("Namespaced", "v1alpha1"));
    let columns = spec.versions[0].additional_printer_columns.clone().unwrap();
    let shown: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.priority)).collect();
    let always = ["Desired", "Ready", "Connections", "Status", "Age"].map(|name| (name, None));
    let wide = ["Image", "Topics"].map(|name| (name, Some(1)));
    assert_eq!(shown, [always.as_slice(), wide.as_slice()].concat());
}

#[test]
fn nothing_in_the_spec_can_be_null() {
    for (place, node) in nodes() {
        assert!(node.get("nullable").is_none() || place == "status", "{place}");
        assert!(node.get("anyOf").is_none() && node.get("oneOf").is_none(), "{place}: a message of it helps nobody");
    }
}

#[test]
fn formats_are_those_that_api_servers_know() {
    for (place, node) in nodes() {
        let format = node["format"].as_str();
        match node["type"].as_str() {
            Some("integer") => assert!(matches!(format, Some("int32" | "int64")), "{place}: {format:?}"),
            Some("number") => assert_eq!(format, Some("double"), "{place}"),
            Some("string") => assert!(matches!(format, None | Some("date-time")), "{place}: {format:?}"),
            Some("object" | "array" | "boolean") => assert_eq!(format, None, "{place}"),
            None => assert_eq!(node["x-kubernetes-int-or-string"], json!(true), "{place}"),
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn every_field_is_described_in_paragraphs() {
    for (place, node) in nodes() {
        if place.is_empty() || place == "metadata" || place.ends_with("[]") || place.ends_with("{}") {
            continue;
        }
        let text = node["description"].as_str().unwrap_or_else(|| panic!("{place} is not described"));
        let lines = text.lines().filter(|line| !line.is_empty());
        for line in lines {
            let whole = line.starts_with("- ") || line.ends_with(['.', ':']) || !ours(&place);
            assert!(whole, "{place}: a line that goes on in the next: {line}");
        }
    }
}

#[test]
fn lists_and_maps_are_bounded_so_that_rules_may_walk_them() {
    for (place, node) in nodes().into_iter().filter(|(place, _)| ours(place) && !place.starts_with("status")) {
        match node["type"].as_str() {
            Some("array") => assert!(node.get("maxItems").is_some(), "{place}"),
            Some("object") if node.get("additionalProperties").is_some() => {
                assert!(node.get("maxProperties").is_some(), "{place}");
            }
            Some("string") => assert!(node.get("maxLength").is_some() || node.get("enum").is_some(), "{place}"),
            _ => {}
        }
    }
}

#[test]
fn lists_say_how_appliers_share_them() {
    for (place, node) in nodes().into_iter().filter(|(place, node)| ours(place) && node["type"] == "array") {
        let (kind, keys) = (&node["x-kubernetes-list-type"], &node["x-kubernetes-list-map-keys"]);
        match place.as_str() {
            "status.conditions" => assert_eq!((kind, keys), (&json!("map"), &json!(["type"]))),
            "status.servers" => assert_eq!((kind, keys), (&json!("map"), &json!(["id"]))),
            "spec.config.trustedProxies" | "spec.config.jwksAudience" => assert_eq!(kind, "set"),
            "spec.networkPolicy.metricsFrom" => assert_eq!(kind, "atomic"),
            _ => panic!("{place} is not decided"),
        }
    }
    for (place, node) in
        nodes().into_iter().filter(|(place, _)| place.ends_with("SecretRef") || place.ends_with("secretRef"))
    {
        assert_eq!(
            node["x-kubernetes-map-type"], "atomic",
            "{place}: half of one reference and half of another is none"
        );
    }
}

#[test]
fn the_definition_fits_into_the_annotation_of_kubectl_apply() {
    // All annotations together: 256 KiB (apimachinery, TotalAnnotationSizeLimitB). Half of it is left for later.
    let size = serde_json::to_string(&ImCluster::crd()).unwrap().len();
    assert!(size < 128 * 1024, "{size} bytes");
    assert!(!manifest().contains(".0\n"), "people read 500, not 500.0");
}

#[test]
fn words_of_conditions_are_camel_case_and_told_apart() {
    let types = ConditionType::ALL.iter().map(|word| (word.as_str(), word.meaning()));
    let reasons = Reason::ALL.iter().map(|word| (word.as_str(), word.meaning()));
    for (word, meaning) in types.chain(reasons) {
        assert!(
            word.starts_with(|c: char| c.is_ascii_uppercase()) && word.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{word}"
        );
        assert!(meaning.trim().ends_with('.'), "{word}: {meaning}");
    }
    // Each reason begins with the conditions that it can be on.
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Pending) {
        let (on, _) = reason.meaning().trim().split_once(':').unwrap_or_else(|| panic!("{reason}"));
        for condition in on.split(", ") {
            assert!(ConditionType::ALL.iter().any(|known| known.as_str() == condition), "{reason}: {condition}");
        }
    }
}

#[test]
fn the_pod_template_keeps_what_a_newer_kubernetes_knows() {
    let spec =
        &schema()["properties"]["spec"]["properties"]["gateways"]["properties"]["podTemplate"]["properties"]["spec"];
    assert_eq!(spec["x-kubernetes-preserve-unknown-fields"], Value::Bool(true));
    let pods =
        json!({ "spec": { "gateways": { "podTemplate": { "spec": { "a field of tomorrow": [1, { "b": null }] } } } } });
    let typed: ImCluster = serde_json::from_value(merged(&smallest(), &pods)).unwrap();
    assert_eq!(typed.spec.gateways.pod_template.spec["a field of tomorrow"][0], 1);
}
