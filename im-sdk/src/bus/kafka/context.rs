//! What librdkafka has to tell beside results: log lines, errors of connections, and that a topic is another one now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{NoCustomPartitioner, ProducerContext};
use rdkafka::statistics::Statistics;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What one client has told.
#[derive(Clone, Default)]
pub(super) struct Context {
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    /// The last error of a connection: why something timed out.
    trouble: Mutex<Option<Trouble>>,
    /// Whoever this client got to know is somebody else now: the topic, or the cluster.
    made_anew: AtomicBool,
    /// The client cannot go on.
    broken: AtomicBool,
    /// How far the topic goes, for a consumer.
    end: AtomicI64,
}

#[derive(Clone)]
struct Trouble {
    code: RDKafkaErrorCode,
    reason: String,
    at: Instant,
}

/// An error of a connection is no reason any more for what fails so long after it. Longer than librdkafka keeps quiet about
/// the same one.
const OUTDATED: Duration = Duration::from_mins(1);

/// The id that a topic has before it is known.
const NO_TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

impl Context {
    /// Why nothing comes, as far as is known.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.told.trouble.lock();
        trouble.as_ref().filter(|trouble| trouble.at.elapsed() < OUTDATED).map(|trouble| trouble.reason.clone())
    }

    /// Keeps why a connection fails. "All brokers are down" says nothing about it, what came before does; and that somebody
    /// hangs up at once, as on the wrong kind of connection, stands in the log alone.
    fn explain(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut trouble = self.told.trouble.lock();
        if code != RDKafkaErrorCode::AllBrokersDown || trouble.is_none() {
            *trouble = Some(Trouble { code, reason: reason.to_owned(), at: Instant::now() });
        }
    }

    /// Whether the brokers were reached and will not have us, which no waiting changes.
    pub(super) fn is_refused(&self) -> bool {
        let trouble = self.told.trouble.lock();
        trouble.as_ref().is_some_and(|t| matches!(t.code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL))
    }

    /// Whether a topic or the cluster was made anew since it was last asked.
    pub(super) fn take_made_anew(&self) -> bool {
        self.told.made_anew.swap(false, Ordering::AcqRel)
    }

    /// Says that the client cannot go on.
    pub(super) fn mark_broken(&self) {
        self.told.broken.store(true, Ordering::Release);
    }

    /// Whether another client has to take this one's place.
    pub(super) fn has_to_be_replaced(&self) -> bool {
        self.told.broken.load(Ordering::Acquire) || self.told.made_anew.load(Ordering::Acquire)
    }

    /// How far the topic goes, as last told.
    pub(super) fn end(&self) -> i64 {
        self.told.end.load(Ordering::Relaxed)
    }

    /// How far the topic goes.
    pub(super) fn set_end(&self, end: i64) {
        self.told.end.store(end, Ordering::Relaxed);
    }
}

/// Whether a line of librdkafka's log says that a topic was made anew, or that another cluster answers now.
///
/// It knows, and says it nowhere else (`rd_kafka_topic_metadata_update` has it as a known defect): a reader would go on
/// at its old offset in the new topic, past everything before it.
fn says_made_anew(facility: &str, line: &str) -> bool {
    match facility {
        "METADATA" => {
            let ids = line.split_once("changed id from ").and_then(|(_, ids)| ids.split_once(" to "));
            ids.is_some_and(|(from, _)| from != NO_TOPIC_ID)
        }
        "CLUSTERID" => line.contains("reports different ClusterId"),
        _ => false,
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        if says_made_anew(facility, line) {
            self.told.made_anew.store(true, Ordering::Release);
        }
        if facility == "FAIL" {
            self.explain(RDKafkaErrorCode::AllBrokersDown, line);
        }
        // It retries by itself whatever it complains of here; what is lost in the end is told by results.
        match level {
            Emerg | Alert | Critical | Error => tracing::warn!(target: "librdkafka", facility, "{line}"),
            Warning | Notice => tracing::info!(target: "librdkafka", facility, "{line}"),
            Info => tracing::debug!(target: "librdkafka", facility, "{line}"),
            Debug => tracing::trace!(target: "librdkafka", facility, "{line}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().filter_map(|topic| topic.partitions.get(&0));
        if let Some(end) = partitions.map(|partition| partition.hi_offset).max().filter(|end| *end >= 0) {
            self.set_end(end);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if code == RDKafkaErrorCode::Fatal {
            self.mark_broken();
        }
        self.explain(code, reason);
    }
}

impl ConsumerContext for Context {}

/// What waits for the ack of one record.
pub(super) struct Ack {
    /// Told the outcome.
    pub(super) done: oneshot::Sender<Result<(), RDKafkaErrorCode>>,
    /// Room in the buffer, free again with the ack, whether or not anybody still waits for it.
    pub(super) room: OwnedSemaphorePermit,
}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = Box<Ack>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, ack: Box<Ack>) {
        let outcome = match delivery {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        // Nobody waits any more: fine.
        let _ = ack.done.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_gets_another_id_was_made_anew() {
        let line = "[thrd:main]: Topic im.0 changed id from q3pXz1ZHT2mQd1TRnl3JYg to 9dE5e2mzQ4yO5n5c2v7b0A";
        assert!(says_made_anew("METADATA", line));
        let cluster = "[thrd:main]: Broker kafka:9092/1 reports different ClusterId \"b\" than previously known \"a\"";
        assert!(says_made_anew("CLUSTERID", cluster));
    }

    #[test]
    fn a_topic_that_is_seen_for_the_first_time_was_not() {
        let line = format!("[thrd:main]: Topic im.0 changed id from {NO_TOPIC_ID} to 9dE5e2mzQ4yO5n5c2v7b0A");
        assert!(!says_made_anew("METADATA", &line));
        assert!(!says_made_anew("METADATA", "[thrd:main]: Topic im.0 [0] Leader 1 Epoch 0"));
    }
}
