//! Whole objects, and what changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use imcluster_crds::{ImCluster, MAX_DRAIN_SECONDS};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::*;
use crate::cluster::strict;
use crate::cluster::validate::samples::{HIDDEN, cluster, merged, secrets, secrets_with};
use crate::cluster::validate::{Secrets, Valid, validate};

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

// ---- when the template changes

fn planned(patch: &Value, release_image: &str, live: &StatefulSet) -> (bool, Option<RollReason>, bool, String) {
    let (valid, release) = (valid(patch), release(release_image));
    let plan = plan(&valid, inputs(&release, Some(live)));
    (plan.template_changes, plan.roll, plan.update_available, plan.image.clone().expect("an image"))
}

fn answer(roll: Option<RollReason>, update_available: bool, image: &str) -> (bool, Option<RollReason>, bool, String) {
    (roll.is_some(), roll, update_available, image.to_owned())
}

#[test]
fn a_new_installation_gets_the_release_and_rolls_nothing() {
    let (valid, release) = (valid(&json!({})), release("im-server:2"));
    let plan = plan(&valid, inputs(&release, None));
    assert!(plan.template_changes && plan.roll.is_none() && !plan.update_available);
    assert_eq!(plan.image.as_deref(), Some("im-server:2"));
    let objects = plan.objects(&WAITS);
    assert!(objects.iter().all(|object| object.object.is_some()));
}

#[test]
fn nothing_changes_while_nobody_changes_anything() {
    for patch in options().into_iter().map(|(_, patch)| patch) {
        let before = objects(&patch);
        let after = made(&valid(&patch), Some(&set(&before)), GROWN);
        assert_eq!(before, after, "{patch}");
    }
}

#[test]
fn a_newer_release_waits_for_a_roll_that_somebody_caused() {
    let live = live(&json!({}));
    assert_eq!(planned(&json!({}), "im-server:1", &live), answer(None, false, "im-server:1"));
    assert_eq!(planned(&json!({}), "im-server:2", &live), answer(None, true, "im-server:1"));
    let changed = json!({ "spec": { "config": { "friendsOnly": false } } });
    assert_eq!(planned(&changed, "im-server:2", &live), answer(Some(RollReason::Spec), false, "im-server:2"));
}

#[test]
fn who_follows_the_operator_gets_its_release_at_once() {
    let follows = json!({ "spec": { "updatePolicy": "WithOperator" } });
    let live = live(&follows);
    assert_eq!(planned(&follows, "im-server:1", &live), answer(None, false, "im-server:1"));
    assert_eq!(planned(&follows, "im-server:2", &live), answer(Some(RollReason::Release), false, "im-server:2"));
}

#[test]
fn an_image_of_the_spec_is_the_image_whatever_the_release() {
    let pinned = json!({ "spec": { "image": "mine:1" } });
    let live = live(&pinned);
    assert_eq!(planned(&pinned, "im-server:2", &live), answer(None, false, "mine:1"));
    assert_eq!(
        planned(&json!({ "spec": { "image": "mine:2" } }), "im-server:2", &live),
        answer(Some(RollReason::Spec), false, "mine:2")
    );
    // Without it the image that runs stays, until something else is changed.
    assert_eq!(planned(&json!({}), "im-server:2", &live), answer(None, true, "mine:1"));
}

#[test]
fn a_restart_that_is_asked_for_rolls_once_and_taking_the_annotation_away_rolls_nothing() {
    let at = |time: &str| json!({ "metadata": { "annotations": { "imcluster.dev/restartedAt": time } } });
    let before = live(&json!({}));
    assert_eq!(planned(&at("1"), "im-server:1", &before), answer(Some(RollReason::RestartedAt), false, "im-server:1"));
    let restarted = set(&made(&valid(&at("1")), Some(&before), GROWN));
    assert_eq!(planned(&at("1"), "im-server:1", &restarted), answer(None, false, "im-server:1"));
    assert_eq!(planned(&json!({}), "im-server:1", &restarted), answer(None, false, "im-server:1"));
    assert_eq!(
        planned(&at("2"), "im-server:1", &restarted),
        answer(Some(RollReason::RestartedAt), false, "im-server:1")
    );
}

