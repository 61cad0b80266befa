//! What comes of references.

use imcluster_crds::conditions::Reason;
use serde_json::{Value, json};

use super::kafka;
use crate::cluster::validate::samples::{CERTIFICATE, HIDDEN, cluster, secrets, secrets_with};
use crate::cluster::validate::*;

fn references(patch: &Value, secrets: &Secrets) -> References {
    validate(&cluster(patch), secrets).expect("a valid resource").references
}

fn unresolved(patch: &Value, secrets: &Secrets) -> Refusal {
    match references(patch, secrets) {
        References::Unresolved(refusal) => {
            assert!(!refusal.to_string().contains(HIDDEN), "{refusal}");
            refusal
        }
        References::Resolved(_) => panic!("{patch} resolves"),
    }
}

fn resolved(patch: &Value) -> Resolved {
    match references(patch, &secrets()) {
        References::Resolved(resolved) => resolved,
        References::Unresolved(refusal) => panic!("{patch}: {refusal}"),
    }
}

/// A resource that refers to everything.
fn everything() -> Value {
    kafka(json!({
        "tls": { "caSecretRef": { "name": "ca" }, "certificateSecretRef": { "name": "strimzi" } },
        "sasl": { "secretRef": { "name": "login" } },
    }))
}

#[test]
fn what_a_resource_refers_to_is_named() {
    let names: Vec<_> = referenced(&cluster(&everything())).into_iter().collect();
    assert_eq!(names, ["ca", "database", "keys", "login", "redis", "strimzi"]);
    let jwks = json!({ "spec": { "auth": { "jwt": null, "jwksUrl": "https://id.example/keys" } } });
    assert_eq!(referenced(&cluster(&jwks)).into_iter().collect::<Vec<_>>(), ["database", "redis"]);
}

#[test]
fn a_secret_that_is_not_there_is_named_with_the_field() {
    for (name, field) in [
        ("redis", "spec.redis.urlSecretRef"),
        ("database", "spec.database.urlSecretRef"),
        ("keys", "spec.auth.jwt.keysSecretRef"),
        ("ca", "spec.kafka.tls.caSecretRef"),
        ("strimzi", "spec.kafka.tls.certificateSecretRef"),
        ("login", "spec.kafka.sasl.secretRef"),
    ] {
        let mut secrets = secrets();
        secrets.insert(name.to_owned(), None);
        let refusal = unresolved(&everything(), &secrets);
        assert_eq!(refusal, Refusal::SecretNotFound { field, name: name.to_owned() });
        assert_eq!(refusal.reason(), Reason::ReferenceNotFound);
    }
}

#[test]
fn a_key_that_is_not_in_its_secret_is_named() {
    for (name, key) in [
        ("redis", "url"),
        ("database", "url"),
        ("keys", "2026-11"),
        ("ca", "ca.crt"),
        ("strimzi", "user.key"),
        ("login", "password"),
    ] {
        let refusal = unresolved(&everything(), &secrets_with(name, key, None));
        assert_eq!(refusal.reason(), Reason::ReferenceNotFound);
        let Refusal::KeyNotFound { name: of, key: missing, .. } = refusal else { panic!("{refusal}") };
        assert!(of == name && missing.contains(key), "{of}: {missing}");
    }
}

#[test]
fn content_that_cannot_be_used_is_refused_without_being_repeated() {
    let half = &CERTIFICATE[..CERTIFICATE.len() / 2];
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, key, value) in [
        ("redis", "url", "h1dden"),
        ("redis", "url", "http://:h1dden@redis"),
        ("redis", "url", "redis://"),
        ("redis", "url", ""),
        ("redis", "url", "\n"),
        ("database", "url", "mysql://im:h1dden@db/im"),
        ("database", "url", "sqlite:///im.db"),
        ("database", "url", "postgres://im:h1dden@/im"),
        ("keys", "2026-11", "h1dden"),
        ("keys", "2026-10", "thirty-one characters and an end\n".get(1..).expect("text")),
        ("ca", "ca.crt", "h1dden"),
        ("ca", "ca.crt", half),
        ("ca", "ca.crt", empty),
        ("strimzi", "user.crt", "h1dden"),
        ("strimzi", "user.key", CERTIFICATE),
        ("login", "username", "h1dden\n"),
        ("login", "password", ""),
    ] {
        let refusal = unresolved(&everything(), &secrets_with(name, key, Some(value.as_bytes())));
        assert_eq!(refusal.reason(), Reason::InvalidReference, "{refusal}");
        let Refusal::Unusable { name: of, key: bad, .. } = refusal else { panic!("{refusal}") };
        assert_eq!((of.as_str(), bad.as_str()), (name, key));
    }
    let binary = secrets_with("login", "password", Some(&[0xff, 0xfe]));
    assert_eq!(unresolved(&everything(), &binary).reason(), Reason::InvalidReference);
}

