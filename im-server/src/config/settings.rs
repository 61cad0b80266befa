//! The settings of `im-server serve` and `im-server migrate`. A doc comment here is what a person reads in `--help` and in
//! docs/configuration.md; the environment variable and the key of the file follow from the flag's name.

// They are read as plain text, where the marks of Markdown would stand as they are.
#![allow(clippy::doc_markdown)]

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use im_protocol::ServerId;
use im_protocol::limits::Limits;
use im_sdk::bus::kafka::{KafkaConfig, NewTopics, Password, Sasl, SaslMechanism, Tls};
use im_sdk::registry::redis::{RedisConfig, RedisUrlError};

use super::push::PushSettings;
use super::tokens::TokenSettings;
use super::values::{
    DatabaseUrl, boolean, brokers, http_url, log_filter, password, readable_file, server_id, share, token, topic_prefix,
};
use crate::api::AddressLimits;
use crate::chat::{self, Secret};
use crate::gateway::{Admission, Bounds, Order, SETTLE, TrustedProxies};
use crate::store::postgres::PostgresConfig;

/// Settings that know what cannot be together.
pub trait Settings: Args {
    /// What is wrong with values that are each fine alone.
    fn contradictions(&self) -> Vec<String>;
}

/// Settings of `im-server serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    /// Who it is, and where it listens.
    #[command(flatten)]
    pub listen: ListenSettings,
    /// How access tokens are verified.
    #[command(flatten)]
    pub tokens: TokenSettings,
    /// What lets operators and backends in.
    #[command(flatten)]
    pub secrets: SecretSettings,
    /// Where everything is kept.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Where connections are.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// Between servers.
    #[command(flatten)]
    pub kafka: KafkaSettings,
    /// What users may do.
    #[command(flatten)]
    pub policy: PolicySettings,
    /// How much of everything.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Who is told of what found nobody connected.
    #[command(flatten)]
    pub push: PushSettings,
    /// How it stops.
    #[command(flatten)]
    pub drain: DrainSettings,
    /// What it writes about the run.
    #[command(flatten)]
    pub log: LogSettings,
    /// What it tells of single messages.
    #[command(flatten)]
    pub trace: TraceSettings,
}

/// Settings of `im-server migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateSettings {
    /// Where everything is kept.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// What it writes about the run.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Who this server is, and where it listens.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ListenSettings {
    /// Number of this server, its own in the whole cluster: 0 … 65535, or the name of its StatefulSet pod, which ends in it
    #[arg(long, value_name = "N", value_parser = server_id)]
    pub server_id: ServerId,
    /// Address of HTTP and WebSocket
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of the TCP framing
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8090")]
    pub tcp_listen: SocketAddr,
    /// Networks of the proxies in front, as 10.0.0.0/8,192.168.1.7: they are believed about whom they speak for in
    /// X-Forwarded-For, so that limits per address count clients and not proxies
    #[arg(long, value_name = "NETWORK,…", default_value = "")]
    pub trusted_proxies: TrustedProxies,
    /// Trusted proxies begin each TCP connection with the PROXY protocol, version 1 or 2
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "false", default_missing_value = "true",
          value_parser = boolean, action = ArgAction::Set)]
    pub tcp_proxy_protocol: bool,
    /// Address of probes, metrics, status and drain; not for the public
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:9090")]
    pub management_listen: SocketAddr,
}

/// What lets operators and backends in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Secrets")]
pub struct SecretSettings {
    /// Opens /status and /drain on the management port; without one they stay closed
    #[arg(long, value_name = "TOKEN", value_parser = token, hide_env_values = true)]
    pub management_token: Option<Secret>,
    /// A backend with it sends for any user; without one no backend can
    #[arg(long, value_name = "TOKEN", value_parser = token, hide_env_values = true)]
    pub service_token: Option<Secret>,
}

/// Where everything is kept.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// postgres://USER:PASSWORD@HOST:PORT/DATABASE, or sqlite:///PATH/OF/FILE for a single server
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub database_url: DatabaseUrl,
    /// Connections of this server to PostgreSQL at most, and one more for its lease; those of all servers stay below its
    /// max_connections
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    pub database_connections: u16,
    /// How long a statement may run before PostgreSQL ends it, 1 … 60 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub database_statement_seconds: u16,
}

impl DatabaseSettings {
    /// How to reach the PostgreSQL at `url`.
    pub fn postgres(&self, url: &str) -> PostgresConfig {
        PostgresConfig {
            max_connections: self.database_connections.into(),
            statement_timeout: Duration::from_secs(self.database_statement_seconds.into()),
            ..PostgresConfig::new(url)
        }
    }
}

