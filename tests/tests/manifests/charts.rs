//! The charts: what they render to with their own values is what kustomize makes, so that there is one truth.

use serde_json::{Value, json};

use crate::kustomizations::{monitored, overlay};
use crate::objects::{comparable, without};
use crate::render::{documents, helm, lint, manifests, operator, operator_by_default};

/// What kustomize brings, and helm leaves to `--create-namespace` and to the other chart.
const NOT_IN_THE_CHART: [&str; 2] = ["CustomResourceDefinition", "Namespace"];

#[test]
#[ignore = "needs helm and kustomize: make test-manifests"]
fn the_chart_of_the_operator_is_the_overlay_namespaced() {
    let expected = comparable(without(overlay("namespaced"), &NOT_IN_THE_CHART));
    assert_eq!(comparable(operator_by_default()), expected);
}

#[test]
#[ignore = "needs helm and kustomize: make test-manifests"]
fn with_all_namespaces_it_is_the_overlay_cluster_wide() {
    let expected = comparable(without(overlay("cluster-wide"), &NOT_IN_THE_CHART));
    assert_eq!(comparable(operator(&json!({ "watch": { "allNamespaces": true } }))), expected);
}

#[test]
#[ignore = "needs helm and kustomize: make test-manifests"]
fn with_a_service_monitor_it_is_the_overlay_with_the_component() {
    let expected = comparable(without(monitored(), &NOT_IN_THE_CHART));
    assert_eq!(comparable(operator(&json!({ "serviceMonitor": { "enabled": true } }))), expected);
}

#[test]
#[ignore = "needs helm: make test-manifests"]
fn the_chart_of_the_definition_is_the_definition_and_helm_keeps_it() {
    let committed = std::fs::read_to_string(manifests().join("../crds/imclusters.yaml")).unwrap();
    let mut expected = documents(&committed);
    expected[0]["metadata"]["annotations"] = json!({ "helm.sh/resource-policy": "keep" });
    assert_eq!(helm("imcluster-crds", &json!({})).unwrap(), expected);
}

/// What it renders beside objects, it renders too: the notes that an installation ends with.
#[test]
#[ignore = "needs helm: make test-manifests"]
fn helm_has_nothing_against_the_charts() {
    lint("imcluster-crds", &json!({})).unwrap();
    for values in [json!({}), json!({ "watch": { "allNamespaces": true } })] {
        lint("imcluster-operator", &values).unwrap();
    }
}

#[test]
fn charts_and_images_are_of_this_release() {
    let version = env!("CARGO_PKG_VERSION");
    for chart in ["imcluster-crds", "imcluster-operator"] {
        let file = std::fs::read_to_string(manifests().join("charts").join(chart).join("Chart.yaml")).unwrap();
        let chart = &documents(&file)[0];
        assert_eq!([&chart["version"], &chart["appVersion"]], [version; 2]);
    }
    let deployment = documents(&std::fs::read_to_string(manifests().join("base/deployment.yaml")).unwrap());
    let image = &deployment[0]["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, &Value::from(format!("ghcr.io/imcluster/imcluster-operator:{version}")));
}
