//! How to reach Kafka, and what every client of it is set to.

use std::fmt;
use std::fs::File;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use im_protocol::ServerId;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Where to begin: `host:port`, several separated by commas.
    pub brokers: String,
    /// A server's topic is named by this prefix and its id.
    pub topic_prefix: String,
    /// TLS; `None` is plain TCP.
    pub tls: Option<Tls>,
    /// Who we are; `None` is anonymous, or the TLS certificate.
    pub sasl: Option<Sasl>,
    /// Makes a server's missing topic when it subscribes; `None` leaves topics to somebody else.
    pub create_topics: Option<NewTopics>,
    /// Bytes of records that may wait for an ack; above that, publishing waits.
    pub buffer_bytes: usize,
    /// How long a record may wait for its ack, retries included.
    pub delivery_timeout: Duration,
}

impl KafkaConfig {
    /// Plain TCP, no topics are made.
    pub fn new(brokers: impl Into<String>, topic_prefix: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: topic_prefix.into(),
            tls: None,
            sasl: None,
            create_topics: None,
            buffer_bytes: 32 * 1024 * 1024,
            // Long enough for another broker to take over from one that fails, short enough that the relay learns of an
            // outage and leaves the rest to the outbox.
            delivery_timeout: Duration::from_secs(10),
        }
    }

    /// The name of a server's topic.
    pub fn topic(&self, server: ServerId) -> String {
        format!("{}{server}", self.topic_prefix)
    }
}

/// TLS to the brokers. Files are PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Whom to trust; `None` is the system's store.
    pub ca: Option<PathBuf>,
    /// Our certificate, if the brokers ask for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// What the key is encrypted with.
    pub key_password: Option<Password>,
}

/// User and password.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password travels as it is: only over TLS.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// As Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromStr for SaslMechanism {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Plain, Self::ScramSha256, Self::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
            .ok_or_else(|| format!("{name:?} is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"))
    }
}

/// A password that nobody prints.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Hides a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a topic is made with.
#[derive(Clone, Copy, Debug)]
pub struct NewTopics {
    /// Copies of each record; `None` is the brokers' default.
    pub replication_factor: Option<NonZeroU16>,
    /// How long a record is kept: a server that was away longer tells its clients to pull.
    pub retention: Duration,
}

impl Default for NewTopics {
    fn default() -> Self {
        Self { replication_factor: None, retention: Duration::from_mins(10) }
    }
}

/// Kafka itself takes no longer names.
const LONGEST_TOPIC: usize = 249;

/// Smaller, and one record of the largest size could not find room beside another.
const LEAST_BUFFER: usize = 4 * 1024 * 1024;

/// Shorter, and a broker that is only slow looks dead.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// What is wrong with the settings, before any client is made.
pub(super) fn check(config: &KafkaConfig) -> Result<(), String> {
    if config.brokers.trim().is_empty() {
        return Err("no broker is named: give host:port, several separated by commas".to_owned());
    }
    let longest = config.topic(ServerId(u16::MAX));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if longest.len() > LONGEST_TOPIC || !longest.chars().all(allowed) {
        return Err(format!(
            "the topic prefix {:?} is not possible: only letters, digits, '.', '_' and '-', and {} characters at most",
            config.topic_prefix,
            LONGEST_TOPIC - (longest.len() - config.topic_prefix.len()),
        ));
    }
    if config.buffer_bytes < LEAST_BUFFER {
        return Err(format!("a buffer of {} bytes is too small: {LEAST_BUFFER} at least", config.buffer_bytes));
    }
    if config.delivery_timeout < LEAST_TIMEOUT {
        return Err(format!(
            "a delivery timeout of {:?} is too short: {LEAST_TIMEOUT:?} at least",
            config.delivery_timeout
        ));
    }
    let Some(Tls { ca, certificate, key, .. }) = &config.tls else { return Ok(()) };
    if certificate.is_some() != key.is_some() {
        return Err("a client certificate needs its key, and a key its certificate".to_owned());
    }
    // OpenSSL's own words for a missing file do not name it.
    for file in [ca, certificate, key].into_iter().flatten() {
        if let Err(error) = File::open(file) {
            return Err(format!("{} cannot be read: {error}", file.display()));
        }
    }
    Ok(())
}

/// What librdkafka says of a setting, without the value: that may be a password.
pub(super) fn explain(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => format!("librdkafka does not take what {name} is set to"),
        other => other.to_string(),
    }
}

/// The largest record, a little below what brokers take by default (1,048,588).
pub(super) const LARGEST_RECORD: usize = 1_000_000;

