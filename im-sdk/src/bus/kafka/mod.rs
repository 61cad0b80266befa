//! The bus on Kafka: one topic with one partition per server id.
//!
//! The producer is idempotent and waits for all in-sync replicas. A subscriber assigns its partition by hand, at the end it
//! has asked for; nobody joins a group or commits an offset. Whatever breaks the row of offsets is a [`Delivery::Gap`].
//!
//! [`Delivery::Gap`]: super::Delivery::Gap

mod config;
mod context;
mod position;
mod producer;
mod subscription;
mod topics;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use im_protocol::ServerId;
use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::config::LARGEST_RECORD;
use self::context::Context;
use self::producer::{Acked, Connected, Producer, code};
use self::subscription::Progress;
use self::topics::{Known, Topics};
use super::{Bus, BusError, Outgoing, Subscription, TopicStatus};

pub use config::{KafkaConfig, NewTopics, Password, Sasl, SaslMechanism, Tls};

/// How long Kafka has to answer when a bus is made.
const CONNECT: Duration = Duration::from_secs(10);

/// How often a bus that is being made looks whether it was refused.
const LOOK: Duration = Duration::from_millis(250);

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum KafkaConnectError {
    /// The settings cannot work.
    #[error("Kafka settings: {0}")]
    Settings(String),
    /// Nobody answered.
    #[error("Kafka at {brokers} does not answer (are host, port, TLS and SASL as the brokers have them?): {reason}")]
    Unreachable {
        /// Who was asked.
        brokers: String,
        /// What became of it.
        reason: String,
    },
    /// The brokers do not want us, or we do not trust them: credentials or certificates.
    #[error("Kafka at {brokers} refuses: {reason}")]
    Refused {
        /// Who was asked.
        brokers: String,
        /// What they say.
        reason: String,
    },
}

/// Records through Kafka.
pub struct KafkaBus {
    config: Arc<KafkaConfig>,
    producer: Producer,
    topics: Topics,
    readers: Mutex<HashMap<ServerId, Reader>>,
    /// Ends the subscriptions with the bus.
    closed: DropGuard,
}

/// The newest subscription of a server in this process.
struct Reader {
    over: CancellationToken,
    progress: Arc<Progress>,
}

impl KafkaBus {
    /// Reaches Kafka. Fails when nobody answers within ten seconds.
    pub async fn connect(config: KafkaConfig) -> Result<Self, KafkaConnectError> {
        config::check(&config).map_err(KafkaConnectError::Settings)?;
        let producer = Producer::new(&config).map_err(|error| KafkaConnectError::Settings(config::explain(&error)))?;
        let connected = producer.connected();
        let brokers = config.brokers.clone();
        tokio::task::spawn_blocking(move || answered(&connected, brokers))
            .await
            .unwrap_or_else(|error| Err(KafkaConnectError::Settings(error.to_string())))?;
        Ok(Self {
            config: Arc::new(config),
            producer,
            topics: Topics::default(),
            readers: Mutex::default(),
            closed: CancellationToken::new().drop_guard(),
        })
    }

    /// Whether a server has a topic to publish to.
    async fn find_topic(&self, server: ServerId, topic: &str) -> Result<(), BusError> {
        match self.topics.known(server) {
            Some(Known::There) => return Ok(()),
            Some(Known::MissingSince(_)) => return Err(BusError::NoTopic(server)),
            None => {}
        }
        let (connected, topic) = (self.producer.connected(), topic.to_owned());
        let context = connected.context().clone();
        match tokio::task::spawn_blocking(move || topics::exists(connected.client(), &topic)).await {
            Ok(Ok(true)) => {
                self.topics.learn(server, Known::There);
                Ok(())
            }
            Ok(Ok(false)) => {
                self.topics.learn(server, Known::MissingSince(Instant::now()));
                Err(BusError::NoTopic(server))
            }
            Ok(Err(error)) => Err(failure(server, &self.config, &context, code(&error))),
            Err(error) => Err(BusError::Unavailable(error.to_string())),
        }
    }