/// Where connections are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// redis://USER:PASSWORD@HOST:PORT/DATABASE, redis+sentinel://HOST,HOST/MASTER or redis+cluster://HOST,HOST; rediss for
    /// TLS; needed beside PostgreSQL
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<RedisConfig>,
    /// Keys begin with it, so that several installations can share a Redis; no braces
    #[arg(long, value_name = "TEXT", default_value = "im:")]
    pub redis_prefix: String,
    /// PEM file with the authorities to trust for TLS; without it the system's
    #[arg(long, value_name = "FILE", value_parser = readable_file)]
    pub redis_ca_file: Option<PathBuf>,
}

impl RedisSettings {
    /// How to reach Redis, if there is one.
    pub fn config(&self) -> Result<Option<RedisConfig>, RedisUrlError> {
        let Some(config) = self.redis_url.clone() else { return Ok(None) };
        let config = config.with_prefix(&self.redis_prefix)?;
        let config = match &self.redis_ca_file {
            Some(file) => config.with_ca_file(file)?,
            None => config,
        };
        Ok(Some(config))
    }
}

/// Between servers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaSettings {
    /// Brokers to begin with; needed beside PostgreSQL
    #[arg(long, value_name = "HOST:PORT,…", value_parser = brokers)]
    pub kafka_brokers: Option<String>,
    /// A server's topic is this and its id, im.0 and so on
    #[arg(long, value_name = "TEXT", default_value = "im.", value_parser = topic_prefix)]
    pub kafka_topic_prefix: String,
    /// Create this server's topic if it is missing; without it a missing topic is waited for
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "false", default_missing_value = "true",
          value_parser = boolean, action = ArgAction::Set)]
    pub create_topics: bool,
    /// Copies of each record in a topic that is created; without it the brokers' default
    #[arg(long, value_name = "N")]
    pub topic_replication: Option<NonZeroU16>,
    /// How long a topic that is created keeps its records, 60 … 86400 seconds; clients of a server that was away longer pull
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    pub topic_retention_seconds: u32,
    /// Bytes of records that may wait for an ack of Kafka; above, publishing waits. At least 4 MiB
    #[arg(long, value_name = "BYTES", default_value_t = 33_554_432, value_parser = clap::value_parser!(u32).range(4_194_304..))]
    pub kafka_buffer_bytes: u32,
    /// Talk TLS with the brokers
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "false", default_missing_value = "true",
          value_parser = boolean, action = ArgAction::Set)]
    pub kafka_tls: bool,
    /// PEM file with whom to trust; without it the system's store
    #[arg(long, value_name = "FILE", value_parser = readable_file)]
    pub kafka_ca_file: Option<PathBuf>,
    /// PEM file with our certificate, if the brokers ask for one
    #[arg(long, value_name = "FILE", value_parser = readable_file)]
    pub kafka_certificate_file: Option<PathBuf>,
    /// PEM file with the certificate's key
    #[arg(long, value_name = "FILE", value_parser = readable_file)]
    pub kafka_key_file: Option<PathBuf>,
    /// What the key is encrypted with
    #[arg(long, value_name = "PASSWORD", value_parser = password, hide_env_values = true)]
    pub kafka_key_password: Option<Password>,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; without it no user signs in
    #[arg(long, value_name = "MECHANISM")]
    pub kafka_sasl_mechanism: Option<SaslMechanism>,
    /// The user that signs in
    #[arg(long, value_name = "USER")]
    pub kafka_sasl_user: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD", value_parser = password, hide_env_values = true)]
    pub kafka_sasl_password: Option<Password>,
}

impl KafkaSettings {
    /// How to reach Kafka, if there is one.
    pub fn config(&self) -> Option<KafkaConfig> {
        let tls = self.kafka_tls.then(|| Tls {
            ca: self.kafka_ca_file.clone(),
            certificate: self.kafka_certificate_file.clone(),
            key: self.kafka_key_file.clone(),
            key_password: self.kafka_key_password.clone(),
        });
        let sasl = match (self.kafka_sasl_mechanism, &self.kafka_sasl_user, &self.kafka_sasl_password) {
            (Some(mechanism), Some(user), Some(password)) => {
                Some(Sasl { mechanism, user: user.clone(), password: password.clone() })
            }
            _ => None,
        };
        Some(KafkaConfig {
            tls,
            sasl,
            create_topics: self.create_topics.then(|| NewTopics {
                replication_factor: self.topic_replication,
                retention: Duration::from_secs(self.topic_retention_seconds.into()),
            }),
            buffer_bytes: self.kafka_buffer_bytes as usize,
            ..KafkaConfig::new(self.kafka_brokers.clone()?, &self.kafka_topic_prefix)
        })
    }

