//! The values of the operator's chart: each does what it says, and what is none is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::objects::{arguments, container, names, object};
use crate::render::{documents, helm, manifests, operator};
use crate::strict;

/// Something in every value.
fn everything() -> Value {
    json!({
        "image": { "repository": "registry.example.com:5000/operator", "tag": "1.2.3", "pullPolicy": "Always" },
        "imagePullSecrets": [{ "name": "pull" }],
        "gatewayImage": "registry.example.com:5000/im-server:1.2.3",
        "replicas": 3,
        "watch": { "namespaces": ["chat", "games"], "allNamespaces": false },
        "log": "info,imcluster_operator::topics=debug",
        "logFormat": "text",
        "resources": { "requests": { "cpu": 1 }, "limits": { "memory": "1Gi" } },
        "podLabels": { "team": "chat", "app.kubernetes.io/name": "another" },
        "podAnnotations": { "example.com/note": "none" },
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "tolerations": [{ "key": "dedicated", "operator": "Exists", "effect": "NoSchedule" }],
        "priorityClassName": "system-cluster-critical",
        "affinity": { "podAntiAffinity": null, "nodeAffinity": {} },
        "networkPolicy": { "enabled": true, "metricsFrom": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] },
        "serviceMonitor": { "enabled": true, "interval": "1m30s", "labels": { "release": "prometheus" } },
    })
}

#[test]
#[ignore = "needs helm: make test-manifests"]
fn every_value_does_what_it_says() {
    let objects = operator(&everything());
    strict::check(&objects);
    let roles: Vec<_> = names(&objects).into_iter().filter(|name| name.ends_with("/imcluster-operator")).collect();
    for namespace in ["chat", "games"] {
        assert!(roles.contains(&format!("Role {namespace}/imcluster-operator")), "{roles:?}");
        assert!(roles.contains(&format!("RoleBinding {namespace}/imcluster-operator")), "{roles:?}");
    }
    let expected = [
        "run",
        "--log=info,imcluster_operator::topics=debug",
        "--log-format=text",
        "--namespaces=chat,games",
        "--image=registry.example.com:5000/im-server:1.2.3",
    ];
    assert_eq!(arguments(&objects), expected);
    let container = container(&objects);
    assert_eq!(container["image"], "registry.example.com:5000/operator:1.2.3");
    assert_eq!(container["imagePullPolicy"], "Always");
    let limits = json!({ "requests": { "cpu": 1, "memory": "64Mi" }, "limits": { "memory": "1Gi" } });
    assert_eq!(container["resources"], limits);
    let deployment = &object(&objects, "Deployment", "imcluster-operator")["spec"];
    assert_eq!(deployment["replicas"], 3);
    let pod = &deployment["template"];
    assert_eq!(pod["metadata"]["annotations"], json!({ "example.com/note": "none" }));
    // Selectors go by it: nobody gives it another value.
    assert_eq!(pod["metadata"]["labels"], json!({ "team": "chat", "app.kubernetes.io/name": "imcluster-operator" }));
    for value in ["imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName"] {
        assert_eq!(pod["spec"][value], everything()[value], "{value}");
    }
    assert_eq!(pod["spec"]["affinity"], json!({ "nodeAffinity": {} }));
    let from = &object(&objects, "NetworkPolicy", "imcluster-operator")["spec"]["ingress"][0]["from"];
    assert_eq!(from, &everything()["networkPolicy"]["metricsFrom"]);
    let monitor = object(&objects, "ServiceMonitor", "imcluster-operator");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["endpoints"][0]["interval"], "1m30s");
}

#[test]
#[ignore = "needs helm: make test-manifests"]
fn a_network_policy_can_let_nobody_in_or_be_left_out() {
    let nobody = operator(&json!({ "networkPolicy": { "metricsFrom": [] } }));
    strict::check(&nobody);
    assert_eq!(object(&nobody, "NetworkPolicy", "imcluster-operator")["spec"].get("ingress"), None);
    let none = operator(&json!({ "networkPolicy": { "enabled": false } }));
    assert!(none.iter().all(|it| it["kind"] != "NetworkPolicy"));
}

