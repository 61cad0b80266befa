//! Each bound accepts the last value within it and rejects the first beyond.

use std::collections::BTreeSet;

use imcluster_crds::ImCluster;
use serde_json::{Map, Value, json};

use crate::admission::{broken_bounds, full, nodes};

const INT32_MAX: i64 = i32::MAX as i64;

/// Numbers: the least and the greatest.
const RANGES: [(&str, i64, i64); 34] = [
    ("/spec/gateways/replicas", 0, 500),
    ("/spec/gateways/maxConnections", 1, 1_000_000),
    ("/spec/gateways/drain/deadlineSeconds", 1, 3_600),
    ("/spec/gateways/drain/connectionsPerSecond", 1, 1_000_000),
    ("/spec/kafka/topics/replicationFactor", 1, 32_767),
    ("/spec/config/databaseConnections", 2, 1_000),
    ("/spec/config/databaseStatementSeconds", 1, 60),
    ("/spec/config/kafkaBufferBytes", 4_194_304, INT32_MAX),
    ("/spec/config/passwordChars", 1, 128),
    ("/spec/config/recallSeconds", 0, INT32_MAX),
    ("/spec/config/accessTokenSeconds", 30, 900),
    ("/spec/config/refreshTokenDays", 1, 400),
    ("/spec/config/devicesPerTerminal", 1, 65_535),
    ("/spec/config/connectionsPerDevice", 1, 65_535),
    ("/spec/config/receiptsUpTo", 0, INT32_MAX),
    ("/spec/config/typingUpTo", 0, INT32_MAX),
    ("/spec/config/contentBytes", 256, 1_048_576),
    ("/spec/config/frameBytes", 1_280, 2_097_152),
    ("/spec/config/messagesPerSecond", 0, INT32_MAX),
    ("/spec/config/messageBurst", 0, INT32_MAX),
    ("/spec/config/groupMembers", 2, INT32_MAX),
    ("/spec/config/membersPerCall", 1, 5_000),
    ("/spec/config/conversations", 1, INT32_MAX),
    ("/spec/config/signInsPerMinute", 0, INT32_MAX),
    ("/spec/config/handshakesPerMinute", 0, INT32_MAX),
    ("/spec/config/queueBytes", 524_288, 67_108_864),
    ("/spec/config/stallSeconds", 2, 300),
    ("/spec/config/pushDelayMs", 0, 3_600_000),
    ("/spec/config/pushAttempts", 1, 100),
    ("/spec/config/pushRetryMs", 10, 600_000),
    ("/spec/config/traceRatio", 0, 1),
    ("/status/servers/0/id", 0, 499),
    ("/status/replicas", 0, INT32_MAX),
    ("/status/readyReplicas", 0, INT32_MAX),
];

/// Numbers that have no greatest but that of their type.
const COUNTS: [&str; 3] =
    ["/status/observedGeneration", "/status/connections", "/status/conditions/0/observedGeneration"];

