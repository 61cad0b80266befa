//! What an API server does with a resource, as far as the definition decides it: defaults, bounds, rules. It works on the
//! definition that is made from the types, so what never gets there is not tested either.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use imcluster_crds::ImCluster;
use kube::CustomResourceExt;
use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Value, json};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let version = &ImCluster::crd().spec.versions[0];
    serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
});

/// The schema of the one version.
pub(crate) fn schema() -> &'static Value {
    &SCHEMA
}

/// A resource with something in every field but `auth.jwksUrl`.
pub(crate) fn full() -> Value {
    json!({
        "apiVersion": "imcluster.dev/v1alpha1",
        "kind": "ImCluster",
        "metadata": { "name": "chat", "namespace": "im" },
        "spec": {
            "image": "registry.example/im-server:1.2.3",
            "updatePolicy": "WithOperator",
            "gateways": {
                "replicas": 5,
                "maxConnections": 10_000,
                "drain": { "deadlineSeconds": 100, "connectionsPerSecond": 100 },
                "resources": { "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "memory": "2Gi" } },
                "podTemplate": {
                    "metadata": { "labels": { "team": "chat" }, "annotations": { "example.com/note": "none" } },
                    "spec": { "tolerations": [{ "operator": "Exists" }] },
                },
                "service": {
                    "type": "LoadBalancer",
                    "annotations": { "example.com/note": "none" },
                    "loadBalancerClass": "example.com/fast",
                    "externalTrafficPolicy": "Local",
                },
            },
            "kafka": {
                "bootstrapServers": "kafka-0.example.com:9093,kafka-1.example.com:9093",
                "tls": { "caSecretRef": { "name": "ca", "key": "ca.pem" }, "certificateSecretRef": { "name": "user" } },
                "sasl": {
                    "mechanism": "SCRAM-SHA-256",
                    "secretRef": { "name": "user", "usernameKey": "user", "passwordKey": "pass" },
                },
                "topics": {
                    "prefix": "chat.",
                    "replicationFactor": 2,
                    "config": { "retention.ms": "900000", "min.insync.replicas": "2" },
                    "policy": "Retain",
                },
            },
            "redis": { "urlSecretRef": { "name": "redis", "key": "cluster" } },
            "database": { "urlSecretRef": { "name": "database", "key": "postgres" } },
            "auth": { "jwt": { "keysSecretRef": { "name": "keys" }, "signingKey": "2026-11" } },
            "ingress": {
                "className": "nginx",
                "host": "chat.example.com",
                "tlsSecretName": "certificate",
                "annotations": { "example.com/note": "none" },
            },
            "networkPolicy": {
                "enabled": true,
                "metricsFrom": [{ "namespaceSelector": { "matchLabels": { "name": "monitoring" } } }],
            },
            "config": every_setting(),
            "extraConfig": { "setting-of-tomorrow": "yes" },
            "paused": true,
        },
        "status": {
            "observedGeneration": 3,
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-11-21T12:00:00Z",
                "reason": "Serving",
                "message": "Clients are served",
            }],
            "replicas": 5,
            "readyReplicas": 4,
            "selector": "app.kubernetes.io/instance=chat",
            "image": "registry.example/im-server:1.2.3",
            "topicPrefix": "chat.",
            "connections": 12_345,
            "servers": [{
                "id": 4,
                "phase": "Draining",
                "podUID": "7c9d2c1e-7f0f-4f0b-9d39-0e3e3f0ad3b1",
                "drainStartTime": "2026-11-21T12:00:00Z",
                "topic": { "name": "chat.4", "origin": "Created" },
            }],
        },
    })
}

fn every_setting() -> Value {
    json!({
        "trustedProxies": ["10.0.0.0/8"],
        "tcpProxyProtocol": true,
        "databaseConnections": 32,
        "databaseStatementSeconds": 10,
        "redisPrefix": "chat:",
        "kafkaBufferBytes": 8_388_608,
        "openRegistration": true,
        "friendsOnly": false,
        "inviteFriendsOnly": true,
        "passwordChars": 12,
        "recallSeconds": 60,
        "accessTokenSeconds": 600,
        "refreshTokenDays": 60,
        "jwksAudience": ["chat-web"],
        "jwksIssuer": "https://id.example.com",
        "devicesPerTerminal": 2,
        "connectionsPerDevice": 3,
        "receiptsUpTo": 20,
        "typingUpTo": 20,
        "contentBytes": 4_096,
        "frameBytes": 8_192,
        "messagesPerSecond": 5,
        "messageBurst": 10,
        "groupMembers": 500,
        "membersPerCall": 100,
        "conversations": 1_000,
        "signInsPerMinute": 10,
        "handshakesPerMinute": 100,
        "queueBytes": 1_048_576,
        "stallSeconds": 10,
        "pushDelayMs": 1_000,
        "pushContent": false,
        "pushLargeMentionsOnly": false,
        "pushAttempts": 5,
        "pushRetryMs": 1_000,
        "log": "debug",
        "logFormat": "json",
        "otlpEndpoint": "http://collector:4318",
        "traceRatio": 0.5,
    })
}

/// The resource with the defaults of the definition.
pub(crate) fn defaulted(object: &Value) -> Value {
    apply_defaults(schema(), object)
}

/// The messages of the rules that a write breaks: `old` is what was there before.
pub(crate) fn broken_rules(object: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(schema(), object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

/// The bounds that a resource breaks, each as the place in the schema and the keyword.
pub(crate) fn broken_bounds(object: &Value) -> BTreeSet<(String, String)> {
    static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| jsonschema::draft4::new(schema()).unwrap());
    let broken = |error: jsonschema::ValidationError<'_>| {
        let path = error.schema_path().as_str().to_owned();
        let (node, keyword) = path.rsplit_once('/').unwrap();
        (place(node), keyword.to_owned())
    };
    VALIDATOR.iter_errors(object).map(broken).collect()
}

/// A short name of a place in the schema, from the JSON pointer to it: `spec.config.trustedProxies[]`, `spec.extraConfig{}`.
fn place(pointer: &str) -> String {
    let mut place = String::new();
    let mut steps = pointer.split('/').skip(1);
    while let Some(step) = steps.next() {
        match step {
            "properties" => {
                let dot = if place.is_empty() { "" } else { "." };
                place.extend([dot, steps.next().unwrap()]);
            }
            "items" => place.push_str("[]"),
            "additionalProperties" => place.push_str("{}"),
            other => panic!("{other} in {pointer}"),
        }
    }
    place
}

/// Every node of the schema with its place.
pub(crate) fn nodes() -> Vec<(String, &'static Value)> {
    fn walk(pointer: &str, node: &'static Value, found: &mut Vec<(String, &'static Value)>) {
        found.push((place(pointer), node));
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            walk(&format!("{pointer}/properties/{name}"), property, found);
        }
        for part in ["items", "additionalProperties"] {
            if let Some(inner) = node.get(part) {
                walk(&format!("{pointer}/{part}"), inner, found);
            }
        }
    }
    let mut found = Vec::new();
    walk("", schema(), &mut found);
    found
}

/// The rules of a node of the schema.
pub(crate) fn rules_of(node: &Value) -> impl Iterator<Item = &Value> {
    node["x-kubernetes-validations"].as_array().into_iter().flatten()
}
