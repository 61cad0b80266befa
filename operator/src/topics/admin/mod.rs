//! What the operator asks of a Kafka, and what it is answered.

mod client;
mod config;
mod native;

use std::collections::{BTreeMap, BTreeSet};

pub use client::connect;

/// How a topic is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many partitions it has.
    pub partitions: usize,
    /// On how many brokers its first partition is.
    pub replication: u16,
}

/// A setting, as it holds for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its value, as Kafka spells it.
    pub value: String,
    /// It is set on the topic itself; otherwise it is what the brokers have, and changes when theirs does.
    pub own: bool,
}

/// Settings by name.
pub type Settings = BTreeMap<String, Setting>;

/// What became of each topic of a call, by its name: one that cannot be helped fails alone.
pub type Each<T> = BTreeMap<String, Result<T, AdminError>>;

/// What became of a topic that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// There was one already: it stays as it is.
    Existed,
}

/// A Kafka, as far as the operator needs it. An `Err` of a whole call is about Kafka, not about a topic. Every call ends
/// within 5 s. Dropping it does not wait for anything.
#[async_trait::async_trait]
pub trait KafkaAdmin: Send + Sync {
    /// All topics that the user may see.
    async fn topics(&self) -> Result<BTreeMap<String, Shape>, AdminError>;

    /// The named settings of topics. One that Kafka does not know is left out.
    async fn settings(&self, topics: &BTreeSet<String>, names: &BTreeSet<String>)
    -> Result<Each<Settings>, AdminError>;

    /// Makes topics of one partition.
    async fn create(
        &self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<Each<Created>, AdminError>;

    /// Sets settings of topics, and leaves all others as they are.
    async fn set(&self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Each<()>, AdminError>;

    /// Deletes topics. One that is not there is fine.
    async fn delete(&self, topics: &BTreeSet<String>) -> Result<Each<()>, AdminError>;

    /// Whether a broker makes topics that somebody only asks about.
    async fn auto_create(&self) -> Result<bool, AdminError>;
}

/// Why Kafka did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AdminError {
    /// The user or the password is wrong, or of the wrong kind.
    #[error("Kafka refuses the login")]
    Login,
    /// TLS does not come about, or a certificate or key cannot be read.
    #[error("no TLS connection")]
    Tls,
    /// The user may not do it.
    #[error("Kafka forbids it")]
    Denied,
    /// No answer in time, or no connection.
    #[error("Kafka does not answer")]
    Unavailable,
    /// Kafka has trouble of its own; what it says.
    #[error("Kafka fails: {0}")]
    Failed(String),
    /// A setting is unknown or its value impossible; what Kafka says.
    #[error("Kafka refuses the settings: {0}")]
    Settings(String),
    /// More copies than it has brokers.
    #[error("Kafka cannot keep so many copies")]
    Replication,
    /// No topic can have this name.
    #[error("Kafka refuses the name")]
    Name,
    /// A policy that Kafka's people have set; what Kafka says.
    #[error("a policy of Kafka forbids it: {0}")]
    Policy(String),
    /// This Kafka is too old, or the deletion of topics is switched off; what Kafka says.
    #[error("this Kafka cannot do it: {0}")]
    Unsupported(String),
    /// There is no such topic.
    #[error("no such topic")]
    NoTopic,
}