#[test]
fn a_rotation_rolls_once_and_one_of_a_token_s_keys_does_not() {
    let before = live(&json!({}));
    let rotated = |name: &str, key: &str, value: &str| {
        let valid = valid_with(&json!({}), &secrets_with(name, key, Some(value.as_bytes())));
        let release = release("im-server:1");
        plan(&valid, inputs(&release, Some(&before))).roll
    };
    assert_eq!(rotated("database", "url", "postgres://im:other@database/im"), Some(RollReason::Secrets));
    assert_eq!(rotated("keys", "2026-11", &"another key ".repeat(4)), None);
    let (valid, release) = (valid(&json!({})), release("im-server:1"));
    let other_token = Inputs { token: "another", ..inputs(&release, Some(&before)) };
    assert_eq!(plan(&valid, other_token).roll, Some(RollReason::Secrets));
}

#[test]
fn a_secret_that_vanishes_never_rolls_and_what_depends_on_it_stays_as_it_is() {
    let before = objects(&json!({}));
    let mut without = secrets();
    without.insert("database".to_owned(), None);
    let changed = json!({ "spec": { "image": "mine:2", "config": { "log": "debug" }, "ingress": {} } });
    let valid = valid_with(&changed, &without);
    let after = made(&valid, Some(&set(&before)), GROWN);
    assert_eq!(one(&before, Kind::StatefulSet), one(&after, Kind::StatefulSet));
    let config_map = after.iter().find(|object| object.kind == Kind::ConfigMap).expect("it is wanted");
    assert_eq!(config_map.object, None);
    assert!(after.iter().any(|object| object.kind == Kind::Ingress));
}

#[test]
fn a_template_that_may_not_change_yet_is_applied_once_more_as_it_was() {
    let before = objects(&json!({}));
    let changed = valid(&json!({ "spec": { "image": "mine:2", "config": { "log": "debug" } } }));
    let decision = Decision { replicas: 2, ..WAITS };
    let after = made(&changed, Some(&set(&before)), decision);
    let mut expected = one(&before, Kind::StatefulSet).clone();
    expected["spec"]["replicas"] = json!(2);
    assert_eq!(one(&after, Kind::StatefulSet), &expected);
    let config_map = after.iter().find(|object| object.kind == Kind::ConfigMap).expect("it is wanted");
    assert_eq!(config_map.object, None, "its content goes with the template");
    // And then it does.
    let after = made(&changed, Some(&set(&after)), GROWN);
    assert_eq!(after, made(&changed, None, GROWN));
}

#[test]
fn what_the_api_server_and_others_added_to_the_template_is_not_applied() {
    let mut live = live(&json!({}));
    let pod = live.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a pod");
    pod.dns_policy = Some("ClusterFirst".to_owned());
    pod.containers[0].image_pull_policy = Some("IfNotPresent".to_owned());
    assert_eq!(planned(&json!({}), "im-server:1", &live), answer(None, false, "im-server:1"));
    let held = made(&valid(&json!({ "spec": { "image": "mine:2" } })), Some(&live), WAITS);
    assert_eq!(one(&held, Kind::StatefulSet)["spec"]["template"]["spec"].get("dnsPolicy"), None);
}

#[test]
fn a_template_of_a_newer_operator_gives_way_to_that_of_the_operator_that_runs() {
    let mut live = live(&json!({}));
    let annotations = live.metadata.annotations.as_mut().expect("annotations");
    annotations.insert(TEMPLATE_VERSION.to_owned(), "2".to_owned());
    // It makes the same of this resource, so nobody notices.
    assert_eq!(planned(&json!({}), "im-server:1", &live), answer(None, false, "im-server:1"));
    let other = json!({ "spec": { "config": { "log": "debug" } } });
    assert_eq!(planned(&other, "im-server:1", &live), answer(Some(RollReason::Release), false, "im-server:1"));
}

#[test]
fn a_set_whose_annotations_somebody_took_away_is_made_anew_or_left_alone() {
    let mut live = live(&json!({}));
    live.metadata.annotations = None;
    let objects = made(&valid(&json!({})), Some(&live), WAITS);
    assert_eq!(objects, self::objects(&json!({})));
    let mut without = secrets();
    without.insert("redis".to_owned(), None);
    let objects = made(&valid_with(&json!({}), &without), Some(&live), GROWN);
    let kept: Vec<_> = objects.iter().filter(|object| object.object.is_none()).map(|object| object.kind).collect();
    assert_eq!(kept, [Kind::ConfigMap, Kind::StatefulSet]);
}
