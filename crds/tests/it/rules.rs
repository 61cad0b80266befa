//! Each rule accepts what it should and rejects what it should, and nothing else rejects it.

use imcluster_crds::{Settings, settings};
use serde_json::{Value, json};

use crate::admission::{broken_bounds, broken_rules, merged, nodes, rules_of, smallest};

/// A write: what the smallest resource is changed by, and what it was changed by before, if it is an update.
pub(crate) struct Write {
    pub(crate) before: Option<Value>,
    pub(crate) now: Value,
}

fn create(now: Value) -> Write {
    Write { before: None, now }
}

fn update(before: Value, now: Value) -> Write {
    Write { before: Some(before), now }
}

/// A rule by the beginning of its message.
pub(crate) struct Case {
    pub(crate) rule: &'static str,
    pub(crate) accepts: Vec<Write>,
    pub(crate) rejects: Vec<Write>,
}

fn case(rule: &'static str, accepts: Vec<Write>, rejects: Vec<Write>) -> Case {
    Case { rule, accepts, rejects }
}

fn named(name: &str) -> Write {
    create(json!({ "metadata": { "name": name } }))
}

fn gateways(gateways: Value) -> Value {
    json!({ "spec": { "gateways": gateways } })
}

fn service(service: Value) -> Value {
    gateways(json!({ "service": service }))
}

fn resources(requests: Value, limits: Value) -> Write {
    create(gateways(json!({ "resources": { "requests": requests, "limits": limits } })))
}

fn pods(field: &str, key: &str) -> Write {
    create(gateways(json!({ "podTemplate": { "metadata": { field: { key: "a" } } } })))
}

fn topics(topics: Value) -> Value {
    json!({ "spec": { "kafka": { "topics": topics } } })
}

fn topic_config(key: &str, value: &str) -> Write {
    create(topics(json!({ "config": { key: value } })))
}

fn prefix(prefix: Option<&str>) -> Value {
    topics(json!({ "prefix": prefix }))
}

fn auth(jwt: Value, jwks_url: Value) -> Write {
    create(json!({ "spec": { "auth": { "jwt": jwt, "jwksUrl": jwks_url } } }))
}

fn ingress(ingress: Value) -> Write {
    create(json!({ "spec": { "ingress": ingress } }))
}

fn metrics_from(peer: Value) -> Write {
    create(json!({ "spec": { "networkPolicy": { "metricsFrom": [{ "podSelector": {} }, peer] } } }))
}

fn config(config: Value) -> Write {
    create(json!({ "spec": { "config": config } }))
}

fn extra(name: &str) -> Write {
    create(json!({ "spec": { "extraConfig": { "setting-of-tomorrow": "1", name: "a" } } }))
}

fn extras<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Write> {
    names.into_iter().map(extra).collect()
}

fn of_the_resource() -> Vec<Case> {
    let jwt = || json!({ "keysSecretRef": { "name": "keys" }, "signingKey": "a" });
    let url = || json!("https://id.example.com/jwks");
    vec![
        case(
            "metadata.name must be at most 40",
            vec![named("a"), named("chat-2"), named(&"a".repeat(40))],
            vec![named(&"a".repeat(41)), named("2chat"), named("chat.eu"), named("chat-"), named("Chat")],
        ),
        case(
            "exactly one of jwt and jwksUrl",
            vec![auth(jwt(), Value::Null), auth(Value::Null, url())],
            vec![auth(jwt(), url()), auth(Value::Null, Value::Null)],
        ),
        case(
            "tlsSecretName needs host",
            vec![
                ingress(json!({})),
                ingress(json!({ "host": "chat.example.com" })),
                ingress(json!({ "host": "chat.example.com", "tlsSecretName": "certificate" })),
            ],
            vec![ingress(json!({ "tlsSecretName": "certificate" }))],
        ),
        case(
            "each entry of metricsFrom",
            vec![
                metrics_from(json!({ "ipBlock": { "cidr": "10.0.0.0/8" } })),
                metrics_from(json!({ "podSelector": {} })),
                metrics_from(json!({ "namespaceSelector": {} })),
                metrics_from(json!({ "podSelector": {}, "namespaceSelector": {} })),
            ],
            vec![
                metrics_from(json!({})),
                metrics_from(json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "podSelector": {} })),
                metrics_from(json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "namespaceSelector": {} })),
            ],
        ),
    ]
}