    fn contradictions(&self) -> Vec<&'static str> {
        let files = [&self.kafka_ca_file, &self.kafka_certificate_file, &self.kafka_key_file];
        let sasl =
            [self.kafka_sasl_mechanism.is_some(), self.kafka_sasl_user.is_some(), self.kafka_sasl_password.is_some()];
        let mut found = Vec::new();
        if !self.kafka_tls && files.iter().any(|file| file.is_some()) {
            found.push("kafka-ca-file, kafka-certificate-file and kafka-key-file are for TLS: set kafka-tls as well");
        }
        if self.kafka_certificate_file.is_some() != self.kafka_key_file.is_some() {
            found.push("kafka-certificate-file and kafka-key-file belong together: set both or none");
        }
        if sasl.contains(&true) && sasl.contains(&false) {
            found
                .push("kafka-sasl-mechanism, kafka-sasl-user and kafka-sasl-password belong together: set all or none");
        }
        found
    }
}

fn policy() -> chat::Settings {
    chat::Settings::default()
}

/// What users may do.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Policy")]
pub struct PolicySettings {
    /// Anyone may make an account; else only a backend with the service token
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = policy().open_registration,
          default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub open_registration: bool,
    /// Only friends open a direct conversation
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = policy().friends_only,
          default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub friends_only: bool,
    /// Only friends can be put into a group
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = policy().invite_friends_only,
          default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub invite_friends_only: bool,
    /// Characters of a new password at least, 1 … 128
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=128))]
    pub password_chars: u8,
    /// Seconds within which a sender may recall or edit; 0: for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub recall_seconds: u32,
    /// Lifetime of an access token, 30 … 900 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(30..=900))]
    pub access_token_seconds: u32,
    /// Lifetime of a refresh token that is not used, 1 … 400 days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=400))]
    pub refresh_token_days: u32,
    /// Devices per terminal class; the oldest gives way
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub devices_per_terminal: u16,
    /// Connections per device; the oldest gives way
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections_per_device: u16,
    /// Groups up to this size get receipts; above, the sender gets a count now and then
    #[arg(long, value_name = "MEMBERS", default_value_t = policy().receipts_up_to)]
    pub receipts_up_to: u32,
    /// Groups up to this size show who is typing
    #[arg(long, value_name = "MEMBERS", default_value_t = policy().typing_up_to)]
    pub typing_up_to: u32,
}

fn limits() -> Limits {
    Limits::default()
}

/// How much of everything.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Bytes of a message's content, as compact JSON
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(256..=1_048_576))]
    pub content_bytes: u32,
    /// Bytes of a client's frame; at least a kilobyte more than the content
    #[arg(long, value_name = "BYTES", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1_280..=2_097_152))]
    pub frame_bytes: u32,
    /// Messages a user may send per second in the long run; 0: no limit
    #[arg(long, value_name = "N", default_value_t = limits().messages_per_second)]
    pub messages_per_second: u32,
    /// Messages a user may send at once
    #[arg(long, value_name = "N", default_value_t = limits().message_burst)]
    pub message_burst: u32,
    /// Members of a group
    #[arg(long, value_name = "N", default_value_t = limits().group_members, value_parser = clap::value_parser!(u32).range(2..))]
    pub group_members: u32,
    /// People named in one call: a group's first members, invitees
    #[arg(long, value_name = "N", default_value_t = limits().members_per_call, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub members_per_call: u32,
    /// Conversations of one user
    #[arg(long, value_name = "N", default_value_t = limits().conversations, value_parser = clap::value_parser!(u32).range(1..))]
    pub conversations: u32,
    /// Accounts and sign-ins per address and minute; 0: no limit
    #[arg(long, value_name = "N", default_value_t = AddressLimits::SIGN_INS)]
    pub sign_ins_per_minute: u32,
    /// Handshakes per address and minute; 0: no limit
    #[arg(long, value_name = "N", default_value_t = AddressLimits::HANDSHAKES)]
    pub handshakes_per_minute: u32,
    /// Connections at once; more are sent to another server. 0: no limit but that of file descriptors
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_connections: u32,
    /// Bytes that may wait for one connection: pushes above are dropped and replaced by one resync
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = clap::value_parser!(u32).range(524_288..=67_108_864))]
    pub queue_bytes: u32,
    /// A reader that takes nothing for so long is closed, 2 … 300 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(2..=300))]
    pub stall_seconds: u16,
}

impl LimitSettings {
    /// What one connection may take.
    pub fn bounds(&self) -> Bounds {
        let stall_ms = i64::from(self.stall_seconds) * 1000;
        Bounds { queue_bytes: self.queue_bytes as usize, stall_ms, ..Bounds::DEFAULT }
    }
}

/// How clients are moved off before the server stops.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stopping")]
pub struct DrainSettings {
    /// After SIGTERM, seconds until every connection has been sent away; the pod's grace period must be longer
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub drain_deadline_seconds: u32,
    /// After SIGTERM, connections sent away per second
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub drain_connections_per_second: u32,
    /// How often a balancer looks whether this server is ready: a server that drains takes new connections for 5 s and this
    /// long, until balancers know
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=300))]
    pub probe_period_seconds: u32,
}

