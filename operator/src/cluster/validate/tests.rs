//! Each refusal, and that nothing else is refused.

#![allow(clippy::needless_pass_by_value, reason = "what is written where it is used needs no reference")]

use imcluster_crds::conditions::Reason;
use imcluster_crds::settings::{OPERATORS_OWN, SECRETS};
use imcluster_crds::{ImCluster, Settings};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::samples::{cluster, merged, secrets};
use super::*;

mod references;

fn refusal(patch: &Value) -> Refusal {
    match validate(&cluster(patch), &secrets()) {
        Err(refusal) => refusal,
        Ok(_) => panic!("{patch} is accepted"),
    }
}

fn pods(spec: Value) -> Value {
    json!({ "spec": { "gateways": { "podTemplate": { "spec": spec } } } })
}

fn gateway(container: Value) -> Value {
    pods(json!({ "containers": [merged(&json!({ "name": "im-server" }), &container)] }))
}

fn kafka(kafka: Value) -> Value {
    json!({ "spec": { "kafka": kafka } })
}

/// A write that each rule of the definition refuses, by the beginning of the rule's message.
fn broken() -> Vec<(&'static str, Value)> {
    let gateways = |gateways: Value| json!({ "spec": { "gateways": gateways } });
    let metadata = |metadata: Value| gateways(json!({ "podTemplate": { "metadata": metadata } }));
    let topics = |config: Value| kafka(json!({ "topics": { "config": config } }));
    let resources = |name: &str, more: &str, less: &str| {
        gateways(json!({ "resources": { "requests": { name: more }, "limits": { name: less } } }))
    };
    let config = |config: Value| json!({ "spec": { "config": config } });
    let extra = |name: &str| json!({ "spec": { "extraConfig": { name: "a" } } });
    vec![
        ("metadata.name must be at most 40", json!({ "metadata": { "name": "2chat" } })),
        ("exactly one of jwt and jwksUrl", json!({ "spec": { "auth": { "jwksUrl": "https://id.example/keys" } } })),
        ("tlsSecretName needs host", json!({ "spec": { "ingress": { "tlsSecretName": "a" } } })),
        ("each entry of metricsFrom", json!({ "spec": { "networkPolicy": { "metricsFrom": [{}] } } })),
        ("drain.connectionsPerSecond times", gateways(json!({ "maxConnections": 60_001 }))),
        ("requests.cpu must not be above", resources("cpu", "2", "1500m")),
        ("requests.memory must not be above", resources("memory", "1Gi", "1G")),
        ("the operator sets app.kubernetes.io/name", metadata(json!({ "labels": { "imcluster.dev/a": "a" } }))),
        ("the operator sets all of imcluster.dev/", metadata(json!({ "annotations": { "imcluster.dev/a": "a" } }))),
        ("loadBalancerClass is for type", gateways(json!({ "service": { "loadBalancerClass": "a" } }))),
        ("externalTrafficPolicy is for", gateways(json!({ "service": { "externalTrafficPolicy": "Local" } }))),
        ("config[min.insync.replicas] must be", topics(json!({ "min.insync.replicas": "4" }))),
        ("names of topic settings", topics(json!({ "segment_ms": "1" }))),
        ("cleanup.policy must be delete", topics(json!({ "cleanup.policy": "compact" }))),
        ("retention.ms must be", topics(json!({ "retention.ms": "59999" }))),
        ("frameBytes must be at least", config(json!({ "contentBytes": 130_049 }))),
        ("tcpProxyProtocol needs trustedProxies", config(json!({ "tcpProxyProtocol": true }))),
        ("names of settings are lower-case", extra("someSetting")),
        ("extraConfig has a setting that follows", extra(OPERATORS_OWN[0])),
        ("extraConfig has a secret", extra(SECRETS[0])),
        ("extraConfig has a setting that config has", extra(Settings::names().first().expect("there are settings"))),
    ]
}

#[test]
fn every_rule_of_the_definition_is_checked_again() {
    for (rule, patch) in broken() {
        let Refusal::BrokenRule { field, message } = refusal(&patch) else { panic!("{rule}") };
        assert!(message.starts_with(rule), "{field}: {message}");
        assert!(field.starts_with("spec") || field == "metadata.name", "{field}");
        assert_eq!(Refusal::BrokenRule { field, message }.reason(), Reason::InvalidSpec);
    }
}