fn of_gateways() -> Vec<Case> {
    let class = |class: Option<&str>| service(json!({ "type": "LoadBalancer", "loadBalancerClass": class }));
    let drain = |field: &str, value: u32| create(gateways(json!({ "drain": { field: value } })));
    vec![
        case(
            "drain.connectionsPerSecond times",
            vec![
                create(gateways(json!({ "maxConnections": 60_000 }))),
                drain("deadlineSeconds", 100),
                drain("connectionsPerSecond", 67),
            ],
            vec![
                create(gateways(json!({ "maxConnections": 60_001 }))),
                drain("deadlineSeconds", 99),
                drain("connectionsPerSecond", 66),
            ],
        ),
        case(
            "requests.cpu must not be above",
            vec![
                resources(json!({ "cpu": 1 }), json!({ "cpu": "1000m" })),
                resources(json!({ "cpu": "500m" }), json!({ "cpu": 1 })),
                resources(json!({ "cpu": 4 }), json!({ "memory": "1Gi" })),
                create(gateways(json!({ "resources": { "limits": { "cpu": 1 } } }))),
            ],
            vec![
                resources(json!({ "cpu": 2 }), json!({ "cpu": "1500m" })),
                resources(json!({ "cpu": "1.5" }), json!({ "cpu": 1 })),
            ],
        ),
        case(
            "requests.memory must not be above",
            vec![
                resources(json!({ "memory": "1Gi" }), json!({ "memory": "1024Mi" })),
                resources(json!({ "memory": 1_000_000 }), json!({ "memory": "1M" })),
            ],
            vec![
                resources(json!({ "memory": "1Gi" }), json!({ "memory": "1G" })),
                resources(json!({ "memory": 1_000_001 }), json!({ "memory": "1M" })),
            ],
        ),
        case(
            "the operator sets app.kubernetes.io/name",
            vec![pods("labels", "team"), pods("labels", "app.kubernetes.io/part-of")],
            vec![
                pods("labels", "app.kubernetes.io/name"),
                pods("labels", "app.kubernetes.io/instance"),
                pods("labels", "app.kubernetes.io/component"),
                pods("labels", "app.kubernetes.io/managed-by"),
                pods("labels", "imcluster.dev/server"),
            ],
        ),
        case(
            "the operator sets all of imcluster.dev/",
            vec![pods("annotations", "prometheus.io/scrape")],
            vec![pods("annotations", "imcluster.dev/template")],
        ),
        case(
            "loadBalancerClass is for type",
            vec![create(class(Some("a"))), create(service(json!({ "type": "LoadBalancer" })))],
            vec![
                create(service(json!({ "loadBalancerClass": "a" }))),
                create(service(json!({ "type": "NodePort", "loadBalancerClass": "a" }))),
            ],
        ),
        case(
            "externalTrafficPolicy is for",
            vec![
                create(service(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }))),
                create(service(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Cluster" }))),
            ],
            vec![create(service(json!({ "externalTrafficPolicy": "Local" })))],
        ),
        case(
            "loadBalancerClass cannot change",
            vec![
                update(class(Some("a")), class(Some("a"))),
                update(class(None), class(None)),
                update(class(Some("a")), service(json!({ "type": "ClusterIP" }))),
                update(service(json!({ "type": "ClusterIP" })), class(Some("b"))),
                update(json!({}), class(Some("b"))),
            ],
            vec![
                update(class(Some("a")), class(Some("b"))),
                update(class(Some("a")), class(None)),
                update(class(None), class(Some("b"))),
            ],
        ),
    ]
}

fn of_topics() -> Vec<Case> {
    let insync = |factor: u16, replicas: &str| {
        create(topics(json!({ "replicationFactor": factor, "config": { "min.insync.replicas": replicas } })))
    };
    vec![
        case(
            "prefix cannot change",
            vec![
                create(prefix(Some("a."))),
                create(prefix(None)),
                update(prefix(Some("a.")), prefix(Some("a."))),
                update(prefix(None), prefix(None)),
                update(prefix(Some("a.")), topics(json!({ "prefix": "a.", "policy": "Retain" }))),
            ],
            vec![
                update(prefix(Some("a.")), prefix(Some("b."))),
                // Removed; and then set again, to what it was or to another.
                update(prefix(Some("a.")), prefix(None)),
                update(prefix(None), prefix(Some("a."))),
                update(prefix(None), prefix(Some("b."))),
            ],
        ),
        case(
            "config[min.insync.replicas] must be",
            vec![insync(3, "1"), insync(3, "3"), insync(1, "1")],
            vec![insync(3, "4"), insync(1, "2"), insync(3, "0"), insync(3, "two"), insync(3, "")],
        ),
        case(
            "names of topic settings",
            vec![topic_config("segment.ms", "60000"), topic_config("max.message.bytes", "1")],
            vec![topic_config("segment_ms", "1"), topic_config("Segment", "1"), topic_config("", "1")],
        ),
        case(
            "cleanup.policy must be delete",
            vec![topic_config("cleanup.policy", "delete")],
            vec![topic_config("cleanup.policy", "compact"), topic_config("cleanup.policy", "compact,delete")],
        ),
        case(
            "retention.ms must be",
            vec![topic_config("retention.ms", "60000"), topic_config("retention.ms", "604800000")],
            vec![
                topic_config("retention.ms", "59999"),
                topic_config("retention.ms", "-1"),
                topic_config("retention.ms", "10m"),
            ],
        ),
    ]
}

