//! A server's own topic, read in a thread of its own: librdkafka blocks where it answers, and decoding is no work for the
//! threads that serve connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use im_protocol::ServerId;
use im_protocol::record::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::config::{self, KafkaConfig};
use super::context::Context;
use super::position::{Break, resume};
use super::producer::code;
use super::{failure, topics};
use crate::bus::{BusError, Delivery, Subscription};

/// Deliveries that may wait for the server. Behind them wait the bytes that librdkafka reads ahead, behind those Kafka.
const WAITING: usize = 1_024;

/// How soon an idle reader notices that it is over.
const TICK: Duration = Duration::from_millis(100);

/// How often the lag is told.
const LAG: Duration = Duration::from_secs(2);

/// Between attempts to find the place in a topic again: from the first to the last of these.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Between two lines of the log about the same trouble.
const SELDOM: Duration = Duration::from_secs(30);

/// One delivery, and what the reader has read with it.
struct Read {
    next: i64,
    delivery: Delivery,
}

/// How far a subscription has read, for whoever wants to know.
#[derive(Default)]
pub(super) struct Progress {
    context: Context,
    next: AtomicI64,
}

impl Progress {
    /// Records that were not handed out yet.
    pub(super) fn lag(&self) -> u64 {
        u64::try_from(self.context.end() - self.next.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// A server's reading position.
pub(super) struct KafkaSubscription {
    reads: mpsc::Receiver<Read>,
    buffer: Vec<Read>,
    over: CancellationToken,
    progress: Arc<Progress>,
}

impl KafkaSubscription {
    pub(super) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self, into: &mut Vec<Delivery>, max: usize) -> bool {
        let received = tokio::select! {
            biased;
            () = self.over.cancelled() => 0,
            received = self.reads.recv_many(&mut self.buffer, max.max(1)) => received,
        };
        if let Some(last) = self.buffer.last() {
            self.progress.next.store(last.next, Ordering::Relaxed);
        }
        into.extend(self.buffer.drain(..).map(|read| read.delivery));
        metrics::counter!("im_bus_records_total", "direction" => "read").increment(received as u64);
        received > 0
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// Reads a server's topic from its end, until `over`.
pub(super) async fn subscribe(
    config: Arc<KafkaConfig>,
    server: ServerId,
    over: CancellationToken,
) -> Result<KafkaSubscription, BusError> {
    let (channel, reads) = mpsc::channel(WAITING);
    let (ready, positioned) = oneshot::channel();
    let progress = Arc::new(Progress::default());
    let (for_reader, runtime) = (progress.clone(), Handle::current());
    let subscription = KafkaSubscription { reads, buffer: Vec::new(), over: over.clone(), progress };
    std::thread::Builder::new()
        .name(format!("im-topic-{server}"))
        .spawn(move || match Reader::open(config, server, for_reader, over, channel, runtime) {
            Ok(reader) => {
                if ready.send(Ok(())).is_ok() {
                    reader.run();
                }
            }
            // Nobody waits for it any more: fine.
            Err(error) => drop(ready.send(Err(error))),
        })
        .map_err(|error| BusError::Unavailable(format!("no thread to read the topic in: {error}")))?;
    positioned.await.unwrap_or_else(|_| Err(BusError::Unavailable("the reading thread broke".to_owned())))?;
    Ok(subscription)
}

/// The thread.
struct Reader {
    config: Arc<KafkaConfig>,
    server: ServerId,
    topic: String,
    progress: Arc<Progress>,
    consumer: BaseConsumer<Context>,
    /// The offset of the next record.
    next: i64,
    over: CancellationToken,
    channel: mpsc::Sender<Read>,
    runtime: Handle,
    told_lag: Instant,
    poisoned: Seldom,
    troubled: Seldom,
}

/// The reader is over.
struct Over;

impl Reader {
    fn open(
        config: Arc<KafkaConfig>,
        server: ServerId,
        progress: Arc<Progress>,
        over: CancellationToken,
        channel: mpsc::Sender<Read>,
        runtime: Handle,
    ) -> Result<Self, BusError> {
        let topic = config.topic(server);
        let consumer = config::consumer(&config, &topic)
            .create_with_context(progress.context.clone())
            .map_err(|error| failure(server, &config, &progress.context, code(&error)))?;
        let mut reader = Self {
            config,
            server,
            topic,
            progress,
            consumer,
            next: 0,
            over,
            channel,
            runtime,
            told_lag: Instant::now(),
            poisoned: Seldom::default(),
            troubled: Seldom::default(),
        };
        let (_, end) = reader.bounds()?;
        reader.go_on_at(end).map_err(|error| reader.failure(&error))?;
        reader.progress.context.set_end(end);
        reader.progress.next.store(end, Ordering::Relaxed);
        Ok(reader)
    }

    fn failure(&self, error: &KafkaError) -> BusError {
        failure(self.server, &self.config, &self.progress.context, code(error))
    }

    /// The first offset that is there and the next that will be; makes the topic, if that is wished.
    fn bounds(&self) -> Result<(i64, i64), BusError> {
        if !topics::exists(self.consumer.client(), &self.topic).map_err(|error| self.failure(&error))? {
            let Some(wished) = self.config.create_topics else {
                return Err(BusError::NoTopic(self.server));
            };
            let made = self.runtime.block_on(topics::create(&self.config, wished, &self.topic));
            made.map_err(|error| self.failure(&error))?;
            topics::wait_for(self.consumer.client(), &self.topic).map_err(|error| self.failure(&error))?;
        }
        self.consumer.fetch_watermarks(&self.topic, 0, topics::ANSWER).map_err(|error| self.failure(&error))
    }

    fn go_on_at(&mut self, offset: i64) -> KafkaResult<()> {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, 0, Offset::Offset(offset))?;
        self.consumer.assign(&assignment)?;
        self.next = offset;
        Ok(())
    }

    fn run(mut self) {
        while !self.over.is_cancelled() {
            if self.step().is_err() {
                break;
            }
        }
    }

    fn step(&mut self) -> Result<(), Over> {
        let polled = self.consumer.poll(TICK);
        if self.told_lag.elapsed() > LAG {
            self.told_lag = Instant::now();
            self.tell_lag();
        }
        // Before what was polled: that may come from the new topic already.
        let why = if self.progress.context.take_made_anew() {
            Some(Break::MadeAnew)
        } else {
            match &polled {
                Some(Err(error)) => broken_by(error),
                _ => None,
            }
        };
        match (why, polled) {
            (None, None) => Ok(()),
            (None, Some(Ok(message))) => {
                let (offset, record) = (message.offset(), decode(&message));
                drop(message);
                self.take(offset, record)
            }
            (None, Some(Err(error))) => {
                self.trouble(&self.failure(&error));
                Ok(())
            }
            (Some(why), polled) => {
                drop(polled);
                self.find_place(why)
            }
        }
    }

    fn take(&mut self, offset: i64, record: Result<Record, String>) -> Result<(), Over> {
        let in_order = offset == self.next;
        self.next = offset + 1;
        if !in_order {
            self.hand_out(Delivery::Gap)?;
        }
        match record {
            Ok(record) => self.hand_out(Delivery::Record(Arc::new(record))),
            Err(error) => {
                metrics::counter!("im_poisoned_records_total").increment(1);
                if let Some(times) = self.poisoned.say() {
                    tracing::warn!(topic = self.topic, offset, error, times, "a record that cannot be read is skipped");
                }
                Ok(())
            }
        }
    }

    /// Gives a delivery to the server, waiting while it is behind.
    fn hand_out(&self, delivery: Delivery) -> Result<(), Over> {
        let read = Read { next: self.next, delivery };
        match self.channel.try_send(read) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Over),
            Err(mpsc::error::TrySendError::Full(read)) => self.wait_for_room()?.send(read),
        }
        Ok(())
    }

    /// Waits while the server is behind. Nothing is polled meanwhile, so how far the topic goes has to be asked for.
    fn wait_for_room(&self) -> Result<mpsc::Permit<'_, Read>, Over> {
        loop {
            let room = self.runtime.block_on(async {
                tokio::select! {
                    () = self.over.cancelled() => Some(Err(Over)),
                    room = self.channel.reserve() => Some(room.map_err(|_| Over)),
                    () = tokio::time::sleep(LAG) => None,
                }
            });
            if let Some(room) = room {
                return room;
            }
            if let Ok((_, end)) = self.consumer.fetch_watermarks(&self.topic, 0, TICK) {
                self.progress.context.set_end(end);
            }
            self.tell_lag();
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a lag of 2^53 records is no longer a matter of precision")]
    fn tell_lag(&self) {
        metrics::gauge!("im_topic_lag", "server" => self.server.to_string()).set(self.progress.lag() as f64);
    }

    /// After a break: finds where to go on, however long that takes, and only then says that records are missing, so that
    /// nothing is lost between what clients pull and what comes here next.
    fn find_place(&mut self, mut why: Break) -> Result<(), Over> {
        let mut wait = RETRY.0;
        loop {
            let found = self.bounds().and_then(|(low, high)| {
                if why == Break::MadeAnew {
                    self.forget_the_old_topic()?;
                }
                let place = resume(why, self.next, low, high);
                self.go_on_at(place).map_err(|error| self.failure(&error))
            });
            match found {
                Ok(()) => break,
                Err(error) => {
                    if matches!(error, BusError::NoTopic(_)) {
                        why = Break::MadeAnew;
                    }
                    self.trouble(&error);
                }
            }
            let over = self.over.clone();
            let waited = self.runtime.block_on(async { tokio::time::timeout(wait, over.cancelled()).await });
            if waited.is_ok() {
                return Err(Over);
            }
            wait = (wait * 2).min(RETRY.1);
        }
        tracing::warn!(topic = self.topic, offset = self.next, ?why, "records are missing in the topic");
        self.hand_out(Delivery::Gap)
    }

    /// Goes on with a client that never saw the topic as it was. The old one keeps the highest leader epoch it met and takes
    /// the new topic's lower ones for outdated news (`rd_kafka_toppar_leader_update`): it would wait for the old leader
    /// for ever.
    fn forget_the_old_topic(&mut self) -> Result<(), BusError> {
        let fresh = config::consumer(&self.config, &self.topic).create_with_context(self.progress.context.clone());
        self.consumer = fresh.map_err(|error| self.failure(&error))?;
        Ok(())
    }

    fn trouble(&mut self, error: &BusError) {
        metrics::counter!("im_bus_errors_total", "reason" => error.reason()).increment(1);
        if let Some(times) = self.troubled.say() {
            tracing::warn!(topic = self.topic, %error, times, "the topic cannot be read; trying on");
        }
    }
}

/// What an error means for the position; `None` if librdkafka goes on by itself.
fn broken_by(error: &KafkaError) -> Option<Break> {
    match code(error) {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Some(Break::OutOfRange),
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => Some(Break::MadeAnew),
        _ => None,
    }
}

fn decode(message: &BorrowedMessage<'_>) -> Result<Record, String> {
    serde_json::from_slice(message.payload().unwrap_or_default()).map_err(|error| error.to_string())
}

/// Keeps one kind of trouble from filling the log.
#[derive(Default)]
struct Seldom {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// How often it happened since it was last said, if it is time to say it again.
    fn say(&mut self) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| said.elapsed() < SELDOM) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}
