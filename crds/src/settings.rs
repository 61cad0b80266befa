//! The settings of im-server that a resource can have. They are those of im-server's docs/configuration.md; what they do and
//! their defaults stand there, and a default that is not written here follows the image.

use std::collections::{BTreeMap, BTreeSet};

use kube::KubeSchema;
use kube::core::{Message, Reason, Rule};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::INT32_MAX;

/// Settings that follow from the rest of the spec, or that the operator chooses.
pub const OPERATORS_OWN: &[&str] = &[
    "config",
    "create-topics",
    "database-url",
    "database-url-file",
    "drain-connections-per-second",
    "drain-deadline-seconds",
    "jwks-url",
    "jwt-keys-dir",
    "jwt-secret",
    "jwt-secret-file",
    "jwt-signing-key",
    "kafka-brokers",
    "kafka-ca-file",
    "kafka-certificate-file",
    "kafka-key-file",
    "kafka-key-password",
    "kafka-key-password-file",
    "kafka-sasl-mechanism",
    "kafka-sasl-password",
    "kafka-sasl-password-file",
    "kafka-sasl-user",
    "kafka-tls",
    "kafka-topic-prefix",
    "listen",
    "management-listen",
    "management-token",
    "management-token-file",
    "max-connections",
    "probe-period-seconds",
    "redis-url",
    "redis-url-file",
    "server-id",
    "tcp-listen",
    "topic-replication",
    "topic-retention-seconds",
];

/// Settings that would stand in the open here. Each has a twin that names a file, and an environment variable.
pub const SECRETS: &[&str] = &["push-webhook-secret", "push-webhook-url", "service-token"];

/// Settings of im-server. What is left out has the default of im-server.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.frameBytes) ? self.frameBytes : 131072) >= (has(self.contentBytes) ? self.contentBytes : 65536) + 1024")
        .message("frameBytes must be at least contentBytes + 1024 (the defaults are 131072 and 65536): raise frameBytes or lower contentBytes"),
    validation = Rule::new("!has(self.tcpProxyProtocol) || !self.tcpProxyProtocol || (has(self.trustedProxies) && self.trustedProxies.size() > 0)")
        .message("tcpProxyProtocol needs trustedProxies: name the networks of the proxies that may say whom they speak for")
)]
pub struct Settings {
    /// Networks of the proxies in front, as `10.0.0.0/8`: they are believed about whom they speak for in X-Forwarded-For.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64), regex(pattern = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub trusted_proxies: Vec<String>,

    /// Trusted proxies begin each TCP connection with the PROXY protocol, version 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_proxy_protocol: Option<bool>,

    /// Connections of each gateway to PostgreSQL at most, and one more for its lease. Those of all gateways stay below its
    /// `max_connections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1_000))]
    pub database_connections: Option<u16>,

    /// Seconds that a statement may run before PostgreSQL ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60))]
    pub database_statement_seconds: Option<u16>,

    /// What keys in Redis begin with. Without it: namespace and name of this resource, so that installations can share a Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = r"^[^{}\s]+$"))]
    pub redis_prefix: Option<String>,

    /// Bytes of records that may wait for an ack of Kafka; above, publishing waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4_194_304, max = INT32_MAX))]
    pub kafka_buffer_bytes: Option<u32>,

    /// Anyone may make an account; else only a backend with the service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_registration: Option<bool>,

    /// Only friends open a direct conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub friends_only: Option<bool>,

    /// Only friends can be put into a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite_friends_only: Option<bool>,

    /// Characters of a new password at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub password_chars: Option<u8>,

    /// Seconds within which a sender may recall or edit a message; 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub recall_seconds: Option<u32>,

    /// Lifetime of an access token, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 30, max = 900))]
    pub access_token_seconds: Option<u32>,

    /// Lifetime of a refresh token that is not used, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 400))]
    pub refresh_token_days: Option<u32>,

    /// With `auth.jwksUrl`: tokens are taken if their `aud` has one of these. Without it tokens for every audience are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256), regex(pattern = r"^[^\s,]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub jwks_audience: Vec<String>,

    /// With `auth.jwksUrl`: tokens are taken if this is their `iss`. Without it tokens of every issuer are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^\S+$"))]
    pub jwks_issuer: Option<String>,

    /// Devices of a user per terminal class; the oldest gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub devices_per_terminal: Option<u16>,

