//! Records on their way to Kafka: bounded, in order, each with its ack.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::config::{self, KafkaConfig, LARGEST_RECORD};
use super::context::{Ack, Context};

/// What a record takes beside its bytes: the message in librdkafka, the ack here.
const OVERHEAD: usize = 512;

/// What room is counted in.
const KIB: usize = 1024;

/// Waits for the ack of one record.
pub(super) type Acked = oneshot::Receiver<Result<(), RDKafkaErrorCode>>;

/// The producer of one process.
pub(super) struct Producer {
    settings: ClientConfig,
    delivery_timeout: Duration,
    room: Arc<Semaphore>,
    current: Mutex<Arc<Connected>>,
}

/// One librdkafka producer, which is one producer id at the brokers.
pub(super) struct Connected {
    client: ThreadedProducer<Context>,
    context: Context,
}

impl Connected {
    fn new(settings: &ClientConfig) -> KafkaResult<Self> {
        let context = Context::default();
        Ok(Self { client: settings.create_with_context(context.clone())?, context })
    }

    pub(super) fn client(&self) -> &Client<Context> {
        self.client.client()
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Lets what is under way come to its end, then ends the client. Blocks.
    fn retire(&self, within: Duration) {
        if let Err(error) = self.client.flush(within) {
            tracing::debug!(%error, "a producer that was replaced had records left");
        }
    }
}

impl Producer {
    pub(super) fn new(config: &KafkaConfig) -> KafkaResult<Self> {
        let settings = config::producer(config);
        let current = Mutex::new(Arc::new(Connected::new(&settings)?));
        let room = Arc::new(Semaphore::new(config.buffer_bytes / KIB));
        Ok(Self { settings, delivery_timeout: config.delivery_timeout, room, current })
    }

    /// The client to use now.
    ///
    /// One that is broken is replaced, and so is one whose topic or cluster was made anew: the brokers forgot its producer
    /// id and may have given it to another, whose records they would take for ours, and ours for doubles.
    pub(super) fn connected(&self) -> Arc<Connected> {
        let mut current = self.current.lock();
        if current.context.has_to_be_replaced() {
            match Connected::new(&self.settings) {
                Ok(fresh) => {
                    let old = std::mem::replace(&mut *current, Arc::new(fresh));
                    tracing::info!("a new Kafka producer takes over");
                    let within = self.delivery_timeout;
                    tokio::task::spawn_blocking(move || old.retire(within));
                }
                // The same settings worked before: the process has run out of something. Tried again with the next record.
                Err(error) => tracing::error!(%error, "no new Kafka producer can be made"),
            }
        }
        current.clone()
    }

    /// Puts a record on its way, as soon as there is room.
    pub(super) async fn send(&self, topic: &str, key: &str, payload: &[u8]) -> Result<Acked, RDKafkaErrorCode> {
        if payload.len() + key.len() + OVERHEAD > LARGEST_RECORD {
            return Err(RDKafkaErrorCode::MessageSizeTooLarge);
        }
        let takes = (payload.len() + key.len() + OVERHEAD).div_ceil(KIB);
        // A record is below 1 MiB, so this is below 1,024; and nobody closes the semaphore.
        let takes = u32::try_from(takes).expect("a record is small");
        let room = self.room.clone().acquire_many_owned(takes).await.expect("never closed");
        let connected = self.connected();
        match connected.enqueue(topic, key, payload, room) {
            Err((RDKafkaErrorCode::Fatal, room)) => {
                connected.context.mark_broken();
                self.connected().enqueue(topic, key, payload, room).map_err(|(code, _)| code)
            }
            other => other.map_err(|(code, _)| code),
        }
    }
}

impl Connected {
    fn enqueue(
        &self,
        topic: &str,
        key: &str,
        payload: &[u8],
        room: OwnedSemaphorePermit,
    ) -> Result<Acked, (RDKafkaErrorCode, OwnedSemaphorePermit)> {
        let (done, acked) = oneshot::channel();
        let ack = Box::new(Ack { done, room });
        let mut record = BaseRecord::with_opaque_to(topic, ack).payload(payload).partition(0);
        if !key.is_empty() {
            record = record.key(key);
        }
        match self.client.send(record) {
            Ok(()) => Ok(acked),
            Err((error, record)) => Err((code(&error), record.delivery_opaque.room)),
        }
    }
}

/// What kind of error it is.
pub(super) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}