#[test]
fn every_form_of_a_url_that_im_server_takes_is_taken() {
    for url in [
        "redis://cache",
        "rediss://user:pa55@cache:6380/2",
        "redis+sentinel://s1,s2:26380,s3/chat/2?sentinel_password=a",
        "rediss+sentinel://s1/chat",
        "redis+cluster://h1,h2:7001",
        "rediss+cluster://h1",
        "redis://[::1]:6379\n",
    ] {
        let references = references(&json!({}), &secrets_with("redis", "url", Some(url.as_bytes())));
        assert!(matches!(references, References::Resolved(_)), "{url}");
    }
}

#[test]
fn kafka_is_reached_with_what_the_secrets_say() {
    let Resolved { kafka, layout, .. } = resolved(&everything());
    assert_eq!(kafka.brokers, ["kafka.im.svc:9092"]);
    let tls = kafka.tls.expect("TLS");
    assert!(tls.ca.is_some_and(|ca| ca.contains("BEGIN CERTIFICATE")));
    assert!(tls.identity.is_some_and(|(chain, key)| chain.contains("CERTIFICATE") && key.contains("PRIVATE KEY")));
    let sasl = kafka.sasl.expect("a login");
    assert_eq!((sasl.user.as_str(), sasl.password.as_str()), ("h1dden-user", "h1dden-password"));
    assert_eq!(layout, Layout { certificate: Some(("user.crt", "user.key")), user_has_key: true });
}

#[test]
fn a_secret_of_strimzi_or_of_cert_manager_will_do() {
    let sasl = kafka(json!({ "sasl": { "secretRef": { "name": "strimzi" } } }));
    let Resolved { kafka: settings, layout, .. } = resolved(&sasl);
    assert_eq!(settings.sasl.map(|sasl| sasl.user).as_deref(), Some("strimzi"));
    assert!(!layout.user_has_key);
    let tls = kafka(json!({ "tls": { "certificateSecretRef": { "name": "cert-manager" } } }));
    assert_eq!(resolved(&tls).layout.certificate, Some(("tls.crt", "tls.key")));
}

#[test]
fn the_hash_follows_the_keys_that_are_referred_to_and_nothing_else() {
    let of = |secrets: &Secrets| match references(&everything(), secrets) {
        References::Resolved(resolved) => resolved.content.fingerprint("salt"),
        References::Unresolved(refusal) => panic!("{refusal}"),
    };
    let before = of(&secrets());
    for (name, key, value) in [
        ("redis", "url", "redis://other"),
        ("database", "url", "postgres://other/im"),
        ("ca", "ca.crt", &format!("{CERTIFICATE}{CERTIFICATE}")),
        ("strimzi", "user.crt", &format!("{CERTIFICATE}{CERTIFICATE}")),
        ("login", "username", "other"),
        ("login", "password", "other"),
    ] {
        assert_ne!(of(&secrets_with(name, key, Some(value.as_bytes()))), before, "{name}/{key}");
    }
    for (name, key) in [("redis", "other"), ("keys", "2026-12"), ("keys", "2026-11"), ("strimzi", "ca.crt")] {
        let value = "another key of thirty-two characters";
        assert_eq!(of(&secrets_with(name, key, Some(value.as_bytes()))), before, "{name}/{key}");
    }
    assert_ne!(resolved(&everything()).content.fingerprint("another salt"), before);
}

#[test]
fn nothing_prints_what_stands_in_a_secret() {
    let valid = validate(&cluster(&everything()), &secrets()).expect("a valid resource");
    let printed = format!("{valid:?}");
    assert!(printed.contains("database") && !printed.contains(HIDDEN) && !printed.contains("BEGIN"), "{printed}");
}