fn of_settings(typed: &[String]) -> Vec<Case> {
    vec![
        case(
            "frameBytes must be at least",
            vec![
                config(json!({ "contentBytes": 1_024, "frameBytes": 2_048 })),
                config(json!({ "contentBytes": 130_048 })),
                config(json!({ "frameBytes": 66_560 })),
            ],
            vec![
                config(json!({ "contentBytes": 1_025, "frameBytes": 2_048 })),
                config(json!({ "contentBytes": 130_049 })),
                config(json!({ "frameBytes": 66_559 })),
            ],
        ),
        case(
            "tcpProxyProtocol needs trustedProxies",
            vec![
                config(json!({ "tcpProxyProtocol": false })),
                config(json!({ "tcpProxyProtocol": true, "trustedProxies": ["10.0.0.0/8"] })),
            ],
            vec![
                config(json!({ "tcpProxyProtocol": true })),
                config(json!({ "tcpProxyProtocol": true, "trustedProxies": [] })),
            ],
        ),
        case(
            "names of settings are lower-case",
            vec![extra("setting"), extra("another-setting-2")],
            vec![extra("someSetting"), extra("some_setting"), extra("-setting"), extra("some--setting"), extra("")],
        ),
        case(
            "extraConfig has a setting that follows",
            vec![extra("server")],
            extras(settings::OPERATORS_OWN.iter().copied()),
        ),
        case("extraConfig has a secret", vec![extra("service-token-file")], extras(settings::SECRETS.iter().copied())),
        case(
            "extraConfig has a setting that config has",
            vec![extra("redis-ca-file")],
            extras(typed.iter().map(String::as_str)),
        ),
    ]
}

/// Every rule's cases.
pub(crate) fn cases() -> Vec<Case> {
    let typed: Vec<_> = Settings::names().into_iter().collect();
    [of_the_resource(), of_gateways(), of_topics(), of_settings(&typed)].into_iter().flatten().collect()
}

/// The rules that `write` breaks. What was there before it is fine by itself, and no bound stands in for a rule.
fn broken_by(write: &Write) -> Vec<String> {
    let before = write.before.as_ref().map(|patch| merged(&smallest(), patch));
    if let Some(before) = &before {
        assert_eq!(broken_rules(before, None), Vec::<String>::new(), "{before}");
    }
    let now = merged(&smallest(), &write.now);
    assert!(broken_bounds(&now).is_empty(), "{now}: {:?}", broken_bounds(&now));
    broken_rules(&now, before.as_ref())
}

#[test]
fn every_rule_accepts_what_is_right_and_alone_rejects_what_is_wrong() {
    for Case { rule, accepts, rejects } in cases() {
        for write in accepts {
            assert_eq!(broken_by(&write), Vec::<String>::new(), "{rule}: {} after {:?}", write.now, write.before);
        }
        for write in rejects {
            let broken = broken_by(&write);
            let [message] = broken.as_slice() else {
                panic!("{rule}: {} after {:?} breaks {broken:?}", write.now, write.before)
            };
            assert!(message.starts_with(rule), "{}: {message}", write.now);
        }
    }
}

#[test]
fn every_rule_of_the_definition_has_a_case_that_it_accepts_and_one_that_it_rejects() {
    let cases = cases();
    let mut met = 0;
    for (place, node) in nodes() {
        for rule in rules_of(node) {
            let message = rule["message"].as_str().expect(&place);
            let of_it: Vec<_> = cases.iter().filter(|case| message.starts_with(case.rule)).collect();
            let [case] = of_it.as_slice() else { panic!("{place}: {} cases for {message:?}", of_it.len()) };
            assert!(!case.accepts.is_empty() && !case.rejects.is_empty(), "{message}");
            met += 1;
        }
    }
    assert_eq!(met, cases.len(), "a case is for a rule that never reached the definition");
}

#[test]
fn the_prefix_of_topics_cannot_go_with_its_parents() {
    for (patch, place) in [
        (json!({ "spec": { "kafka": { "topics": null } } }), "spec.kafka"),
        (json!({ "spec": { "kafka": null } }), "spec"),
        (json!({ "spec": null }), ""),
    ] {
        let broken = broken_bounds(&merged(&smallest(), &patch));
        assert!(broken.contains(&(place.to_owned(), "required".to_owned())), "{patch}: {broken:?}");
    }
}

#[test]
fn a_rule_tells_what_is_wrong_in_one_line() {
    for (place, node) in nodes() {
        for rule in rules_of(node) {
            let message = rule["message"].as_str().expect(&place);
            assert!(!message.contains('\n') && message.len() <= 400, "{place}: {message}");
        }
    }
}