impl DrainSettings {
    /// What SIGTERM orders.
    pub fn order(&self) -> Order {
        Order {
            deadline: Duration::from_secs(self.drain_deadline_seconds.into()),
            per_second: self.drain_connections_per_second,
        }
    }

    /// How long new connections are still taken.
    pub fn notice(&self) -> Duration {
        SETTLE + Duration::from_secs(self.probe_period_seconds.into())
    }
}

/// What is written about the run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// What to log, for instance info,im_server::delivery=debug; the log goes to standard error
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// How to log: text for people, json for collectors
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Following single messages through all servers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Traces")]
pub struct TraceSettings {
    /// OpenTelemetry collector to send traces to, by OTLP over HTTP, as http://collector:4318; without one nothing is traced
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub otlp_endpoint: Option<String>,
    /// Share of messages and requests that are followed, 0 … 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    pub trace_ratio: f64,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Bytes of a frame around its content: the other fields of a send.
const FRAME_SLACK: u32 = 1_024;

impl Settings for ServeSettings {
    fn contradictions(&self) -> Vec<String> {
        let mut found = self.tokens.source().err().unwrap_or_default();
        found.extend(self.push.contradiction());
        let (database, redis, kafka) = (&self.database.database_url, &self.redis.redis_url, &self.kafka.kafka_brokers);
        match (database, redis, kafka) {
            (DatabaseUrl::Sqlite(_), Some(_), _) | (DatabaseUrl::Sqlite(_), _, Some(_)) => found.push(
                "database-url is SQLite, which one server has to itself: leave redis-url and kafka-brokers out, or use \
                 PostgreSQL"
                    .to_owned(),
            ),
            (DatabaseUrl::Postgres(_), None, _) => {
                found.push("missing: redis-url (--redis-url, IM_REDIS_URL): servers on PostgreSQL need it".to_owned());
            }
            _ => {}
        }
        if matches!(database, DatabaseUrl::Postgres(_)) && kafka.is_none() {
            found.push(
                "missing: kafka-brokers (--kafka-brokers, IM_KAFKA_BROKERS): servers on PostgreSQL need it".to_owned(),
            );
        }
        found.extend(self.redis.config().err().map(|error| format!("redis-prefix, redis-ca-file: {error}")));
        found.extend(self.kafka.contradictions().into_iter().map(str::to_owned));
        if self.listen.tcp_proxy_protocol && self.listen.trusted_proxies == TrustedProxies::default() {
            found.push("tcp-proxy-protocol needs trusted-proxies: who else may say whom they speak for?".to_owned());
        }
        if self.limits.frame_bytes < self.limits.content_bytes + FRAME_SLACK {
            found.push(format!(
                "frame-bytes is {}, content-bytes is {}: a frame has to be at least {FRAME_SLACK} bytes larger",
                self.limits.frame_bytes, self.limits.content_bytes
            ));
        }
        found
    }
}

impl Settings for MigrateSettings {
    fn contradictions(&self) -> Vec<String> {
        Vec::new()
    }
}

impl ServeSettings {
    /// Who is let in.
    pub fn admission(&self) -> Admission {
        let Self { listen, limits, .. } = self;
        Admission {
            limits: Arc::new(AddressLimits::per_minute(limits.sign_ins_per_minute, limits.handshakes_per_minute)),
            max_connections: NonZeroUsize::new(limits.max_connections as usize),
            proxies: listen.trusted_proxies.clone(),
            proxy_protocol: listen.tcp_proxy_protocol,
        }
    }

    /// The settings of the rules.
    pub fn chat(&self) -> chat::Settings {
        let Self { policy, limits, .. } = self;
        chat::Settings {
            limits: Limits {
                content_bytes: limits.content_bytes as usize,
                frame_bytes: limits.frame_bytes as usize,
                messages_per_second: limits.messages_per_second,
                message_burst: limits.message_burst,
                group_members: limits.group_members,
                members_per_call: limits.members_per_call,
                conversations: limits.conversations,
            },
            friends_only: policy.friends_only,
            invite_friends_only: policy.invite_friends_only,
            open_registration: policy.open_registration,
            password_chars: policy.password_chars.into(),
            recall_within: (policy.recall_seconds > 0).then(|| i64::from(policy.recall_seconds) * 1000),
            access_lifetime: Duration::from_secs(policy.access_token_seconds.into()),
            refresh_lifetime: Duration::from_hours(24 * u64::from(policy.refresh_token_days)),
            devices_per_terminal: policy.devices_per_terminal.into(),
            connections_per_device: policy.connections_per_device.into(),
            receipts_up_to: policy.receipts_up_to,
            typing_up_to: policy.typing_up_to,
        }
    }
}
