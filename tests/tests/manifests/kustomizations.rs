//! The kustomizations.

use serde_json::Value;

use crate::objects::{arguments, container, names, object};
use crate::render::{NAMESPACE, kustomize, kustomize_of_a_user, manifests};
use crate::strict;

/// What every installation has.
const COMMON: [&str; 10] = [
    "ClusterRole -/imcluster-operator-imclusters",
    "ClusterRoleBinding -/imcluster-operator-imclusters",
    "CustomResourceDefinition -/imclusters.imcluster.dev",
    "Deployment imcluster-system/imcluster-operator",
    "Namespace -/imcluster-system",
    "NetworkPolicy imcluster-system/imcluster-operator",
    "PodDisruptionBudget imcluster-system/imcluster-operator",
    "Role imcluster-system/imcluster-operator-leader-election",
    "RoleBinding imcluster-system/imcluster-operator-leader-election",
    "ServiceAccount imcluster-system/imcluster-operator",
];

fn with_common(more: &[&str]) -> Vec<String> {
    let mut names: Vec<_> = COMMON.iter().chain(more).map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

/// An overlay of `manifests`.
pub(crate) fn overlay(name: &str) -> Vec<Value> {
    kustomize(&manifests().join("overlays").join(name))
}

/// The default overlay with the `ServiceMonitor`.
pub(crate) fn monitored() -> Vec<Value> {
    kustomize_of_a_user(&[(
        "kustomization.yaml",
        "resources: [MANIFESTS/overlays/namespaced]\ncomponents: [MANIFESTS/components/service-monitor]\n",
    )])
}

#[test]
#[ignore = "needs kustomize: make test-manifests"]
fn the_definition_alone_is_the_committed_one() {
    let committed = kustomize(&manifests().join("../crds"));
    assert_eq!(kustomize(&manifests().join("crds")), committed);
    assert_eq!(names(&committed), ["CustomResourceDefinition -/imclusters.imcluster.dev"]);
    strict::check(&committed);
}

#[test]
#[ignore = "needs kustomize: make test-manifests"]
fn the_default_watches_the_namespace_default_by_a_role_there() {
    let objects = overlay("namespaced");
    strict::check(&objects);
    assert_eq!(
        names(&objects),
        with_common(&["Role default/imcluster-operator", "RoleBinding default/imcluster-operator"])
    );
    assert_eq!(arguments(&objects), ["run", "--log=info", "--log-format=json", "--namespaces=default"]);
}

#[test]
#[ignore = "needs kustomize: make test-manifests"]
fn cluster_wide_has_the_same_rights_everywhere() {
    let objects = overlay("cluster-wide");
    strict::check(&objects);
    assert_eq!(
        names(&objects),
        with_common(&["ClusterRole -/imcluster-operator", "ClusterRoleBinding -/imcluster-operator"])
    );
    assert_eq!(arguments(&objects), ["run", "--log=info", "--log-format=json", "--all-namespaces"]);
    let default = overlay("namespaced");
    let rules = |objects: &[Value], kind: &str| object(objects, kind, "imcluster-operator")["rules"].clone();
    assert_eq!(rules(&objects, "ClusterRole"), rules(&default, "Role"));
    let binding = object(&objects, "ClusterRoleBinding", "imcluster-operator");
    assert_eq!(binding["roleRef"]["kind"], "ClusterRole");
}

#[test]
#[ignore = "needs kustomize: make test-manifests"]
fn an_overlay_of_ones_own_watches_several_namespaces() {
    let watched = |namespace: &str| format!("namespace: {namespace}\nresources: [MANIFESTS/watched-namespace]\n");
    let objects = kustomize_of_a_user(&[
        (
            "kustomization.yaml",
            "resources: [MANIFESTS/base, chat, games]
images: [{ name: ghcr.io/imcluster/imcluster-operator, newName: registry.example.com/operator }]
patches:
  - target: { kind: Deployment, name: imcluster-operator }
    patch: |-
      - op: add
        path: /spec/template/spec/containers/0/args/-
        value: --namespaces=chat,games
",
        ),
        ("chat/kustomization.yaml", &watched("chat")),
        ("games/kustomization.yaml", &watched("games")),
    ]);
    strict::check(&objects);
    let roles = ["chat", "games"].map(|namespace| format!("Role {namespace}/imcluster-operator"));
    let bindings = roles.clone().map(|name| name.replace("Role", "RoleBinding"));
    let expected: Vec<_> = roles.iter().chain(&bindings).map(String::as_str).collect();
    assert_eq!(names(&objects), with_common(&expected));
    assert_eq!(arguments(&objects).last(), Some(&"--namespaces=chat,games"));
    assert!(container(&objects)["image"].as_str().unwrap().starts_with("registry.example.com/operator:"));
    for binding in objects.iter().filter(|it| it["kind"] == "RoleBinding") {
        assert_eq!(binding["subjects"][0]["namespace"], NAMESPACE, "{binding:#}");
    }
}

#[test]
#[ignore = "needs kustomize: make test-manifests"]
fn the_component_adds_a_service_and_its_monitor() {
    let objects = monitored();
    strict::check(&objects);
    let more: Vec<_> =
        names(&objects).into_iter().filter(|name| !names(&overlay("namespaced")).contains(name)).collect();
    assert_eq!(
        more,
        ["Service imcluster-system/imcluster-operator", "ServiceMonitor imcluster-system/imcluster-operator"]
    );
}

/// Everything finds the pods by the labels that they have, and the ports by their names.
#[test]
#[ignore = "needs kustomize: make test-manifests"]
fn selectors_find_the_pods_and_names_the_ports() {
    let objects = monitored();
    let template = &object(&objects, "Deployment", "imcluster-operator")["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    let affinity = "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm";
    assert_eq!(&template.pointer(affinity).unwrap()["labelSelector"]["matchLabels"], labels);
    let spec = |kind: &str| &object(&objects, kind, "imcluster-operator")["spec"];
    assert_eq!(&spec("Deployment")["selector"]["matchLabels"], labels);
    assert_eq!(&spec("PodDisruptionBudget")["selector"]["matchLabels"], labels);
    assert_eq!(&spec("NetworkPolicy")["podSelector"]["matchLabels"], labels);
    assert_eq!(&spec("Service")["selector"], labels);
    let service = object(&objects, "Service", "imcluster-operator");
    assert_eq!(spec("ServiceMonitor")["selector"]["matchLabels"], service["metadata"]["labels"]);
    let port = &container(&objects)["ports"][0]["name"];
    assert_eq!(port, &spec("ServiceMonitor")["endpoints"][0]["port"]);
    assert_eq!(port, &spec("Service")["ports"][0]["targetPort"]);
    assert_eq!(port, &spec("Service")["ports"][0]["name"]);
    assert_eq!(port, &spec("NetworkPolicy")["ingress"][0]["ports"][0]["port"]);
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(port, &container(&objects)[probe]["httpGet"]["port"]);
    }
}
