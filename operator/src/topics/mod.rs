//! The topics in Kafka: one per server id.
//!
//! Work on a Kafka is done by a task of its own, so that one that hangs holds up no reconcile. A reconcile says what it wants
//! ([`Wish`]) and reads what was last seen ([`Report`]); a report that differs from the one before causes another reconcile.

pub mod admin;
#[cfg(test)]
mod model;
pub mod plan;
mod spelling;
pub mod trouble;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imcluster_crds::SaslMechanism;
use imcluster_crds::conditions::Reason;

/// How to reach a Kafka. Clients are shared by those who reach it in the same way.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KafkaSettings {
    /// Where to begin, each `host:port`, whole names.
    pub brokers: Vec<String>,
    /// TLS; `None` is plain TCP.
    pub tls: Option<Tls>,
    /// Who the operator is; `None` is anonymous, or the certificate.
    pub sasl: Option<Sasl>,
}

/// TLS to the brokers, as PEM.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whom to trust; `None` is the system's store.
    pub ca: Option<String>,
    /// Certificate and private key, if the brokers ask for one.
    pub identity: Option<(String, String)>,
}

/// A login.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The brokers alone: the rest is secret.
impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

/// What an `ImCluster` wants of its topics. It holds until another takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Topics to look at: those of every id in `status.servers`.
    pub watch: BTreeSet<String>,
    /// Of those, what may be made where it is missing: the intent is in the status.
    pub create: BTreeSet<String>,
    /// Of those, what has to go: retired, made by the operator, and nobody can write to it any more.
    pub delete: BTreeSet<String>,
    /// Settings that are kept on what is watched and not deleted; empty where the operator touches no topic.
    pub config: BTreeMap<String, String>,
    /// Copies of a topic that is made.
    pub replication: u16,
}

/// What was last seen of a wish's topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The wish that it answers: a topic that is not in `topics` was not looked at yet.
    pub wish: Wish,
    /// By name, what there is.
    pub topics: BTreeMap<String, Seen>,
    /// What was made in the round that it ended.
    pub made: BTreeSet<String>,
    /// What does not work, worst first. The rest goes on meanwhile.
    pub troubles: Vec<Trouble>,
    /// A broker makes topics that somebody only asks about: a warning.
    pub auto_create: bool,
}

impl Report {
    /// What of it holds while another wish takes the place of its own: nothing of a topic that was to be made or deleted and is
    /// not any more, or the other way round, before it is looked at again. What was made is no news any more.
    #[must_use]
    pub fn under(mut self, wish: &Wish) -> Self {
        let use_of = |wish: &Wish, name: &String| (wish.create.contains(name), wish.delete.contains(name));
        let Self { wish: own, topics, .. } = &mut self;
        topics.retain(|name, _| use_of(own, name) == use_of(wish, name));
        self.made.clear();
        self
    }
}

/// What there is of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// None of this name.
    Absent,
    /// It is there.
    Present {
        /// Its settings are those of the wish. Always, where the wish has none.
        as_wished: bool,
    },
}

/// Something that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One of those of the condition `TopicsReady`.
    pub reason: Reason,
    /// What is wrong, and what to do. No addresses, no counters: it becomes the message of a condition.
    pub message: String,
}

/// Where a reconcile says what it wants, and reads what there is. Neither waits.
pub trait Topics: Send + Sync {
    /// Sets the wish of an `ImCluster`, by its UID, and gives what was last seen of its topics: `None` before the first look.
    fn wish(&self, cluster: &str, kafka: &KafkaSettings, wish: Wish) -> Option<Arc<Report>>;

    /// Forgets an `ImCluster`.
    fn forget(&self, cluster: &str);
}
