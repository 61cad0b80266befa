//! Whether a server has a topic, and how it gets one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use im_protocol::ServerId;
use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::config::{self, KafkaConfig, NewTopics};
use super::context::Context;

/// How long a question about a topic may take. A broker that is up answers in milliseconds.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long a topic is believed to be missing: records to it fail at once meanwhile, instead of asking for each.
const MISSING: Duration = Duration::from_secs(1);

/// Between two looks for a topic that was just made.
const SOON: Duration = Duration::from_millis(50);

/// What is known of the topics that records go to.
#[derive(Default)]
pub(super) struct Topics(Mutex<HashMap<ServerId, Known>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    There,
    MissingSince(Instant),
}

impl Topics {
    /// What is known, if it is still to be believed.
    pub(super) fn known(&self, server: ServerId) -> Option<Known> {
        let known = self.0.lock().get(&server).copied();
        known.filter(|known| !matches!(known, Known::MissingSince(at) if at.elapsed() > MISSING))
    }

    pub(super) fn learn(&self, server: ServerId, known: Known) {
        self.0.lock().insert(server, known);
    }
}

/// Asks whether a topic exists. Blocks up to [`ANSWER`].
pub(super) fn exists<C: ClientContext>(client: &Client<C>, topic: &str) -> KafkaResult<bool> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.and_then(rdkafka::metadata::MetadataTopic::error).map(RDKafkaErrorCode::from) {
        None => Ok(found.is_some_and(|found| !found.partitions().is_empty())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(false),
        // It is being made, or its leader changes.
        Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(true),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}

/// Makes a topic; one that is there stays as it is.
pub(super) async fn create(config: &KafkaConfig, topics: NewTopics, topic: &str) -> KafkaResult<()> {
    let client: AdminClient<Context> = config::client(config).create_with_context(Context::default())?;
    let retention = topics.retention.as_millis().to_string();
    // -1: as many copies as the brokers make by default.
    let copies = topics.replication_factor.map_or(-1, |copies| i32::from(copies.get()));
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(copies))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        // Only closed segments are deleted.
        .set("segment.ms", &retention);
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    for result in client.create_topics([&new], &options).await? {
        match result {
            Ok(_) => tracing::info!(topic, "made the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}

/// Waits until a topic that was made is there: brokers hear of it one after the other. Blocks up to [`ANSWER`].
pub(super) fn wait_for<C: ClientContext>(client: &Client<C>, topic: &str) -> KafkaResult<()> {
    let began = Instant::now();
    loop {
        match client.fetch_watermarks(topic, 0, ANSWER) {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > ANSWER => return Err(error),
            Err(_) => std::thread::sleep(SOON),
        }
    }
}
