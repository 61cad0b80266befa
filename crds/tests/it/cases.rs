//! What each rule accepts, and what it rejects: for the rules in process here, and for those of a real API server in
//! `tests/tests/cluster`, which takes this file in.

#![allow(clippy::needless_pass_by_value, reason = "`json!({ … })` is handed over where it is written")]

use imcluster_crds::{Settings, settings};
use serde_json::{Value, json};

/// A resource with nothing in it that may be left out.
pub(crate) fn smallest() -> Value {
    json!({
        "apiVersion": "imcluster.dev/v1alpha1",
        "kind": "ImCluster",
        "metadata": { "name": "chat", "namespace": "im" },
        "spec": {
            "kafka": { "bootstrapServers": "kafka:9092", "topics": {} },
            "redis": { "urlSecretRef": { "name": "redis" } },
            "database": { "urlSecretRef": { "name": "database" } },
            "auth": { "jwt": { "keysSecretRef": { "name": "keys" }, "signingKey": "2026-11" } },
        },
    })
}

/// `target` changed by `patch`, as a merge patch does it (RFC 7386): null removes.
pub(crate) fn merged(target: &Value, patch: &Value) -> Value {
    let mut merged = target.clone();
    json_patch::merge(&mut merged, patch);
    merged
}

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
