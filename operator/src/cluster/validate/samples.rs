//! Resources and Secrets for tests.

use std::collections::BTreeMap;

use imcluster_crds::ImCluster;
use serde_json::{Value, json};

use super::Secrets;

/// A certificate with its key, made for tests: anybody may have it.
pub(crate) const CERTIFICATE: &str = include_str!("samples/certificate.pem");
pub(crate) const PRIVATE_KEY: &str = include_str!("samples/key.pem");

/// A word that stands in every Secret and may stand in no object.
pub(crate) const HIDDEN: &str = "h1dden";

/// A resource with nothing in it that may be left out.
pub(crate) fn smallest() -> Value {
    json!({
        "apiVersion": "imcluster.dev/v1alpha1",
        "kind": "ImCluster",
        "metadata": { "name": "chat", "namespace": "im", "uid": "7c9d2c1e-7f0f-4f0b-9d39-0e3e3f0ad3b1" },
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
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = target.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            let value = merged(fields.get(name).unwrap_or(&Value::Null), change);
            fields.insert(name.clone(), value);
        }
    }
    fields.into()
}

/// The smallest resource with a change.
pub(crate) fn cluster(patch: &Value) -> ImCluster {
    serde_json::from_value(merged(&smallest(), patch)).expect("a resource")
}

/// Every Secret that a test names, with everything that is asked of it.
pub(crate) fn secrets() -> Secrets {
    let signing = format!("{HIDDEN}-{}", "0".repeat(32));
    let redis = format!("redis://:{HIDDEN}@redis:6379/0");
    let database = format!("postgres://im:{HIDDEN}@database/im\n");
    let password = format!("{HIDDEN}-password");
    let all: [(&str, &[(&str, &str)]); 8] = [
        ("redis", &[("url", &redis), ("cluster", "redis+cluster://a,b")]),
        ("database", &[("url", &database), ("postgres", "postgresql://h1dden@db/im")]),
        ("keys", &[("2026-11", &signing), ("2026-10", &signing)]),
        ("ca", &[("ca.crt", CERTIFICATE), ("ca.pem", CERTIFICATE)]),
        ("cert-manager", &[("tls.crt", CERTIFICATE), ("tls.key", PRIVATE_KEY)]),
        ("strimzi", &[("user.crt", CERTIFICATE), ("user.key", PRIVATE_KEY), ("password", &password)]),
        ("login", &[("username", "h1dden-user"), ("password", &password)]),
        ("other-login", &[("user", "h1dden-user"), ("pass", &password)]),
    ];
    let secret = |keys: &[(&str, &str)]| {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        Some(keys.collect::<BTreeMap<_, _>>())
    };
    all.into_iter().map(|(name, keys)| (name.to_owned(), secret(keys))).collect()
}

/// The same, with one key of one Secret as given, or without it.
pub(crate) fn secrets_with(name: &str, key: &str, value: Option<&[u8]>) -> Secrets {
    let mut all = secrets();
    if let Some(Some(secret)) = all.get_mut(name) {
        match value {
            Some(value) => drop(secret.insert(key.to_owned(), value.to_vec())),
            None => drop(secret.remove(key)),
        }
    }
    all
}