/// Texts: the greatest length, and what such a text begins and ends with.
const LENGTHS: [(&str, usize, &str, &str); 33] = [
    ("/spec/image", 512, "", ""),
    ("/spec/gateways/resources/requests/cpu", 64, "", "1"),
    ("/spec/gateways/resources/limits/cpu", 64, "", "1"),
    ("/spec/gateways/podTemplate/metadata/labels/a", 63, "", ""),
    ("/spec/gateways/podTemplate/metadata/annotations/a", 65_536, "", ""),
    ("/spec/gateways/service/annotations/a", 65_536, "", ""),
    ("/spec/gateways/service/loadBalancerClass", 253, "", ""),
    ("/spec/kafka/bootstrapServers", 2_048, "", ":9092"),
    ("/spec/kafka/tls/caSecretRef/name", 253, "", ""),
    ("/spec/kafka/tls/caSecretRef/key", 253, "", ""),
    ("/spec/kafka/tls/certificateSecretRef/name", 253, "", ""),
    ("/spec/kafka/sasl/secretRef/name", 253, "", ""),
    ("/spec/kafka/sasl/secretRef/usernameKey", 253, "", ""),
    ("/spec/kafka/sasl/secretRef/passwordKey", 253, "", ""),
    ("/spec/kafka/topics/prefix", 200, "", ""),
    ("/spec/kafka/topics/config/a", 1_024, "", ""),
    ("/spec/redis/urlSecretRef/name", 253, "", ""),
    ("/spec/redis/urlSecretRef/key", 253, "", ""),
    ("/spec/database/urlSecretRef/name", 253, "", ""),
    ("/spec/database/urlSecretRef/key", 253, "", ""),
    ("/spec/auth/jwt/keysSecretRef/name", 253, "", ""),
    ("/spec/auth/jwt/signingKey", 253, "", ""),
    ("/spec/auth/jwksUrl", 2_048, "https://", ""),
    ("/spec/ingress/className", 253, "", ""),
    ("/spec/ingress/host", 253, "", ""),
    ("/spec/ingress/tlsSecretName", 253, "", ""),
    ("/spec/ingress/annotations/a", 65_536, "", ""),
    ("/spec/config/trustedProxies/0", 64, "", ""),
    ("/spec/config/redisPrefix", 200, "", ""),
    ("/spec/config/jwksAudience/0", 256, "", ""),
    ("/spec/config/jwksIssuer", 2_048, "", ""),
    ("/spec/config/log", 1_024, "", ""),
    ("/spec/config/otlpEndpoint", 2_048, "http://", ""),
];

const NAMES: (&[&str], &[&str]) = (&["a", "keys-2", "0.a.b"], &["", "-a", "a-", "A", "a_b", "a..b"]);
const KEYS: (&[&str], &[&str]) = (&["a", "ca.crt", "A_b-2"], &["", "a/b", "a b"]);

/// Texts with a form: what has it, and what has not.
const PATTERNS: [(&str, &[&str], &[&str]); 24] = [
    ("/spec/image", &["im-server", "a.example:5000/im@sha256:0"], &["", "im server", " im"]),
    ("/spec/gateways/resources/requests/cpu", &["0", "500m", "1.5", "1e3", "2Gi"], &["", "-1", "1 Gi", "1gb", "Mi"]),
    ("/spec/gateways/resources/limits/cpu", &["0", "500m"], &["", "-1"]),
    (
        "/spec/kafka/bootstrapServers",
        &["kafka:9092", "a.b:1,10.0.0.1:65535", "[::1]:9092,kafka_0:9092"],
        &["", "kafka", "kafka:", ":9092", "a:1,", "a:1, b:1", "http://a:1", "a:1;b:1", "::1:9092"],
    ),
    ("/spec/kafka/tls/caSecretRef/name", NAMES.0, NAMES.1),
    ("/spec/kafka/tls/caSecretRef/key", KEYS.0, KEYS.1),
    ("/spec/kafka/tls/certificateSecretRef/name", NAMES.0, NAMES.1),
    ("/spec/kafka/sasl/secretRef/name", NAMES.0, NAMES.1),
    ("/spec/kafka/sasl/secretRef/usernameKey", KEYS.0, KEYS.1),
    ("/spec/kafka/sasl/secretRef/passwordKey", KEYS.0, KEYS.1),
    ("/spec/kafka/topics/prefix", &["a", "im.chat-2_", "."], &["", "a b", "ä", "a/b"]),
    ("/spec/redis/urlSecretRef/name", NAMES.0, NAMES.1),
    ("/spec/redis/urlSecretRef/key", KEYS.0, KEYS.1),
    ("/spec/database/urlSecretRef/name", NAMES.0, NAMES.1),
    ("/spec/database/urlSecretRef/key", KEYS.0, KEYS.1),
    ("/spec/auth/jwt/keysSecretRef/name", NAMES.0, NAMES.1),
    ("/spec/auth/jwt/signingKey", KEYS.0, KEYS.1),
    (
        "/spec/auth/jwksUrl",
        &["https://id.example.com/jwks", "https://id:8443?a=b", "https://id"],
        &["", "http://id/jwks", "https://", "https:///jwks", "https://user:pa55@id/jwks", "id/jwks"],
    ),
    ("/spec/ingress/className", NAMES.0, NAMES.1),
    ("/spec/ingress/host", &["chat.example.com", "*.example.com", "chat"], &["", "chat.", "*", "https://chat", "Chat"]),
    ("/spec/ingress/tlsSecretName", NAMES.0, NAMES.1),
    ("/spec/config/redisPrefix", &["im:", "a.b:c-"], &["", "{im}:", "i m"]),
    ("/spec/config/jwksIssuer", &["https://id.example.com", "accounts.example.com"], &["", "a b"]),
    ("/spec/config/otlpEndpoint", &["http://a:4318", "https://a/v1"], &["", "a:4318", "grpc://a", "http://u:p@a"]),
];

