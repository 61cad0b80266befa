//! im-server's configuration file.

use std::collections::BTreeMap;
use std::fmt::Write;

use imcluster_crds::{ImCluster, SaslMechanism};
use sha2::{Digest, Sha256};

use super::template::{KEYS_FOLDER, PROBE_SECONDS, SecretFile};
use crate::cluster::hash::hex;
use crate::cluster::names::{HTTP_PORT, MANAGEMENT_PORT, TCP_PORT};
use crate::cluster::validate::Layout;

/// Name of the file.
pub(super) const FILE: &str = "im-server.toml";

/// Settings that a running gateway need not know: the operator says them with each drain that it orders, and pods that start
/// later read them. So another deadline rolls nothing.
const READ_LATER: [&str; 2] = ["drain-connections-per-second", "drain-deadline-seconds"];

/// The settings that follow from the rest of the spec, those of `config`, and those of `extraConfig`.
pub(crate) fn settings(cluster: &ImCluster, layout: &Layout) -> BTreeMap<String, String> {
    let spec = &cluster.spec;
    let mut settings = spec.config.entries();
    settings.extend(spec.extra_config.clone());
    let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);

    set("listen", format!("0.0.0.0:{HTTP_PORT}"));
    set("tcp-listen", format!("0.0.0.0:{TCP_PORT}"));
    set("management-listen", format!("0.0.0.0:{MANAGEMENT_PORT}"));
    set("management-token-file", SecretFile::ManagementToken.path());
    set("database-url-file", SecretFile::Database.path());
    set("redis-url-file", SecretFile::Redis.path());
    set("redis-prefix", cluster.redis_prefix());
    set("kafka-brokers", cluster.bootstrap_servers().join(","));
    set("kafka-topic-prefix", cluster.topic_prefix());
    set("create-topics", false.to_string());
    set("max-connections", spec.gateways.max_connections.to_string());
    set("drain-deadline-seconds", spec.gateways.drain.deadline_seconds.to_string());
    set("drain-connections-per-second", spec.gateways.drain.connections_per_second.to_string());
    set("probe-period-seconds", PROBE_SECONDS.to_string());

    if let Some(tls) = &spec.kafka.tls {
        set("kafka-tls", true.to_string());
        if tls.ca_secret_ref.is_some() {
            set("kafka-ca-file", SecretFile::KafkaCa.path());
        }
        if tls.certificate_secret_ref.is_some() {
            set("kafka-certificate-file", SecretFile::KafkaCertificate.path());
            set("kafka-key-file", SecretFile::KafkaKey.path());
        }
    }
    if let Some(sasl) = &spec.kafka.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        set("kafka-sasl-mechanism", mechanism.to_owned());
        set("kafka-sasl-password-file", SecretFile::KafkaPassword.path());
        if !layout.user_has_key {
            set("kafka-sasl-user", sasl.secret_ref.name.clone());
        }
    }
    if let Some(jwt) = &spec.auth.jwt {
        set("jwt-keys-dir", KEYS_FOLDER.to_owned());
        set("jwt-signing-key", jwt.signing_key.clone());
    }
    if let Some(url) = &spec.auth.jwks_url {
        set("jwks-url", url.clone());
    }
    settings
}

/// The file: TOML, every value as text, which im-server reads as it reads a flag.
pub(crate) fn file(settings: &BTreeMap<String, String>) -> String {
    let mut file = String::new();
    for (name, value) in settings {
        // Texts of JSON are texts of TOML, but for one character.
        let value = serde_json::Value::from(value.as_str()).to_string().replace('\u{7f}', "\\u007f");
        writeln!(file, "{name} = {value}").expect("a string takes everything");
    }
    file
}

/// Tells the settings that a gateway runs with from all others.
pub(crate) fn hash(settings: &BTreeMap<String, String>) -> String {
    let mut read_at_start = settings.clone();
    read_at_start.retain(|name, _| !READ_LATER.contains(&name.as_str()));
    hex(Sha256::new_with_prefix(file(&read_at_start)))
}