#[test]
fn every_rule_that_asks_nothing_of_what_was_before_is_among_those_that_are_tried() {
    fn rules(node: &Value, found: &mut Vec<String>) {
        match node {
            Value::Object(fields) => {
                for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    if !rule["rule"].as_str().expect("a rule").contains("oldSelf") {
                        found.push(rule["message"].as_str().expect("a message").to_owned());
                    }
                }
                fields.values().for_each(|value| rules(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| rules(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    rules(&serde_json::to_value(ImCluster::crd()).expect("JSON"), &mut found);
    let tried = broken();
    assert_eq!(found.len(), tried.len());
    for message in found {
        assert!(tried.iter().any(|(rule, _)| message.starts_with(rule)), "{message}");
    }
}

#[test]
fn bounds_of_the_definition_are_checked_again_before_its_rules() {
    for (field, patch) in [
        ("spec.gateways.replicas", json!({ "spec": { "gateways": { "replicas": 501 } } })),
        (
            "spec.gateways.drain.deadlineSeconds",
            json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": 3_601 } } } }),
        ),
        ("spec.image", json!({ "spec": { "image": "an image" } })),
        ("spec.kafka.bootstrapServers", kafka(json!({ "bootstrapServers": "kafka" }))),
        (
            "spec.gateways.resources.requests.cpu",
            json!({ "spec": { "gateways": { "resources": { "requests": { "cpu": "-1" } } } } }),
        ),
        ("spec.config.trustedProxies.0", json!({ "spec": { "config": { "trustedProxies": ["everyone"] } } })),
        ("spec.extraConfig.a", json!({ "spec": { "extraConfig": { "a": "a".repeat(4_097) } } })),
        ("spec.redis.urlSecretRef.name", json!({ "spec": { "redis": { "urlSecretRef": { "name": "Redis" } } } })),
    ] {
        let Refusal::OutOfBounds { field: at, problem } = refusal(&patch) else { panic!("{patch}") };
        assert_eq!(at, field, "{problem}");
    }
}

#[test]
fn a_prefix_that_is_in_use_stays() {
    let used = json!({ "status": { "topicPrefix": "im.chat." } });
    assert!(validate(&cluster(&used), &secrets()).is_ok());
    let patch = merged(&used, &kafka(json!({ "topics": { "prefix": "other." } })));
    let refusal = refusal(&patch);
    assert!(matches!(refusal, Refusal::PrefixChanged { .. }), "{refusal}");
    assert!(refusal.to_string().contains("im.chat.") && refusal.to_string().contains("other."), "{refusal}");
}

#[test]
fn a_field_that_no_pod_has_is_named() {
    let place = "spec.gateways.podTemplate.spec";
    for (patch, field) in [
        (pods(json!({ "tolerationz": [] })), format!("{place}.tolerationz")),
        (pods(json!({ "affinity": { "nodeAffinty": {} } })), format!("{place}.affinity.nodeAffinty")),
        (gateway(json!({ "env": [{ "name": "A", "valu": "1" }] })), format!("{place}.containers[0].env[0].valu")),
        (
            pods(json!({ "volumes": [{ "name": "a", "configMap": { "nme": "a" } }] })),
            format!("{place}.volumes[0].configMap.nme"),
        ),
    ] {
        assert_eq!(refusal(&patch), Refusal::UnknownField { field });
    }
}

#[test]
fn a_value_of_another_type_is_named_with_what_is_expected() {
    for (patch, field, word) in [
        (pods(json!({ "priorityClassName": 1 })), "podTemplate.spec.priorityClassName", "string"),
        (gateway(json!({ "env": { "A": "1" } })), "podTemplate.spec.containers[0].env", "sequence"),
        (pods(json!({ "containers": ["a"] })), "podTemplate.spec.containers[0]", "Container"),
        (pods(json!({ "tolerations": [{ "tolerationSeconds": "1" }] })), "tolerations[0].tolerationSeconds", "i64"),
    ] {
        let Refusal::WrongType { field: at, problem } = refusal(&patch) else { panic!("{patch}") };
        assert!(at.ends_with(field) && problem.contains(word), "{at}: {problem}");
    }
}

#[test]
fn what_a_pod_must_have_may_come_from_either_side_but_from_one() {
    let constraint = |key: &str| pods(json!({ "topologySpreadConstraints": [{ "topologyKey": key, "maxSkew": 2 }] }));
    assert!(validate(&cluster(&constraint("kubernetes.io/hostname")), &secrets()).is_ok());
    for (patch, end) in [
        (constraint("rack"), "topologySpreadConstraints[2].whenUnsatisfiable"),
        (pods(json!({ "containers": [{ "image": "a" }] })), "containers[1].name"),
        (gateway(json!({ "volumeMounts": [{ "mountPath": "/a" }] })), "volumeMounts[3].name"),
    ] {
        let Refusal::FieldMissing { field } = refusal(&patch) else { panic!("{patch}") };
        assert!(field.ends_with(end), "{field}");
    }
}

#[test]
fn what_the_operator_relies_on_cannot_be_changed() {
    let sidecar = |port: u16| pods(json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": port }] }] }));
    let env = |name: &str| gateway(json!({ "env": [{ "name": name, "value": "1" }] }));
    let mount = |path: &str| gateway(json!({ "volumeMounts": [{ "mountPath": path, "name": "a" }] }));
    let mut patches = vec![
        pods(json!({ "restartPolicy": "Never" })),
        pods(json!({ "terminationGracePeriodSeconds": 5 })),
        pods(json!({ "hostname": "a" })),
        pods(json!({ "subdomain": "a" })),
        pods(json!({ "setHostnameAsFQDN": true })),
        pods(json!({ "nodeName": "a" })),
        pods(json!({ "activeDeadlineSeconds": 5 })),
        pods(json!({ "ephemeralContainers": [] })),
        pods(json!({ "initContainers": [{ "name": "im-server" }] })),
        pods(json!({ "volumes": [{ "name": "im-server-secrets", "emptyDir": {} }] })),
        sidecar(8080),
        sidecar(8090),
        sidecar(9090),
        gateway(json!({ "image": "a" })),
        gateway(json!({ "command": ["a"] })),
        gateway(json!({ "args": ["a"] })),
        gateway(json!({ "ports": [] })),
        gateway(json!({ "resources": {} })),
        gateway(json!({ "readinessProbe": { "httpGet": { "port": 1 } } })),
        gateway(json!({ "livenessProbe": { "exec": { "command": ["true"] } } })),
        env("IM_SERVER_ID"),
        env("IM_MANAGEMENT_LISTEN"),
        env("IM_DATABASE_URL_FILE"),
        mount("/etc/im-server"),
        mount("/etc/im-server/secrets/"),
    ];
    patches.extend(["containers", "volumes"].map(|list| pods(json!({ list: null }))));
    let parts = ["env", "volumeMounts", "livenessProbe", "readinessProbe", "startupProbe"];
    patches.extend(parts.map(|part| pods(json!({ "containers": [{ "name": "im-server", part: null }] }))));
    for patch in patches {
        // Not by a merge patch, for which null means something else.
        let mut cluster = cluster(&json!({}));
        let spec = patch["spec"]["gateways"]["podTemplate"]["spec"].as_object().expect("a spec");
        cluster.spec.gateways.pod_template.spec = spec.clone();
        let refusal = validate(&cluster, &secrets()).expect_err("it is protected");
        assert!(matches!(refusal, Refusal::Protected { .. }), "{patch}: {refusal}");
    }
}

#[test]
fn what_is_not_the_operator_s_may_be_changed() {
    for patch in [
        pods(
            json!({ "affinity": { "podAntiAffinity": {} }, "nodeSelector": { "a": "b" }, "priorityClassName": "high" }),
        ),
        pods(json!({ "containers": [{ "name": "a", "image": "a", "resources": { "limits": { "cpu": 1 } } }] })),
        pods(json!({ "initContainers": [{ "name": "a", "image": "a" }], "serviceAccountName": "mine" })),
        pods(json!({ "volumes": [{ "name": "ca", "configMap": { "name": "ca" } }] })),
        gateway(json!({ "readinessProbe": { "timeoutSeconds": 5 }, "lifecycle": {} })),
        gateway(
            json!({ "env": [{ "name": "IM_SERVICE_TOKEN", "valueFrom": { "secretKeyRef": { "name": "a", "key": "b" } } }] }),
        ),
        gateway(json!({ "volumeMounts": [{ "mountPath": "/etc/im-server-ca", "name": "ca" }] })),
    ] {
        assert!(validate(&cluster(&patch), &secrets()).is_ok(), "{patch}: {}", refusal(&patch));
    }
}

#[test]
fn instructions_for_patch_tools_are_refused_wherever_they_stand() {
    for patch in [
        pods(json!({ "$patch": "replace" })),
        gateway(json!({ "$patch": "delete" })),
        pods(json!({ "$setElementOrder/containers": [] })),
        gateway(json!({ "env": [{ "name": "A", "$patch": "delete" }] })),
    ] {
        let refusal = refusal(&patch);
        assert!(matches!(refusal, Refusal::Directive { .. }), "{patch}: {refusal}");
    }
}

#[test]
fn labels_and_annotations_are_those_that_kubernetes_takes() {
    let metadata = |metadata: Value| json!({ "spec": { "gateways": { "podTemplate": { "metadata": metadata } } } });
    for patch in [
        metadata(json!({ "labels": { "a b": "c" } })),
        metadata(json!({ "labels": { "a": "b c" } })),
        metadata(json!({ "labels": { "A.example/a": "b" } })),
        metadata(json!({ "annotations": { "a/b/c": "d" } })),
        json!({ "spec": { "gateways": { "service": { "annotations": { "-a": "b" } } } } }),
        json!({ "spec": { "ingress": { "annotations": { "": "b" } } } }),
    ] {
        let refusal = refusal(&patch);
        assert!(matches!(refusal, Refusal::NoLabel { .. }), "{patch}: {refusal}");
    }
    let fine = metadata(json!({ "labels": { "example.com/a_b.c": "", "a": "1" }, "annotations": { "a": "any text" } }));
    assert!(validate(&cluster(&fine), &secrets()).is_ok());
}

#[test]
fn what_would_not_fit_into_an_annotation_is_refused() {
    let env = |chars: usize| gateway(json!({ "env": [{ "name": "A", "value": "a".repeat(chars) }] }));
    let restarted =
        |chars: usize| json!({ "metadata": { "annotations": { "imcluster.dev/restartedAt": "a".repeat(chars) } } });
    for (fits, does_not) in [(env(130_000), env(131_072)), (restarted(256), restarted(257))] {
        assert!(validate(&cluster(&fits), &secrets()).is_ok());
        let refusal = refusal(&does_not);
        assert!(matches!(refusal, Refusal::TooLarge { .. }), "{refusal}");
    }
}

#[test]
fn a_message_fits_into_a_condition_whatever_the_resource_says() {
    let long = "a".repeat(100_000);
    for patch in [
        json!({ "spec": { "extraConfig": { "a": long } } }),
        json!({ "spec": { "gateways": { "podTemplate": { "metadata": { "labels": { "a": long } } } } } }),
        json!({ "spec": { "gateways": { "podTemplate": { "metadata": { "labels": { long.as_str(): "b" } } } } } }),
        pods(json!({ long.as_str(): 1 })),
        pods(json!({ format!("${long}"): 1 })),
        pods(json!({ "hostNetwork": long })),
        gateway(json!({ "env": [{ "name": "A", long.as_str(): 1 }] })),
    ] {
        let message = refusal(&patch).to_string();
        assert!(message.len() < 1_000, "{} bytes", message.len());
    }
}

/// The resources of an example, and the Secrets that it shows.
fn example(text: &str) -> (Vec<ImCluster>, Secrets) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == kind);
    let clusters = of_kind("ImCluster").map(|document| serde_json::from_value(document.clone()).expect("a resource"));
    let secrets = of_kind("Secret").map(|document| {
        let keys = document["stringData"].as_object().into_iter().flatten();
        let keys = keys.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec()));
        (document["metadata"]["name"].as_str().unwrap_or_default().to_owned(), Some(keys.collect()))
    });
    (clusters.collect(), secrets.collect())
}

#[test]
fn every_example_is_accepted_and_the_smallest_has_all_that_it_needs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/examples");
    let mut accepted = 0;
    for entry in std::fs::read_dir(folder).expect("there are examples") {
        let path = entry.expect("an example").path();
        let (clusters, secrets) = example(&std::fs::read_to_string(&path).expect("text"));
        for cluster in clusters {
            let valid = validate(&cluster, &secrets).unwrap_or_else(|refusal| panic!("{}: {refusal}", path.display()));
            if path.ends_with("smallest.yaml") {
                assert!(matches!(valid.references(), References::Resolved(_)), "{:?}", valid.references());
            }
            accepted += 1;
        }
    }
    assert!(accepted >= 2);
}