    /// Connections per device; the oldest gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub connections_per_device: Option<u16>,

    /// Groups up to this many members get receipts; above, the sender gets a count now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub receipts_up_to: Option<u32>,

    /// Groups up to this many members show who is typing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub typing_up_to: Option<u32>,

    /// Bytes of a message's content, as compact JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 256, max = 1_048_576))]
    pub content_bytes: Option<u32>,

    /// Bytes of a client's frame: at least a kilobyte more than the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_280, max = 2_097_152))]
    pub frame_bytes: Option<u32>,

    /// Messages that a user may send per second in the long run; 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub messages_per_second: Option<u32>,

    /// Messages that a user may send at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub message_burst: Option<u32>,

    /// Members of a group at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = INT32_MAX))]
    pub group_members: Option<u32>,

    /// People named in one call at most: a group's first members, invitees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5_000))]
    pub members_per_call: Option<u32>,

    /// Conversations of one user at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = INT32_MAX))]
    pub conversations: Option<u32>,

    /// Accounts made and sign-ins per address and minute; 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub sign_ins_per_minute: Option<u32>,

    /// Handshakes per address and minute; 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = INT32_MAX))]
    pub handshakes_per_minute: Option<u32>,

    /// Bytes that may wait for one connection: pushes above are dropped and replaced by one resync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 524_288, max = 67_108_864))]
    pub queue_bytes: Option<u32>,

    /// Seconds after which a reader that takes nothing is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 300))]
    pub stall_seconds: Option<u16>,

    /// Milliseconds after a message until the devices of those who have neither read nor got it are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3_600_000))]
    pub push_delay_ms: Option<u32>,

    /// Webhooks carry the beginning of a message's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_content: Option<bool>,

    /// In large groups only those who are mentioned are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_large_mentions_only: Option<bool>,

    /// Attempts to deliver a push until it is left to `im-server push`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub push_attempts: Option<u32>,

    /// Milliseconds until the second attempt; each further pause is twice as long, up to ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 600_000))]
    pub push_retry_ms: Option<u32>,

    /// What to log, for instance `info,im_server::delivery=debug`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub log: Option<String>,

    /// How lines of the log look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,

    /// OpenTelemetry collector to send traces to, by OTLP over HTTP, as `http://collector:4318`. Without one nothing is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s/?#@]+([/?]\S*)?$"))]
    pub otlp_endpoint: Option<String>,

    /// Share of messages and requests that are followed, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub trace_ratio: Option<f64>,
}

/// How lines of the log look.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

impl Settings {
    /// The settings that are set, by the names of im-server's configuration file, as text.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else { return BTreeMap::new() };
        let text = |value: Value| match value {
            Value::String(text) => text,
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        fields.into_iter().map(|(field, value)| (file_name(&field), text(value))).collect()
    }

    /// The names of all fields, as in im-server's configuration file.
    pub fn names() -> BTreeSet<String> {
        let schema = SchemaGenerator::default().into_root_schema_for::<Self>();
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        fields.map(|(field, _)| file_name(field)).collect()
    }
}

/// `someSetting` is `some-setting` in the file.
fn file_name(field: &str) -> String {
    let mut name = String::new();
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A rule that none of `names` is a key.
fn without<'a>(names: impl IntoIterator<Item = &'a str>, message: &str) -> Rule {
    let names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
    Rule::new(format!("[{}].all(name, !(name in self))", names.join(", ")))
        .message(Message::Message(message.to_owned()))
        .reason(Reason::FieldValueForbidden)
}

pub(crate) fn operators_own() -> Rule {
    without(
        OPERATORS_OWN.iter().copied(),
        "extraConfig has a setting that follows from the rest of the spec, like server-id, listen, kafka-brokers or \
         max-connections: leave it out, and set the field of the spec instead",
    )
}

pub(crate) fn secrets() -> Rule {
    without(
        SECRETS.iter().copied(),
        "extraConfig has a secret, and everybody who sees the resource would see it: set IM_SERVICE_TOKEN, \
         IM_PUSH_WEBHOOK_URL or IM_PUSH_WEBHOOK_SECRET from a Secret, as env of the container im-server in \
         gateways.podTemplate",
    )
}

pub(crate) fn typed() -> Rule {
    let names = Settings::names();
    without(
        names.iter().map(String::as_str),
        "extraConfig has a setting that config has a field for: set it there, as someSetting for some-setting",
    )
}
