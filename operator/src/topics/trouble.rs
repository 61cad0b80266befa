//! What does not work, in words for people.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::conditions::Reason;

use super::Trouble;
use super::admin::AdminError;

/// What was tried with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Its settings were asked for.
    Describe,
    /// It was to be made.
    Create,
    /// Its settings were to be changed.
    Alter,
    /// It was to be deleted.
    Delete,
}

/// Why something is not as it should be, worst first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// Kafka as a whole.
    Kafka(AdminError),
    /// Kafka says that a topic exists, and does not show it.
    Hidden,
    /// Kafka did not do as asked.
    Refused(AdminError, Act),
    /// More than one partition.
    Partitions,
    /// Not as many copies as the spec wants.
    Replication,
}

/// Problems, each with the topics that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(BTreeMap<Problem, BTreeSet<String>>);

impl Problems {
    /// A problem with Kafka itself.
    pub fn with_kafka(error: AdminError) -> Self {
        Self(BTreeMap::from([(Problem::Kafka(error), BTreeSet::new())]))
    }

    /// Adds the problem of a topic.
    pub fn add(&mut self, problem: Problem, topic: &str) {
        self.0.entry(problem).or_default().insert(topic.to_owned());
    }

    /// Adds those of others.
    pub fn extend(&mut self, others: Self) {
        for (problem, topics) in others.0 {
            self.0.entry(problem).or_default().extend(topics);
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One trouble per problem, worst first.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles: Vec<_> = self.0.iter().map(|(problem, topics)| trouble(problem, topics)).collect();
        troubles.sort_by_key(|trouble| severity(trouble.reason));
        troubles
    }
}

/// Worst is what keeps most from working.
fn severity(reason: Reason) -> u8 {
    match reason {
        Reason::KafkaDenied => 0,
        Reason::KafkaUnavailable => 1,
        Reason::TopicRejected => 2,
        _ => 3,
    }
}

fn trouble(problem: &Problem, topics: &BTreeSet<String>) -> Trouble {
    let names = names(topics);
    let (reason, message) = match problem {
        Problem::Kafka(error) => failure(error, "look at its topics", "Kafka"),
        Problem::Hidden => (
            Reason::KafkaDenied,
            format!(
                "Kafka has {names} already, but does not show it to the operator's user: allow the user Describe on topics \
                 of this prefix"
            ),
        ),
        Problem::Refused(error, act) => failure(error, &attempt(*act, &names), &names),
        Problem::Partitions => (
            Reason::NotSupported,
            format!(
                "There is more than one partition in {names}, and Kafka cannot take partitions away: records get lost that \
                 others write into them. Choose another prefix, or delete the topic while its gateway does not run: it is \
                 made again"
            ),
        ),
        Problem::Replication => (
            Reason::NotSupported,
            format!(
                "There are other copies of {names} than spec.kafka.topics.replicationFactor says, which counts when a topic \
                 is made: change them with kafka-reassign-partitions, or the spec"
            ),
        ),
    };
    Trouble { reason, message }
}

fn attempt(act: Act, names: &str) -> String {
    match act {
        Act::Describe => format!("read the settings of {names} (DescribeConfigs)"),
        Act::Create => format!("make {names} (Create)"),
        Act::Alter => format!("change the settings of {names} (AlterConfigs)"),
        Act::Delete => format!("delete {names} (Delete)"),
    }
}

fn failure(error: &AdminError, attempt: &str, names: &str) -> (Reason, String) {
    match error {
        AdminError::Login => (
            Reason::KafkaDenied,
            "Kafka refuses the login: check user, password and mechanism in spec.kafka.sasl, and that this listener of \
             Kafka wants a login"
                .to_owned(),
        ),
        AdminError::Tls => (
            Reason::KafkaDenied,
            "No TLS connection to Kafka comes about: check in spec.kafka.tls whom the operator trusts and, if Kafka asks \
             for one, its certificate and key; and that this listener of Kafka talks TLS"
                .to_owned(),
        ),
        AdminError::Denied => (
            Reason::KafkaDenied,
            format!("Kafka forbids the operator's user to {attempt}: allow it on topics of this prefix"),
        ),
        AdminError::Unavailable => (
            Reason::KafkaUnavailable,
            "Kafka does not answer: check that it runs, spec.kafka.bootstrapServers, and that this listener of Kafka talks TLS \
             and wants a login as spec.kafka says. Gateways that run go on"
                .to_owned(),
        ),
        AdminError::Failed(said) => {
            (Reason::KafkaUnavailable, format!("Kafka fails to {attempt}: {said}. It is tried again"))
        }
        AdminError::NoTopic => {
            (Reason::KafkaUnavailable, format!("Kafka does not agree with itself whether there is {names}"))
        }
        AdminError::Settings(said) => (
            Reason::TopicRejected,
            format!("Kafka refuses the settings of {names}: {said}. Check spec.kafka.topics.config"),
        ),
        AdminError::Replication => (
            Reason::TopicRejected,
            format!(
                "Kafka cannot make {names} with so many copies: spec.kafka.topics.replicationFactor is more than it has \
                 brokers"
            ),
        ),
        AdminError::Name => (
            Reason::TopicRejected,
            format!(
                "Kafka refuses the name of {names}: it may be too long, or differ from another one's only by a dot and an \
                 underscore. Choose another prefix"
            ),
        ),
        AdminError::Policy(said) => (
            Reason::TopicRejected,
            format!("A policy of this Kafka does not let the operator {attempt}: {said}. Change spec.kafka.topics"),
        ),
        AdminError::Unsupported(said) => {
            (Reason::NotSupported, format!("This Kafka cannot {attempt}: {said}"))
        }
    }
}

/// Topics by name; of many the first, for a message that stays the same while their number changes.
fn names(topics: &BTreeSet<String>) -> String {
    let mut names = topics.iter();
    match (names.next(), names.next()) {
        (Some(one), None) => format!("topic {one}"),
        (Some(one), Some(_)) => format!("topic {one} and others"),
        (None, _) => "no topic".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: AdminError, act: Act) -> Trouble {
        let mut problems = Problems::default();
        problems.add(Problem::Refused(error, act), "im.0");
        problems.troubles().remove(0)
    }

    #[test]
    fn every_error_has_the_reason_that_says_who_can_help() {
        let reason = |error| told(error, Act::Create).reason;
        let said = || "said".to_owned();
        assert_eq!(reason(AdminError::Login), Reason::KafkaDenied);
        assert_eq!(reason(AdminError::Tls), Reason::KafkaDenied);
        assert_eq!(reason(AdminError::Denied), Reason::KafkaDenied);
        assert_eq!(reason(AdminError::Unavailable), Reason::KafkaUnavailable);
        assert_eq!(reason(AdminError::Failed(said())), Reason::KafkaUnavailable);
        assert_eq!(reason(AdminError::NoTopic), Reason::KafkaUnavailable);
        assert_eq!(reason(AdminError::Settings(said())), Reason::TopicRejected);
        assert_eq!(reason(AdminError::Replication), Reason::TopicRejected);
        assert_eq!(reason(AdminError::Name), Reason::TopicRejected);
        assert_eq!(reason(AdminError::Policy(said())), Reason::TopicRejected);
        assert_eq!(reason(AdminError::Unsupported(said())), Reason::NotSupported);
    }

    #[test]
    fn a_trouble_says_what_was_tried_with_which_topic_and_what_kafka_said() {
        assert!(told(AdminError::Denied, Act::Create).message.contains("make topic im.0 (Create)"));
        assert!(told(AdminError::Denied, Act::Delete).message.contains("delete topic im.0 (Delete)"));
        let refused = told(AdminError::Settings("Invalid value x".to_owned()), Act::Alter).message;
        assert!(refused.contains("topic im.0: Invalid value x. Check spec.kafka.topics.config"), "{refused}");
    }

    #[test]
    fn troubles_of_one_kind_are_one_that_does_not_count_and_the_worst_comes_first() {
        let mut problems = Problems::default();
        for topic in ["im.0", "im.1", "im.2"] {
            problems.add(Problem::Partitions, topic);
        }
        problems.add(Problem::Refused(AdminError::Replication, Act::Create), "im.3");
        problems.add(Problem::Hidden, "im.4");
        let troubles = problems.troubles();
        let reasons: Vec<_> = troubles.iter().map(|trouble| trouble.reason).collect();
        assert_eq!(reasons, [Reason::KafkaDenied, Reason::TopicRejected, Reason::NotSupported]);
        assert!(troubles[2].message.contains("topic im.0 and others"));
        problems.add(Problem::Partitions, "im.5");
        assert_eq!(problems.troubles(), troubles);
    }
}
