//! A Kafka that is reached by librdkafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use async_trait::async_trait;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::config::{self, ANSWER};
use super::native::{self, Answer, Client, Failure, Kind};
use super::{AdminError, Created, Each, KafkaAdmin, Setting, Settings, Shape};
use crate::topics::KafkaSettings;

/// A client of a Kafka. Nothing is asked yet: a Kafka that is away is noticed by the first call. Reads certificates, which
/// takes some milliseconds.
pub fn connect(settings: &KafkaSettings) -> Result<Arc<dyn KafkaAdmin>, AdminError> {
    let client: KafkaResult<Client> = config::client(settings).create();
    match client {
        Ok(client) => Ok(Arc::new(RdKafka { client: Some(Arc::new(client)), broker: AtomicI32::new(NO_BROKER) })),
        // Only certificates and keys are looked into at this point. The error holds the value: it is not for a log.
        Err(_) if settings.tls.is_some() => Err(AdminError::Tls),
        Err(KafkaError::ClientConfig(_, _, name, _)) => {
            Err(AdminError::Failed(format!("librdkafka does not take what {name} is set to")))
        }
        Err(error) => Err(AdminError::Failed(error.to_string())),
    }
}

/// No broker has told its number yet.
const NO_BROKER: i32 = -1;

/// The setting of a broker that makes topics of questions.
const AUTO_CREATE: &str = "auto.create.topics.enable";

struct RdKafka {
    /// Always there, until it is dropped.
    client: Option<Arc<Client>>,
    /// One of the brokers that were last seen.
    broker: AtomicI32,
}

impl Drop for RdKafka {
    fn drop(&mut self) {
        // librdkafka waits for its threads.
        let client = self.client.take();
        std::thread::spawn(move || drop(client));
    }
}

impl RdKafka {
    fn client(&self) -> &Arc<Client> {
        self.client.as_ref().expect("it is taken only when this is dropped")
    }

    /// Calls what blocks, on a thread where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client) -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let client = Arc::clone(self.client());
        // It fails only when the process ends, or by a panic, which is told by then.
        tokio::task::spawn_blocking(move || call(&client)).await.map_err(|_| AdminError::Unavailable)
    }

    /// A call that is not answered says only that time has run out; why, the connections have said before.
    fn explain<T>(&self, result: Result<T, AdminError>) -> Result<T, AdminError> {
        let complaints = native::complaints(self.client());
        result.map_err(|error| if error == AdminError::Unavailable { cause(&complaints) } else { error })
    }

    /// The answers about topics, by name, with an error for each that there is no answer about.
    fn each<T>(&self, topics: &BTreeSet<String>, answers: Result<Each<T>, AdminError>) -> Result<Each<T>, AdminError> {
        let mut each = self.explain(answers)?;
        let missing = topics.iter().filter(|topic| !each.contains_key(*topic)).cloned().collect::<Vec<_>>();
        each.extend(missing.into_iter().map(|topic| (topic, Err(AdminError::Failed("no answer".to_owned())))));
        Ok(each)
    }
}

#[async_trait]
impl KafkaAdmin for RdKafka {
    async fn topics(&self) -> Result<BTreeMap<String, Shape>, AdminError> {
        let seen = self.blocking(|client| client.inner().fetch_metadata(None, ANSWER).map(|seen| summary(&seen))).await;
        let (broker, topics) = self.explain(seen.and_then(|seen| seen.map_err(|error| whole(&error))))?;
        self.broker.store(broker, Ordering::Relaxed);
        Ok(topics)
    }

    async fn settings(
        &self,
        topics: &BTreeSet<String>,
        names: &BTreeSet<String>,
    ) -> Result<Each<Settings>, AdminError> {
        let (of, named) = (topics.clone(), names.clone());
        let asked = move |client: &Client| {
            let of = of.iter().map(String::as_str);
            native::describe(client, Kind::Topic, of, &named)
        };
        let answers = self.blocking(asked).await.and_then(|answers| by_topic(topics, answers, settings));
        self.each(topics, answers)
    }