/// Forms that the list above has no room for: of parts of lists, and of what only the operator writes.
const MORE_PATTERNS: [(&str, &[&str], &[&str]); 4] = [
    ("/spec/config/jwksAudience/0", &["chat", "https://chat.example.com"], &["", "a b", "a,b"]),
    (
        "/spec/config/trustedProxies/0",
        &["10.0.0.0/8", "fd00::/8", "192.168.1.7"],
        &["", "proxy", "10.0.0.0/8/8", "10.0.0.0/"],
    ),
    ("/status/conditions/0/type", &["Ready", "example.com/Ready"], &["", "Not Ready", "-"]),
    ("/status/conditions/0/reason", &["A", "NotSupported"], &["", "2Many", "not supported"]),
];

/// Maps and lists: how much they hold.
const SIZES: [(&str, usize); 13] = [
    ("/spec/gateways/resources/requests", 16),
    ("/spec/gateways/resources/limits", 16),
    ("/spec/gateways/podTemplate/metadata/labels", 32),
    ("/spec/gateways/podTemplate/metadata/annotations", 64),
    ("/spec/gateways/service/annotations", 64),
    ("/spec/kafka/topics/config", 32),
    ("/spec/ingress/annotations", 64),
    ("/spec/networkPolicy/metricsFrom", 16),
    ("/spec/config/trustedProxies", 64),
    ("/spec/config/jwksAudience", 64),
    ("/spec/extraConfig", 64),
    ("/status/conditions", 16),
    ("/status/servers", 500),
];

/// The full resource with `value` at `pointer`.
fn with(pointer: &str, value: Value) -> Value {
    let mut whole = full();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match whole.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not in the full resource")) {
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        fields => fields[last] = value,
    }
    whole
}

/// Takes note of which bounds were seen to hold.
#[derive(Default)]
struct Seen(BTreeSet<(String, String)>);

impl Seen {
    /// What the definition accepts, the types can hold.
    fn accepts(pointer: &str, value: Value) {
        let whole = with(pointer, value.clone());
        assert!(broken_bounds(&whole).is_empty(), "{pointer}: {value}: {:?}", broken_bounds(&whole));
        serde_json::from_value::<ImCluster>(whole).unwrap_or_else(|error| panic!("{pointer}: {value}: {error}"));
    }

    fn rejects(&mut self, pointer: &str, value: Value, keyword: &str) {
        let broken = broken_bounds(&with(pointer, value.clone()));
        let found = broken.into_iter().find(|(_, broken)| broken == keyword);
        self.0.insert(found.unwrap_or_else(|| panic!("{pointer}: {value} passes {keyword}")));
    }
}

fn ranges(seen: &mut Seen) {
    for (pointer, least, most) in RANGES {
        Seen::accepts(pointer, least.into());
        Seen::accepts(pointer, most.into());
        seen.rejects(pointer, (least - 1).into(), "minimum");
        // Counts in the status end where their type does.
        if !(pointer.starts_with("/status/") && most == INT32_MAX) {
            seen.rejects(pointer, (most + 1).into(), "maximum");
        }
    }
    for pointer in COUNTS {
        Seen::accepts(pointer, 0.into());
        Seen::accepts(pointer, i64::MAX.into());
        seen.rejects(pointer, (-1).into(), "minimum");
    }
}