    /// Publishes the records of one server, in order.
    async fn publish_to(
        &self,
        server: ServerId,
        records: Vec<(usize, Outgoing)>,
    ) -> Vec<(usize, Result<(), BusError>)> {
        let topic = self.config.topic(server);
        if let Err(error) = self.find_topic(server, &topic).await {
            return records.into_iter().map(|(n, _)| (n, Err(error.clone()))).collect();
        }
        let mut under_way: Vec<(usize, Result<Acked, RDKafkaErrorCode>)> = Vec::with_capacity(records.len());
        for (n, outgoing) in records {
            let key = outgoing.key.as_ref().map_or("", |conversation| conversation.as_str());
            let payload = serde_json::to_vec(&*outgoing.record).expect("a record is always JSON");
            under_way.push((n, self.producer.send(&topic, key, &payload).await));
        }
        let mut results = Vec::with_capacity(under_way.len());
        for (n, acked) in under_way {
            let outcome = match acked {
                // A client that ended before it could say what became of a record.
                Ok(acked) => acked.await.unwrap_or(Err(RDKafkaErrorCode::PurgeInflight)),
                Err(code) => Err(code),
            };
            results.push((n, outcome.map_err(|code| self.failed(server, code))));
        }
        results
    }

    fn failed(&self, server: ServerId, code: RDKafkaErrorCode) -> BusError {
        let error = failure(server, &self.config, self.producer.connected().context(), code);
        if matches!(error, BusError::NoTopic(_)) {
            self.topics.learn(server, Known::MissingSince(Instant::now()));
        }
        error
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<(), BusError>> {
        let began = Instant::now();
        let mut results = vec![Ok(()); records.len()];
        let mut by_server = BTreeMap::<_, Vec<_>>::new();
        for (n, outgoing) in records.into_iter().enumerate() {
            by_server.entry(outgoing.server).or_default().push((n, outgoing));
        }
        // Side by side, so that a topic that has to be asked for first holds up no other.
        let topics = by_server.into_iter().map(|(server, records)| self.publish_to(server, records));
        for (n, result) in join_all(topics).await.into_iter().flatten() {
            if let Err(error) = &result {
                metrics::counter!("im_bus_errors_total", "reason" => error.reason()).increment(1);
            }
            results[n] = result;
        }
        let published = results.iter().filter(|result| result.is_ok()).count();
        metrics::counter!("im_bus_records_total", "direction" => "published").increment(published as u64);
        metrics::histogram!("im_bus_publish_seconds").record(began.elapsed());
        results
    }

    async fn subscribe(&self, server: ServerId) -> Result<Box<dyn Subscription>, BusError> {
        let over = self.closed.token().child_token();
        let subscription = subscription::subscribe(self.config.clone(), server, over.clone()).await?;
        let reader = Reader { over, progress: subscription.progress() };
        if let Some(earlier) = self.readers.lock().insert(server, reader) {
            earlier.over.cancel();
        }
        Ok(Box::new(subscription))
    }

    fn topic(&self, server: ServerId) -> Option<TopicStatus> {
        let readers = self.readers.lock();
        let reader = readers.get(&server).filter(|reader| !reader.over.is_cancelled());
        Some(TopicStatus { name: self.config.topic(server), lag: reader.map(|reader| reader.progress.lag()) })
    }
}

/// Waits until Kafka has said who it is. Blocks.
fn answered(connected: &Connected, brokers: String) -> Result<(), KafkaConnectError> {
    let deadline = Instant::now() + CONNECT;
    while Instant::now() < deadline {
        if connected.client().fetch_cluster_id(LOOK).is_some() {
            return Ok(());
        }
        if connected.context().is_refused() {
            let reason = connected.context().trouble().unwrap_or_default();
            return Err(KafkaConnectError::Refused { brokers, reason });
        }
    }
    let reason = connected.context().trouble().unwrap_or_else(|| format!("nothing came within {CONNECT:?}"));
    Err(KafkaConnectError::Unreachable { brokers, reason })
}

/// What an error of librdkafka means to whoever publishes or reads.
fn failure(server: ServerId, config: &KafkaConfig, context: &Context, code: RDKafkaErrorCode) -> BusError {
    match code {
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => BusError::NoTopic(server),
        RDKafkaErrorCode::MessageSizeTooLarge => BusError::TooLarge { server, largest: LARGEST_RECORD },
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::Authentication
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidReplicationFactor => {
            BusError::Refused(format!("{code} (topic {})", config.topic(server)))
        }
        _ => {
            let why = context.trouble().map_or_else(String::new, |trouble| format!(": {trouble}"));
            BusError::Unavailable(format!("Kafka at {}: {code}{why}", config.brokers))
        }
    }
}