    async fn create(
        &self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<Each<Created>, AdminError> {
        let new = |topic| {
            let new = NewTopic::new(topic, 1, TopicReplication::Fixed(i32::from(replication)));
            config.iter().fold(new, |new, (name, value)| new.set(name, value))
        };
        let new: Vec<NewTopic<'_>> = topics.iter().map(|topic| new(topic)).collect();
        let called = self.client().create_topics(&new, &options());
        let fine = |result| match result {
            Ok(name) => (name, Ok(Created::New)),
            Err((name, Code::TopicAlreadyExists)) => (name, Ok(Created::Existed)),
            Err((name, code)) => (name, Err(error(code, ""))),
        };
        self.each(topics, topic_results(topics, called.await, fine))
    }

    async fn set(&self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Each<()>, AdminError> {
        let topics = changes.keys().cloned().collect();
        let changes = changes.clone();
        let answers = self.blocking(move |client| native::alter(client, &changes)).await;
        let answers = answers.and_then(|answers| by_topic(&topics, answers, |_| ()));
        self.each(&topics, answers)
    }

    async fn delete(&self, topics: &BTreeSet<String>) -> Result<Each<()>, AdminError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let called = self.client().delete_topics(&names, &options());
        let fine = |result| match result {
            Ok(name) | Err((name, Code::UnknownTopicOrPartition)) => (name, Ok(())),
            Err((name, code)) => (name, Err(error(code, ""))),
        };
        self.each(topics, topic_results(topics, called.await, fine))
    }

    async fn auto_create(&self) -> Result<bool, AdminError> {
        if self.broker.load(Ordering::Relaxed) == NO_BROKER {
            self.topics().await?;
        }
        let broker = self.broker.load(Ordering::Relaxed).to_string();
        let name = broker.clone();
        let asked = move |client: &Client| {
            native::describe(client, Kind::Broker, [name.as_str()], &BTreeSet::from([AUTO_CREATE.to_owned()]))
        };
        let brokers = BTreeSet::from([broker]);
        let answers = self.blocking(asked).await.and_then(|answers| by_topic(&brokers, answers, settings));
        let settings = self.each(&brokers, answers)?.into_values().collect::<Result<Vec<_>, _>>()?;
        Ok(settings.iter().any(|settings| settings.get(AUTO_CREATE).is_some_and(|setting| setting.value == "true")))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

/// A broker, and the topics.
fn summary(seen: &Metadata) -> (i32, BTreeMap<String, Shape>) {
    let shape = |topic: &MetadataTopic| {
        let partitions = topic.partitions();
        let replication = partitions.first().map_or(0, |partition| partition.replicas().len());
        Shape { partitions: partitions.len(), replication: u16::try_from(replication).unwrap_or(u16::MAX) }
    };
    // One with an error is on its way, to be or not to be: the next look tells.
    let topics = seen.topics().iter().filter(|topic| topic.error().is_none());
    let broker = seen.brokers().first().map_or(NO_BROKER, rdkafka::metadata::MetadataBroker::id);
    (broker, topics.map(|topic| (topic.name().to_owned(), shape(topic))).collect())
}

fn settings(entries: Vec<native::Entry>) -> Settings {
    let setting = |entry: native::Entry| {
        let own = entry.on_topic;
        entry.value.map(|value| (entry.name, Setting { value, own }))
    };
    entries.into_iter().filter_map(setting).collect()
}

/// What was answered, by topic. What could not even be asked is each topic's own fault, not Kafka's.
fn by_topic<T>(
    topics: &BTreeSet<String>,
    answers: Result<Vec<Answer>, Failure>,
    read: impl Fn(Vec<native::Entry>) -> T,
) -> Result<Each<T>, AdminError> {
    let read = |answer: Answer| (answer.name, answer.result.map(&read).map_err(|(code, said)| error(code, &said)));
    match answers {
        Ok(answers) => Ok(answers.into_iter().map(read).collect()),
        Err(Failure::Unsendable(why)) => Ok(refused(topics, &why)),
        Err(Failure::Kafka(code)) => Err(error(code, "")),
    }
}

/// The same for what rdkafka itself answers.
fn topic_results<T>(
    topics: &BTreeSet<String>,
    called: KafkaResult<Vec<TopicResult>>,
    read: impl Fn(TopicResult) -> (String, Result<T, AdminError>),
) -> Result<Each<T>, AdminError> {
    match called {
        Ok(results) => Ok(results.into_iter().map(read).collect()),
        Err(KafkaError::Nul(_)) => Ok(refused(topics, "a NUL character in a name or a value")),
        Err(KafkaError::AdminOpCreation(why)) => Ok(refused(topics, &why)),
        Err(error) => Err(whole(&error)),
    }
}

fn refused<T>(topics: &BTreeSet<String>, why: &str) -> Each<T> {
    topics.iter().map(|topic| (topic.clone(), Err(AdminError::Settings(why.to_owned())))).collect()
}

fn whole(failure: &KafkaError) -> AdminError {
    match failure {
        KafkaError::AdminOp(code) | KafkaError::MetadataFetch(code) | KafkaError::Global(code) => error(*code, ""),
        other => AdminError::Failed(other.to_string()),
    }
}

/// What a code means. `said` is Kafka's own text, if it gave one.
fn error(code: Code, said: &str) -> AdminError {
    let text = || if said.is_empty() { code.to_string() } else { said.to_owned() };
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => AdminError::Login,
        Code::SSL => AdminError::Tls,
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => AdminError::Denied,
        Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::NetworkException
        | Code::BrokerNotAvailable => AdminError::Unavailable,
        Code::InvalidConfig | Code::InvalidRequest => AdminError::Settings(text()),
        Code::InvalidReplicationFactor | Code::InvalidReplicaAssignment => AdminError::Replication,
        Code::InvalidTopic => AdminError::Name,
        Code::PolicyViolation => AdminError::Policy(text()),
        Code::UnsupportedFeature | Code::UnsupportedVersion | Code::TopicDeletionDisabled => {
            AdminError::Unsupported(text())
        }
        Code::UnknownTopicOrPartition => AdminError::NoTopic,
        _ => AdminError::Failed(text()),
    }
}

/// Why nobody answers, of what the connections have said: a login that one broker refuses outweighs others that are away.
fn cause(complaints: &[Code]) -> AdminError {
    let causes = complaints.iter().map(|code| error(*code, ""));
    causes.filter(|error| matches!(error, AdminError::Login | AdminError::Tls)).min().unwrap_or(AdminError::Unavailable)
}

#[cfg(test)]
mod tests {
    use imcluster_crds::SaslMechanism;

    use super::*;
    use crate::topics::{Sasl, Tls};

    #[test]
    fn every_answer_of_kafka_has_its_meaning() {
        let meaning = |code| error(code, "says Kafka");
        assert_eq!(meaning(Code::SaslAuthenticationFailed), AdminError::Login);
        assert_eq!(meaning(Code::SSL), AdminError::Tls);
        assert_eq!(meaning(Code::TopicAuthorizationFailed), AdminError::Denied);
        assert_eq!(meaning(Code::ClusterAuthorizationFailed), AdminError::Denied);
        assert_eq!(meaning(Code::OperationTimedOut), AdminError::Unavailable);
        assert_eq!(meaning(Code::BrokerTransportFailure), AdminError::Unavailable);
        assert_eq!(meaning(Code::InvalidConfig), AdminError::Settings("says Kafka".to_owned()));
        assert_eq!(meaning(Code::InvalidReplicationFactor), AdminError::Replication);
        assert_eq!(meaning(Code::InvalidTopic), AdminError::Name);
        assert_eq!(meaning(Code::PolicyViolation), AdminError::Policy("says Kafka".to_owned()));
        assert_eq!(meaning(Code::TopicDeletionDisabled), AdminError::Unsupported("says Kafka".to_owned()));
        assert_eq!(meaning(Code::UnsupportedFeature), AdminError::Unsupported("says Kafka".to_owned()));
        assert_eq!(meaning(Code::UnknownTopicOrPartition), AdminError::NoTopic);
        assert_eq!(meaning(Code::Unknown), AdminError::Failed("says Kafka".to_owned()));
    }

    #[test]
    fn a_call_that_nobody_answers_is_explained_by_what_the_connections_said() {
        assert_eq!(cause(&[]), AdminError::Unavailable);
        assert_eq!(cause(&[Code::BrokerTransportFailure, Code::Resolve]), AdminError::Unavailable);
        assert_eq!(cause(&[Code::BrokerTransportFailure, Code::SSL]), AdminError::Tls);
        assert_eq!(cause(&[Code::Authentication, Code::BrokerTransportFailure]), AdminError::Login);
    }

    #[test]
    fn a_certificate_that_is_none_is_told_when_connecting_and_never_shown() {
        let tls = Tls { ca: Some("no certificate".to_owned()), identity: None };
        let sasl = Sasl { mechanism: SaslMechanism::Plain, user: "im".to_owned(), password: "tiger".to_owned() };
        let settings = KafkaSettings { brokers: vec!["kafka:9093".to_owned()], tls: Some(tls), sasl: Some(sasl) };
        let error = connect(&settings).err().unwrap();
        assert_eq!(error, AdminError::Tls);
        assert!(!format!("{error:?} {error} {settings:?}").contains("tiger"));
    }
}