/// What all clients have in common.
pub(super) fn client(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "im")
        // A topic that somebody forgot is an error to be seen, not one to be made with the brokers' defaults.
        .set("allow.auto.create.topics", "false")
        // For so long a topic may be unknown to a broker that has not heard of it yet. The default keeps records for a
        // topic that was deleted waiting for 30 s.
        .set("topic.metadata.propagation.max.ms", "1000")
        // A broker that does not answer is given up well before the records on it are.
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("socket.keepalive.enable", "true")
        // After an outage clients come back within this time.
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        // Tells when a topic was made anew under the same name, which librdkafka takes in silence. See `Context::log`.
        .set("debug", "metadata")
        .set("log.thread.name", "false")
        .set_log_level(RDKafkaLogLevel::Debug);
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(Tls { ca, certificate, key, key_password }) = &config.tls {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        // The OpenSSL that is built in knows no system store by itself: `probe` looks where distributions keep it.
        client.set("ssl.ca.location", ca.as_ref().map_or_else(|| "probe".to_owned(), path));
        for (name, file) in [("ssl.certificate.location", certificate), ("ssl.key.location", key)] {
            if let Some(file) = file {
                client.set(name, path(file));
            }
        }
        if let Some(Password(password)) = key_password {
            client.set("ssl.key.password", password);
        }
    }
    if let Some(Sasl { mechanism, user, password: Password(password) }) = &config.sasl {
        client.set("sasl.mechanism", mechanism.name()).set("sasl.username", user).set("sasl.password", password);
    }
    client
}

/// The producer's settings.
pub(super) fn producer(config: &KafkaConfig) -> ClientConfig {
    let mut producer = client(config);
    producer
        // In order and once, whatever is retried on the way.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // What arrives while five requests are under way makes up the next batch; an idle bus waits for nothing. Any
        // lingering costs a whole millisecond, which doubles the time to the ack.
        .set("linger.ms", "0")
        // Records of some hundred bytes are no load for a network, and lz4 saved no CPU when it was tried.
        .set("compression.type", "none")
        .set("message.max.bytes", LARGEST_RECORD.to_string())
        // A topic with a smaller limit refuses a batch as a whole.
        .set("batch.size", "262144")
        .set("delivery.timeout.ms", config.delivery_timeout.as_millis().to_string())
        .set("request.timeout.ms", "5000")
        // The bound is our own, in bytes: see `Producer`. This one is out of its way.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", (2 * config.buffer_bytes / 1024).to_string());
    producer
}

/// How often the consumer is told how far its topic goes.
const STATISTICS: Duration = Duration::from_secs(2);

/// A consumer's settings.
pub(super) fn consumer(config: &KafkaConfig, topic: &str) -> ClientConfig {
    let mut consumer = client(config);
    consumer
        // librdkafka assigns nothing without the name of a group. It is never joined, and no offset is stored.
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A break is for us to see, and to go on from.
        .set("auto.offset.reset", "error")
        // Read ahead by so much; the default of 64 MiB only makes a slow server larger.
        .set("queued.max.messages.kbytes", "8192")
        // Full once, the default looks again after a whole second.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "200")
        .set("statistics.interval.ms", STATISTICS.as_millis().to_string());
    consumer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_makes_topics_by_asking_for_them() {
        let config = KafkaConfig::new("kafka:9092", "im.");
        for client in [client(&config), producer(&config), consumer(&config, "im.0")] {
            assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let mut config = KafkaConfig::new("kafka:9092", "im.");
        let password = Password::new("tiger");
        config.sasl = Some(Sasl { mechanism: SaslMechanism::Plain, user: "im".to_owned(), password: password.clone() });
        config.tls = Some(Tls { key_password: Some(password), ..Tls::default() });
        assert!(!format!("{config:?}").contains("tiger"));
        assert!(!format!("{:?}", client(&config)).contains("tiger"));
    }

    #[test]
    fn a_setting_that_cannot_work_is_told_before_anything_is_tried() {
        let wrong = |change: fn(&mut KafkaConfig)| {
            let mut config = KafkaConfig::new("kafka:9092", "im.");
            assert_eq!(check(&config), Ok(()));
            change(&mut config);
            check(&config).unwrap_err()
        };
        assert!(wrong(|config| config.brokers = " ".to_owned()).contains("no broker"));
        assert!(wrong(|config| config.topic_prefix = "im/".to_owned()).contains("\"im/\" is not possible"));
        assert!(wrong(|config| config.topic_prefix = "i".repeat(245)).contains("244 characters at most"));
        assert!(wrong(|config| config.buffer_bytes = 1).contains("too small"));
        assert!(wrong(|config| config.delivery_timeout = Duration::ZERO).contains("too short"));
        let key_alone = wrong(|config| config.tls = Some(Tls { key: Some("key.pem".into()), ..Tls::default() }));
        assert!(key_alone.contains("needs"));
        let no_file = wrong(|config| config.tls = Some(Tls { ca: Some("/no/such.pem".into()), ..Tls::default() }));
        assert!(no_file.contains("/no/such.pem cannot be read"));
    }

    #[test]
    fn a_mechanism_is_known_by_its_name() {
        for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
        }
        assert!("GSSAPI".parse::<SaslMechanism>().unwrap_err().contains("GSSAPI"));
    }
}