fn lengths(seen: &mut Seen) {
    let texts = LENGTHS.into_iter().chain([
        ("/spec/extraConfig/a", 4_096, "", ""),
        ("/status/conditions/0/type", 316, "", ""),
        ("/status/conditions/0/reason", 1_024, "", ""),
        ("/status/conditions/0/message", 32_768, "", ""),
    ]);
    for (pointer, most, begin, end) in texts {
        let filler = if end == "1" { "1" } else { "a" };
        let text = |length: usize| format!("{begin}{}{end}", filler.repeat(length - begin.len() - end.len()));
        Seen::accepts(pointer, text(most).into());
        seen.rejects(pointer, text(most + 1).into(), "maxLength");
    }
    for pointer in ["/spec/gateways/service/loadBalancerClass", "/spec/config/log", "/status/conditions/0/reason"] {
        Seen::accepts(pointer, "a".into());
        seen.rejects(pointer, "".into(), "minLength");
    }
}

fn patterns(seen: &mut Seen) {
    for (pointer, right, wrong) in PATTERNS.into_iter().chain(MORE_PATTERNS) {
        for text in right {
            Seen::accepts(pointer, json!(text));
        }
        for text in wrong {
            seen.rejects(pointer, json!(text), "pattern");
        }
    }
}

fn sizes(seen: &mut Seen) {
    for (pointer, most) in SIZES {
        if let Value::Array(items) = full().pointer(pointer).unwrap() {
            Seen::accepts(pointer, vec![items[0].clone(); most].into());
            seen.rejects(pointer, vec![items[0].clone(); most + 1].into(), "maxItems");
        } else {
            let entries = |n: usize| (0..n).map(|i| (format!("a{i}"), json!("1"))).collect::<Map<_, _>>();
            Seen::accepts(pointer, entries(most).into());
            seen.rejects(pointer, entries(most + 1).into(), "maxProperties");
        }
    }
}

#[test]
fn every_bound_of_the_definition_holds_and_the_types_hold_what_is_within() {
    let mut seen = Seen::default();
    ranges(&mut seen);
    lengths(&mut seen);
    patterns(&mut seen);
    sizes(&mut seen);
    let keywords = [
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    ];
    let mut stated = BTreeSet::new();
    for (place, node) in nodes() {
        let here = keywords.into_iter().filter(|keyword| node.get(*keyword).is_some());
        stated.extend(here.map(|keyword| (place.clone(), keyword.to_owned())));
    }
    let unseen: Vec<_> = stated.difference(&seen.0).collect();
    assert!(unseen.is_empty(), "bounds without a case that breaks them: {unseen:?}");
}

/// Where a node of the schema is in the full resource.
fn pointer(place: &str) -> String {
    format!("/{}", place.replace("[]", ".0").replace('.', "/"))
}

#[test]
fn every_required_field_is_required() {
    let mut required = BTreeSet::new();
    for (place, node) in nodes().into_iter().filter(|(place, _)| !place.starts_with("spec.networkPolicy.metricsFrom")) {
        for field in node["required"].as_array().into_iter().flatten() {
            let field = field.as_str().unwrap();
            let mut whole = full();
            let parent = if place.is_empty() { Some(&mut whole) } else { whole.pointer_mut(&pointer(&place)) };
            parent.unwrap().as_object_mut().unwrap().remove(field).expect(field);
            assert!(broken_bounds(&whole).contains(&(place.clone(), "required".to_owned())), "{place}.{field}");
            required.insert(if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") });
        }
    }
    for field in ["spec", "spec.kafka", "spec.kafka.topics", "spec.redis", "spec.database", "spec.auth"] {
        assert!(required.contains(field), "{field}");
    }
}

#[test]
fn every_word_of_a_list_is_accepted_and_no_other() {
    let mut met = 0;
    for (place, node) in nodes() {
        let Some(words) = node["enum"].as_array() else { continue };
        let pointer = pointer(&place);
        let mut seen = Seen::default();
        for word in words {
            Seen::accepts(&pointer, word.clone());
        }
        seen.rejects(&pointer, "Something".into(), "enum");
        // What the types write back is the same word.
        for word in words {
            let typed: ImCluster = serde_json::from_value(with(&pointer, word.clone())).unwrap();
            assert_eq!(serde_json::to_value(typed).unwrap().pointer(&pointer), Some(word), "{place}");
        }
        met += 1;
    }
    assert_eq!(met, 9, "how many lists of words there are");
}
