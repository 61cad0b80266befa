//! Whole objects, and what changes them. `INSTA_UPDATE=always cargo test -p imcluster-operator` writes the snapshots again; what
//! changed in them is looked at before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use imcluster_crds::settings::OPERATORS_OWN;
use imcluster_crds::{ImCluster, MAX_DRAIN_SECONDS, Settings};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::*;
use crate::cluster::strict;
use crate::cluster::validate::samples::{HIDDEN, cluster, merged, secrets, secrets_with};
use crate::cluster::validate::{Secrets, Valid, validate};

mod rolls;

const TOKEN: &str = "a token of the operator";

fn valid_with(patch: &Value, secrets: &Secrets) -> Valid {
    validate(&cluster(patch), secrets).unwrap_or_else(|refusal| panic!("{patch}: {refusal}"))
}

fn valid(patch: &Value) -> Valid {
    valid_with(patch, &secrets())
}

fn release(image: &str) -> Release {
    Release { image: image.to_owned() }
}

fn inputs<'a>(release: &'a Release, live: Option<&'a StatefulSet>) -> Inputs<'a> {
    Inputs { live, release, operator_namespace: "imcluster-system", token: TOKEN }
}

const GROWN: Decision = Decision { replicas: 3, change_template: true, current: 3 };
const WAITS: Decision = Decision { change_template: false, ..GROWN };

fn made(valid: &Valid, live: Option<&StatefulSet>, decision: Decision) -> Vec<Desired> {
    plan(valid, inputs(&release("im-server:1"), live)).objects(&decision)
}

/// What is made where nothing is.
fn objects(patch: &Value) -> Vec<Desired> {
    made(&valid(patch), None, GROWN)
}

fn one(objects: &[Desired], kind: Kind) -> &Value {
    let found = objects.iter().find(|object| object.kind == kind).expect("an object of this kind");
    found.object.as_ref().expect("it is applied")
}

/// As it comes back from the API server.
fn set(objects: &[Desired]) -> StatefulSet {
    serde_json::from_value(one(objects, Kind::StatefulSet).clone()).expect("a StatefulSet")
}

fn live(patch: &Value) -> StatefulSet {
    set(&objects(patch))
}

fn config(objects: &[Desired]) -> &str {
    one(objects, Kind::ConfigMap)["data"][config::FILE].as_str().expect("a file")
}

/// Objects as people read them.
fn yaml(objects: &[Desired]) -> String {
    let mut text = String::new();
    for Desired { object, .. } in objects {
        // The template stands there twice, once as JSON in a line.
        let mut object = object.clone().expect("it is applied");
        if let Some(template) = object.pointer_mut("/metadata/annotations/imcluster.dev~1template") {
            *template = json!("the template as JSON");
        }
        write!(text, "---\n{}", serde_saphyr::to_string(&object).expect("YAML")).expect("a string takes everything");
    }
    text
}