#[test]
#[ignore = "needs helm: make test-manifests"]
fn what_is_no_value_is_refused_by_its_name() {
    let refused = [
        (json!({ "replicaCount": 2 }), "replicaCount"),
        (json!({ "replicas": 0 }), "/replicas"),
        (json!({ "replicas": "2" }), "/replicas"),
        (json!({ "image": { "name": "a" } }), "name"),
        (json!({ "image": { "repository": "a b" } }), "/image/repository"),
        (json!({ "image": { "repository": "a:1.0" } }), "/image/repository"),
        (json!({ "image": { "tag": "a:b" } }), "/image/tag"),
        (json!({ "image": { "pullPolicy": "Sometimes" } }), "/image/pullPolicy"),
        (json!({ "imagePullSecrets": ["pull"] }), "/imagePullSecrets/0"),
        (json!({ "gatewayImage": "a b" }), "/gatewayImage"),
        (json!({ "watch": { "namespaces": [] } }), "/watch/namespaces"),
        (json!({ "watch": { "namespaces": ["a", "a"] } }), "/watch/namespaces"),
        (json!({ "watch": { "namespaces": ["A"] } }), "/watch/namespaces/0"),
        (json!({ "watch": { "namespace": "a" } }), "namespace"),
        (json!({ "watch": { "allNamespaces": "yes" } }), "/watch/allNamespaces"),
        (json!({ "log": "" }), "/log"),
        (json!({ "logFormat": "yaml" }), "/logFormat"),
        (json!({ "resources": { "request": {} } }), "request"),
        (json!({ "podLabels": { "a": 1 } }), "/podLabels/a"),
        (json!({ "podAnnotations": { "a": true } }), "/podAnnotations/a"),
        (json!({ "nodeSelector": { "a": 1 } }), "/nodeSelector/a"),
        (json!({ "tolerations": [{ "keys": "a" }] }), "keys"),
        (json!({ "affinity": { "antiAffinity": {} } }), "antiAffinity"),
        (json!({ "networkPolicy": { "metricsFrom": [{}] } }), "/networkPolicy/metricsFrom/0"),
        (json!({ "networkPolicy": { "egress": [] } }), "egress"),
        (json!({ "serviceMonitor": { "interval": "30" } }), "/serviceMonitor/interval"),
        (json!({ "serviceMonitor": { "namespace": "a" } }), "namespace"),
    ];
    for (values, name) in refused {
        let complaint = helm("imcluster-operator", &values).expect_err(&values.to_string());
        assert!(complaint.contains(name), "{values}: {complaint}");
    }
    assert!(helm("imcluster-crds", &json!({ "keep": false })).unwrap_err().contains("keep"));
}

#[test]
fn the_schema_knows_the_values_that_there_are_and_no_others() {
    let chart = manifests().join("charts/imcluster-operator");
    let read = |file: &str| std::fs::read_to_string(chart.join(file)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values = documents(&read("values.yaml")).remove(0);
    let mut known = paths(&schema["properties"], |node| &node["properties"]);
    assert!(known.remove("global"));
    // These have no default, and are Kubernetes' own.
    known.retain(|path| !path.starts_with("affinity.") && !path.starts_with("resources."));
    let fixed: BTreeSet<_> = paths(&values, |value| value).into_iter().filter(|path| known.contains(path)).collect();
    assert_eq!(fixed, known);
    let documented = paths(&everything(), |value| value);
    assert!(known.is_subset(&documented), "not tested: {:?}", known.difference(&documented));
}

/// The names in a tree, with dots between them.
fn paths(fields: &Value, inner: impl Fn(&Value) -> &Value + Copy) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        found.insert(name.clone());
        found.extend(paths(inner(value), inner).into_iter().map(|path| format!("{name}.{path}")));
    }
    found
}