/// Options of the spec by name, each as a change of the smallest resource, and what makes it possible.
fn options() -> Vec<(&'static str, Value)> {
    let gateways = |gateways: Value| json!({ "spec": { "gateways": gateways } });
    let kafka = |kafka: Value| json!({ "spec": { "kafka": kafka } });
    vec![
        ("image", json!({ "spec": { "image": "registry.example/im-server:2" } })),
        ("gateways.maxConnections", gateways(json!({ "maxConnections": 10_000 }))),
        ("gateways.drain", gateways(json!({ "drain": { "deadlineSeconds": 200, "connectionsPerSecond": 100 } }))),
        (
            "gateways.resources",
            gateways(json!({ "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "2Gi" } } })),
        ),
        (
            "gateways.podTemplate.metadata",
            gateways(
                json!({ "podTemplate": { "metadata": { "labels": { "team": "chat" }, "annotations": { "note": "none" } } } }),
            ),
        ),
        (
            "gateways.podTemplate.spec",
            gateways(json!({ "podTemplate": { "spec": {
                "containers": [
                    { "name": "im-server", "env": [{ "name": "IM_SERVICE_TOKEN", "valueFrom": { "secretKeyRef": { "key": "token", "name": "backend" } } }] },
                    { "name": "sidecar", "image": "sidecar:1" },
                ],
                "tolerations": [{ "operator": "Exists" }],
                "topologySpreadConstraints": [{ "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule" }],
            } } })),
        ),
        ("gateways.service.type", gateways(json!({ "service": { "type": "NodePort" } }))),
        ("gateways.service.annotations", gateways(json!({ "service": { "annotations": { "note": "none" } } }))),
        (
            "gateways.service.loadBalancerClass",
            gateways(json!({ "service": { "type": "LoadBalancer", "loadBalancerClass": "fast" } })),
        ),
        (
            "gateways.service.externalTrafficPolicy",
            gateways(json!({ "service": { "type": "NodePort", "externalTrafficPolicy": "Local" } })),
        ),
        ("kafka.bootstrapServers", kafka(json!({ "bootstrapServers": "a.example:9093,b.example:9093" }))),
        ("kafka.tls", kafka(json!({ "tls": {} }))),
        ("kafka.tls.caSecretRef", kafka(json!({ "tls": { "caSecretRef": { "name": "ca", "key": "ca.pem" } } }))),
        (
            "kafka.tls.certificateSecretRef",
            kafka(json!({ "tls": { "certificateSecretRef": { "name": "cert-manager" } } })),
        ),
        (
            "kafka.tls.certificateSecretRef of Strimzi",
            kafka(json!({ "tls": { "certificateSecretRef": { "name": "strimzi" } } })),
        ),
        ("kafka.sasl", kafka(json!({ "sasl": { "secretRef": { "name": "login" } } }))),
        (
            "kafka.sasl with other keys",
            kafka(
                json!({ "sasl": { "mechanism": "PLAIN", "secretRef": { "name": "other-login", "usernameKey": "user", "passwordKey": "pass" } } }),
            ),
        ),
        (
            "kafka.sasl of Strimzi",
            kafka(json!({ "sasl": { "mechanism": "SCRAM-SHA-256", "secretRef": { "name": "strimzi" } } })),
        ),
        ("kafka.topics.prefix", kafka(json!({ "topics": { "prefix": "chat." } }))),
        ("redis", json!({ "spec": { "redis": { "urlSecretRef": { "name": "redis", "key": "cluster" } } } })),
        ("database", json!({ "spec": { "database": { "urlSecretRef": { "name": "database", "key": "postgres" } } } })),
        ("auth.jwt.signingKey", json!({ "spec": { "auth": { "jwt": { "signingKey": "2026-10" } } } })),
        ("auth.jwksUrl", json!({ "spec": { "auth": { "jwt": null, "jwksUrl": "https://id.example/keys" } } })),
        ("ingress", json!({ "spec": { "ingress": {} } })),
        (
            "ingress with everything",
            json!({ "spec": { "ingress": {
                "className": "nginx", "host": "chat.example", "tlsSecretName": "certificate", "annotations": { "note": "none" },
            } } }),
        ),
        ("networkPolicy.enabled", json!({ "spec": { "networkPolicy": { "enabled": false } } })),
        (
            "networkPolicy.metricsFrom",
            json!({ "spec": { "networkPolicy": { "metricsFrom": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] } } }),
        ),
        (
            "config",
            json!({ "spec": { "config": { "redisPrefix": "chat:", "trustedProxies": ["10.0.0.0/8", "::1"], "log": "a=\"b\"" } } }),
        ),
        ("extraConfig", json!({ "spec": { "extraConfig": { "setting-of-tomorrow": "a\\b\u{7f}\n\"c\"" } } })),
        (
            "restartedAt",
            json!({ "metadata": { "annotations": { "imcluster.dev/restartedAt": "2026-11-21T12:00:00Z" } } }),
        ),
    ]
}

/// Fields that make no object different, and why.
const NOT_OF_OBJECTS: [&str; 7] = [
    "spec.updatePolicy",                   // When a change comes.
    "spec.gateways.replicas",              // By way of the decision.
    "spec.kafka.topics.replicationFactor", // Topics are no objects.
    "spec.kafka.topics.config",
    "spec.kafka.topics.policy",
    "spec.paused",   // Nothing is made.
    "spec.auth.jwt", // The whole, whose parts are there.
];

#[test]
fn the_smallest_resource() {
    insta::assert_snapshot!("smallest", yaml(&objects(&json!({}))));
}

/// The lines that an option removes and adds, told by the object in which they are.
fn differences(before: &[Desired], after: &[Desired]) -> String {
    let texts = |objects: &[Desired]| -> BTreeMap<(Kind, String), String> {
        objects.iter().map(|object| ((object.kind, object.name.clone()), yaml(std::slice::from_ref(object)))).collect()
    };
    let (before, after) = (texts(before), texts(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut text = String::new();
    for key in keys {
        let of = |objects: &BTreeMap<(Kind, String), String>| objects.get(key).cloned().unwrap_or_default();
        let (before, after) = (of(&before), of(&after));
        let diff = similar::TextDiff::from_lines(&before, &after);
        for change in diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal) {
            write!(text, "{:?} {}{change}", key.0, change.tag()).expect("a string takes everything");
        }
    }
    text
}

#[test]
fn every_option_changes_what_it_should_and_nothing_else() {
    let smallest = objects(&json!({}));
    let mut text = String::new();
    for (name, patch) in options() {
        let differences = differences(&smallest, &objects(&patch));
        assert!(!differences.is_empty(), "{name} changes nothing");
        write!(text, "## {name}\n{differences}\n").expect("a string takes everything");
    }
    insta::assert_snapshot!("options", text);
}

#[test]
fn no_option_is_forgotten() {
    fn fields(schema: &Value, place: &str, found: &mut Vec<String>) {
        match schema["properties"].as_object() {
            Some(properties) if !place.ends_with("spec.config") && !place.ends_with("Ref") => {
                for (name, schema) in properties {
                    fields(schema, &format!("{place}.{name}"), found);
                }
            }
            _ => found.push(place.to_owned()),
        }
    }
    let definition = serde_json::to_value(<ImCluster as kube::CustomResourceExt>::crd()).expect("JSON");
    let mut found = Vec::new();
    fields(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", &mut found);
    let patches: Vec<_> = options().into_iter().map(|(_, patch)| patch).collect();
    for field in found {
        let pointer = format!("/{}", field.replace('.', "/"));
        let tried = patches.iter().any(|patch| patch.pointer(&pointer).is_some());
        let excused = NOT_OF_OBJECTS.iter().any(|other| field.starts_with(other));
        assert!(tried || excused, "no option tries {field}");
    }
}

/// A resource that uses as much as can be used together.
fn everything() -> Value {
    let together = [
        "image",
        "gateways.podTemplate.metadata",
        "gateways.podTemplate.spec",
        "kafka.tls.caSecretRef",
        "kafka.tls.certificateSecretRef",
        "kafka.sasl",
        "ingress with everything",
        "networkPolicy.metricsFrom",
        "config",
    ];
    let all = options();
    together.iter().fold(json!({}), |patch, name| {
        let (_, option) = all.iter().find(|(option, _)| option == name).expect("an option");
        merged(&patch, option)
    })
}

#[test]
fn all_at_once() {
    insta::assert_snapshot!("everything", yaml(&objects(&everything())));
}

#[test]
fn every_object_is_one_that_kubernetes_knows() {
    for patch in options().into_iter().map(|(_, patch)| patch).chain([everything()]) {
        for Desired { kind, object, .. } in objects(&patch) {
            let object = object.expect("it is applied");
            let check = match kind {
                Kind::ServiceAccount => strict::read::<ServiceAccount>(&object),
                Kind::ConfigMap => strict::read::<ConfigMap>(&object),
                Kind::Secret => strict::read::<Secret>(&object),
                Kind::Service => strict::read::<Service>(&object),
                Kind::NetworkPolicy => strict::read::<NetworkPolicy>(&object),
                Kind::Ingress => strict::read::<Ingress>(&object),
                Kind::PodDisruptionBudget => strict::read::<PodDisruptionBudget>(&object),
                Kind::StatefulSet => {
                    strict::read::<StatefulSet>(&object).and_then(|()| strict::complete::<StatefulSet>(&object))
                }
            };
            // The strict reader knows kind and apiVersion, which these types write themselves.
            assert_eq!(check, Ok(()), "{kind:?}");
        }
    }
}

#[test]
fn objects_come_in_the_order_of_their_kinds_with_owner_and_labels() {
    let objects = objects(&everything());
    assert!(objects.is_sorted_by_key(|object| object.kind));
    for Desired { kind, name, object } in &objects {
        let metadata = &object.as_ref().expect("it is applied")["metadata"];
        assert_eq!(metadata["name"], json!(name));
        assert_eq!(metadata["namespace"], "im");
        assert_eq!(metadata["labels"], json!(names::labels("chat")), "{kind:?}");
        let [owner] = metadata["ownerReferences"].as_array().expect("owners").as_slice() else { panic!("{kind:?}") };
        assert_eq!((&owner["controller"], &owner["name"]), (&json!(true), &json!("chat")));
        assert_eq!(owner["uid"], "7c9d2c1e-7f0f-4f0b-9d39-0e3e3f0ad3b1");
    }
}

#[test]
fn no_object_has_what_stands_in_a_secret_but_the_one_with_the_token() {
    for patch in options().into_iter().map(|(_, patch)| patch).chain([everything()]) {
        for Desired { kind, object, .. } in objects(&patch) {
            let text = object.expect("it is applied").to_string();
            assert!(![HIDDEN, TOKEN, "-----BEGIN"].iter().any(|secret| text.contains(secret)), "{text}");
            assert_eq!(text.contains("YSB0b2tlbiBvZiB0aGUgb3BlcmF0b3I="), kind == Kind::Secret, "{text}");
        }
    }
}

#[test]
fn the_configuration_file_is_toml_and_says_what_the_spec_says() {
    let patch =
        merged(&everything(), &json!({ "spec": { "extraConfig": { "setting-of-tomorrow": "a\\b\u{7f}\n\"c\"" } } }));
    let objects = objects(&patch);
    let file: toml::Table = config(&objects).parse().expect("TOML");
    assert_eq!(file["setting-of-tomorrow"].as_str(), Some("a\\b\u{7f}\n\"c\""));
    assert_eq!(file["trusted-proxies"].as_str(), Some("10.0.0.0/8,::1"));
    assert_eq!(file["kafka-topic-prefix"].as_str(), Some("im.chat."));
    assert_eq!(file["kafka-brokers"].as_str(), Some("kafka.im.svc:9092"));
    assert_eq!(file["max-connections"].as_str(), Some("20000"));
}

/// The names in im-server's documentation, which is made from its settings; of a secret also the file's.
fn known_to_im_server() -> BTreeSet<String> {
    let documentation = include_str!("../../../../docs/configuration.md");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `--"));
    let name = |row: &str| row.split([' ', '`']).next().unwrap_or_default().to_owned();
    rows.flat_map(|row| {
        [name(row), format!("{}-file", name(row))].into_iter().take(if row.contains("**Secret**") { 2 } else { 1 })
    })
    .collect()
}

#[test]
fn im_server_knows_every_setting_and_the_operator_keeps_its_own_to_itself() {
    let known = known_to_im_server();
    assert!(known.contains("database-url-file") && known.contains("listen"));
    for patch in options().into_iter().map(|(_, patch)| patch).chain([everything()]) {
        let objects = objects(&patch);
        let file: toml::Table = config(&objects).parse().expect("TOML");
        for name in file.keys().filter(|name| *name != "setting-of-tomorrow") {
            assert!(known.contains(name), "im-server knows no {name}");
            assert!(
                OPERATORS_OWN.contains(&name.as_str()) || Settings::names().contains(name),
                "{name} could be set by extraConfig"
            );
        }
    }
}

#[test]
fn the_grace_of_a_pod_is_above_the_longest_drain_and_another_deadline_rolls_nothing() {
    let before = objects(&json!({}));
    let drain =
        json!({ "spec": { "gateways": { "drain": { "deadlineSeconds": 3_600, "connectionsPerSecond": 1_000 } } } });
    let after = made(&valid(&drain), Some(&set(&before)), GROWN);
    assert_eq!(one(&before, Kind::StatefulSet), one(&after, Kind::StatefulSet));
    assert_ne!(config(&before), config(&after));
    let grace = &one(&after, Kind::StatefulSet)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert!(grace.as_u64() > Some(u64::from(MAX_DRAIN_SECONDS) + 15));
}

#[test]
fn all_but_one_of_the_gateways_that_should_be_and_are_may_not_be_evicted() {
    let budget = |wanted: u16, current: u16| {
        let valid = valid(&json!({ "spec": { "gateways": { "replicas": wanted } } }));
        let objects = made(&valid, None, Decision { replicas: wanted, change_template: true, current });
        one(&objects, Kind::PodDisruptionBudget)["spec"]["minAvailable"].as_u64()
    };
    assert_eq!(
        [budget(3, 3), budget(5, 3), budget(2, 5), budget(1, 1), budget(0, 2), budget(3, 0)].map(Option::unwrap),
        [2, 2, 1, 0, 0, 0]
    );
}
