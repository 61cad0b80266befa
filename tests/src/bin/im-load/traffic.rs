//! Sends at a fixed rate, and everything that comes of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use im_protocol::client::{Send, Target as To};
use im_protocol::message::Body;
use im_protocol::{ClientFrame, ClientMessageId, Content, ConversationId, Kind, Terminal};
use im_sdk::router::INTEREST_CACHE_TTL;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::account::{device, each, group, http, sign_in, sign_up, user_name};
use crate::connection::{Identity, Reader, Writer, keep_alive, open};
use crate::counters::Counters;
use crate::order::{Arrival, Order};
use crate::process::{Process, Processes, file_limit};
use crate::report::{Faults, Latency, Traffic};
use crate::{Load, Target};

/// A line of progress this often.
const PROGRESS: Duration = Duration::from_secs(5);
/// After the last send, what is under way is waited for until nothing comes for this long.
const QUIET: Duration = Duration::from_secs(5);
/// Sends between two looks at what arrived.
const BATCH: u32 = 64;
/// Files this process needs beside its connections.
const OTHER_FILES: usize = 100;

/// Who sends what to whom.
pub(crate) struct Plan {
    pub(crate) users: u32,
    /// The users are cut into groups of this size; the last one may be smaller.
    pub(crate) group_size: u32,
    /// The first ones of each group send.
    pub(crate) senders_per_group: u32,
    pub(crate) load: Load,
}

/// One who sends.
struct Sender {
    writer: Rc<Writer>,
    conversation: ConversationId,
    /// Who gets it, the sender included.
    audience: u32,
}

/// When sends are due, and which of them count.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: u32,
    /// The first send after the warm-up.
    first_counted: u64,
    total: u64,
}

impl Schedule {
    fn due(&self, n: u64) -> Instant {
        let rate = u64::from(self.rate);
        // In two steps, so that long runs do not overflow.
        self.start + Duration::from_secs(n / rate) + Duration::from_nanos(n % rate * 1_000_000_000 / rate)
    }

    /// Since when what happens counts.
    fn counted_from(&self) -> Instant {
        self.due(self.first_counted)
    }
}

/// What was seen so far.
struct Meter {
    schedule: Schedule,
    sent: u64,
    acked: u64,
    acked_in_time: u64,
    delivered: u64,
    delivered_in_time: u64,
    /// Deliveries that the acks promise.
    promised: u64,
    /// Deliveries after a later one.
    late: u64,
    faults: Faults,
    first_error: Option<String>,
    ack: Histogram<u64>,
    end_to_end: Histogram<u64>,
    last_progress: Instant,
}

/// As much of a frame as is looked at.
#[derive(Deserialize)]
struct Seen<'a> {
    r#type: &'a str,
    conversation: Option<&'a str>,
    seq: Option<u64>,
    client_message_id: Option<&'a str>,
    code: Option<&'a str>,
}

pub(crate) async fn run(target: &Target, plan: Plan) -> anyhow::Result<Traffic> {
    let files = file_limit().unwrap_or(usize::MAX);
    let needed = plan.users as usize + OTHER_FILES;
    ensure!(needed <= files, "{needed} open files are needed and {files} are allowed: raise ulimit -n");
    let process = Processes::find(&target.server_pid, &target.server);
    let (connections, senders, heartbeat) = set_up(target, &plan).await?;

    let Load { rate, seconds, warm_up, bytes } = plan.load;
    let schedule = Schedule {
        // A group has begun on every server.
        start: Instant::now() + INTEREST_CACHE_TTL + Duration::from_secs(1),
        rate,
        first_counted: u64::from(rate) * u64::from(warm_up),
        total: u64::from(rate) * u64::from(warm_up + seconds),
    };
    let meter = Rc::new(RefCell::new(Meter::new(schedule)?));
    let mut tasks = JoinSet::new();
    let writers = connections.iter().map(|(_, writer, _)| writer.clone()).collect();
    tasks.spawn_local(keep_alive(writers, heartbeat));
    for (reader, writer, conversation) in connections {
        tasks.spawn_local(listen(reader, writer, conversation, meter.clone()));
    }
    tasks.spawn_local(progress(meter.clone()));

    let counted_before = Counters::read(&target.management).await?;
    let before = tokio::task::spawn_local({
        let process = process.clone();
        async move {
            tokio::time::sleep_until(schedule.counted_from().into()).await;
            cpu(process.as_ref())
        }
    });
    send_all(&senders, &meter, schedule, bytes).await?;
    let sends_per_second = to_f64(schedule.total) / schedule.start.elapsed().as_secs_f64();
    drain(&meter).await;
    let (server_before, own_before) = before.await?;
    let (server_after, own_after) = cpu(process.as_ref());
    let counted = Counters::read(&target.management).await?;
    let measured = schedule.counted_from().elapsed().as_secs_f64();

    let mut meter = meter.borrow_mut();
    meter.faults.unacked = meter.sent - meter.acked - meter.faults.refused;
    meter.faults.missing = meter.promised.saturating_sub(meter.delivered);
    let window = f64::from(seconds);
    let used = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    let delivered = to_f64(meter.delivered_counted());
    Ok(Traffic {
        users: plan.users,
        group_size: plan.group_size,
        seconds: window,
        sends_per_second,
        acked_per_second: to_f64(meter.acked_in_time) / window,
        deliveries_per_second: to_f64(meter.delivered_in_time) / window,
        ack_ms: Latency::of(&meter.ack),
        end_to_end_ms: Latency::of(&meter.end_to_end),
        server_cpu_cores: used(server_before, server_after).map(|used| used / measured),
        server_cpu_seconds_per_million_deliveries: used(server_before, server_after)
            .filter(|_| delivered > 0.0)
            .map(|used| used / delivered * 1e6),
        own_cpu_cores: used(own_before, own_after).map(|used| used / measured),
        counted_per_message: counted.since(&counted_before, to_f64(schedule.total)),
        late_per_delivery: to_f64(meter.late) / to_f64(meter.delivered.max(1)),
        one_server: target.server.len() == 1,
        faults: meter.faults,
        first_error: meter.first_error.take(),
    })
}

type Connected = (Reader, Rc<Writer>, ConversationId);

/// Accounts, sessions, groups, connections; who is to send; and the heartbeat.
async fn set_up(target: &Target, plan: &Plan) -> anyhow::Result<(Vec<Connected>, Vec<Sender>, Duration)> {
    let api = http(target.server[0])?;
    let users = plan.users;
    each("accounts", 0..users, |n| sign_up(api.clone(), n)).await?;
    let sessions = each("sign-ins", 0..users, |n| sign_in(api.clone(), n, Terminal::Desktop)).await?;
    let sessions: Vec<_> = sessions.into_iter().map(Rc::new).collect();
    let starts = (0..users).step_by(plan.group_size as usize);
    let conversations = each("groups", starts, |first| {
        let owner = sessions[first as usize].clone();
        let members = first..(first + plan.group_size).min(users);
        async move { group(&owner, members).await }
    })
    .await?;
    let connections = each("connections", 0..users, |n| {
        let (target, session) = (target.clone(), sessions[n as usize].clone());
        async move {
            let token = session.access_token().await?;
            let identity = Identity { token, terminal: Terminal::Desktop, device: device(Terminal::Desktop) };
            open(&target, n, identity).await.with_context(|| format!("cannot connect {}", user_name(n)))
        }
    })
    .await?;
    let mut told = None;
    let mut senders = Vec::new();
    let mut connected = Vec::new();
    for (n, (reader, writer, heard)) in (0..users).zip(connections) {
        let conversation = conversations[(n / plan.group_size) as usize].clone();
        if n % plan.group_size < plan.senders_per_group {
            let first = n - n % plan.group_size;
            let audience = plan.group_size.min(users - first);
            senders.push(Sender { writer: writer.clone(), conversation: conversation.clone(), audience });
        }
        connected.push((reader, writer, conversation));
        told = Some(heard);
    }
    let told = told.context("no connections")?;
    let allowed = u64::from(told.messages_per_second) * senders.len() as u64;
    ensure!(
        told.messages_per_second == 0 || allowed >= u64::from(plan.load.rate),
        "the server takes {} messages per second from each of {} senders: run it with --no-limits, or send less",
        told.messages_per_second,
        senders.len()
    );
    Ok((connected, senders, told.heartbeat))
}

/// Sends everything when it is due, or as soon after that as it can be.
async fn send_all(senders: &[Sender], meter: &RefCell<Meter>, schedule: Schedule, bytes: u32) -> anyhow::Result<()> {
    // Message ids say which send they are; the salt keeps runs apart.
    let salt = format!("{:08x}", std::process::id());
    let body = Body {
        kind: Kind::Text,
        content: Content::text(&"x".repeat(bytes as usize)),
        mentions: Vec::new(),
        mention_all: false,
        reply_to: None,
    };
    let mut n = 0;
    while n < schedule.total {
        tokio::time::sleep_until(schedule.due(n).into()).await;
        let now = Instant::now();
        let mut batch = 0;
        while n < schedule.total && schedule.due(n) <= now && batch < BATCH {
            let at = usize::try_from(n % senders.len() as u64)?;
            let sender = &senders[at];
            let send = ClientFrame::Send(Send {
                target: To::Conversation(sender.conversation.clone()),
                client_message_id: ClientMessageId::parse(&format!("{salt}-{n}-{}", sender.audience))?,
                body: body.clone(),
            });
            if let Err(error) = sender.writer.send(&send.encode(None)) {
                meter.borrow_mut().note(error.to_string());
            }
            meter.borrow_mut().sent += 1;
            n += 1;
            batch += 1;
        }
        tokio::task::yield_now().await;
        let broken = meter.borrow().faults.broken;
        ensure!(
            broken * 2 < senders.len() as u64 || broken == 0,
            "{broken} connections broke: {}",
            meter.borrow().first_error.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}

/// Waits for what is under way.
async fn drain(meter: &RefCell<Meter>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let meter = meter.borrow();
        let complete = meter.acked + meter.faults.refused >= meter.sent && meter.delivered >= meter.promised;
        if complete || meter.last_progress.elapsed() > QUIET {
            return;
        }
    }
}

/// Reads a connection to its end.
async fn listen(mut reader: Reader, writer: Rc<Writer>, conversation: ConversationId, meter: Rc<RefCell<Meter>>) {
    let mut order = Order::default();
    loop {
        let read = reader.read(&writer, |text| {
            meter.borrow_mut().take(text, conversation.as_str(), &mut order);
            Ok(())
        });
        if let Err(error) = read.await {
            let mut meter = meter.borrow_mut();
            meter.faults.broken += 1;
            meter.note(error.to_string());
            return;
        }
    }
}

async fn progress(meter: Rc<RefCell<Meter>>) {
    let mut tick = tokio::time::interval(PROGRESS);
    tick.tick().await;
    loop {
        tick.tick().await;
        let meter = meter.borrow();
        eprintln!(
            "{} of {} sent, {} acked, {} delivered",
            meter.sent, meter.schedule.total, meter.acked, meter.delivered
        );
    }
}

impl Meter {
    fn new(schedule: Schedule) -> anyhow::Result<Self> {
        /// Two minutes, in microseconds.
        const LONGEST: u64 = 120_000_000;
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3)?;
        Ok(Self {
            schedule,
            sent: 0,
            acked: 0,
            acked_in_time: 0,
            delivered: 0,
            delivered_in_time: 0,
            promised: 0,
            late: 0,
            faults: Faults::default(),
            first_error: None,
            ack: histogram.clone(),
            end_to_end: histogram,
            last_progress: schedule.start,
        })
    }

    fn note(&mut self, error: String) {
        self.first_error.get_or_insert(error);
    }

    /// Deliveries of messages that were due after the warm-up.
    fn delivered_counted(&self) -> u64 {
        self.end_to_end.len()
    }

    /// Whether now is after the warm-up and before the last send.
    fn in_time(&self, now: Instant) -> bool {
        (self.schedule.counted_from()..self.schedule.due(self.schedule.total)).contains(&now)
    }

    /// A frame that came by a connection of a member of `conversation`, whose last seq was `last`.
    fn take(&mut self, text: &[u8], conversation: &str, order: &mut Order) {
        let seen: Seen<'_> = match serde_json::from_slice(text) {
            Ok(seen) => seen,
            Err(error) => return self.note(format!("{error}: {}", String::from_utf8_lossy(text))),
        };
        match seen.r#type {
            "message" if seen.conversation == Some(conversation) => self.message(&seen, order),
            "sent" => {
                if let Some((n, audience)) = seen.client_message_id.and_then(parts) {
                    let now = Instant::now();
                    self.acked += 1;
                    self.promised += audience;
                    self.acked_in_time += u64::from(self.in_time(now));
                    self.last_progress = now;
                    let due = self.schedule.due(n);
                    if n >= self.schedule.first_counted {
                        self.ack.saturating_record(micros(now.saturating_duration_since(due)));
                    }
                }
            }
            "error" => {
                self.faults.refused += 1;
                self.note(format!("{}: {}", seen.code.unwrap_or_default(), String::from_utf8_lossy(text)));
            }
            // Before it begins, a server that has just become interested in a group tells how far that is.
            "resync" if Instant::now() >= self.schedule.start => self.faults.resyncs += 1,
            _ => {}
        }
    }

    fn message(&mut self, seen: &Seen<'_>, order: &mut Order) {
        match order.take(seen.seq.unwrap_or_default()) {
            Arrival::InOrder { skipped } => self.faults.skipped += skipped,
            Arrival::Late { found } => {
                self.faults.skipped -= found;
                self.late += 1;
            }
            Arrival::Repeated => self.faults.repeated += 1,
        }
        // A notification is in the order, but nobody sent it.
        let Some((n, _)) = seen.client_message_id.and_then(parts) else { return };
        let now = Instant::now();
        self.delivered += 1;
        self.delivered_in_time += u64::from(self.in_time(now));
        self.last_progress = now;
        if n >= self.schedule.first_counted {
            let due = self.schedule.due(n);
            self.end_to_end.saturating_record(micros(now.saturating_duration_since(due)));
        }
    }
}

/// Which send a message id stands for, and how many get it.
fn parts(client_message_id: &str) -> Option<(u64, u64)> {
    let (_, rest) = client_message_id.split_once('-')?;
    let (n, audience) = rest.split_once('-')?;
    Some((n.parse().ok()?, audience.parse().ok()?))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// CPU seconds of the server and of this process.
fn cpu(server: Option<&Processes>) -> (Option<f64>, Option<f64>) {
    let own = Process::this();
    (server.and_then(|server| server.cpu_seconds().ok()), own.cpu_seconds().ok())
}

#[allow(clippy::cast_precision_loss, reason = "counts of one run are far below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        let start = Instant::now();
        Meter::new(Schedule { start, rate: 10, first_counted: 0, total: 100 }).unwrap()
    }

    fn message(n: u64, seq: u64) -> String {
        format!(r#"{{"type":"message","conversation":"g:1","seq":{seq},"client_message_id":"a-{n}-2","content":{{}}}}"#)
    }

    fn faults(seqs: &[u64]) -> Faults {
        let mut meter = meter();
        let mut order = Order::default();
        for (n, seq) in (0..).zip(seqs) {
            meter.take(message(n, *seq).as_bytes(), "g:1", &mut order);
        }
        meter.faults
    }

    #[test]
    fn deliveries_in_order_are_clean() {
        assert_eq!(faults(&[7, 8, 9]), Faults::default());
    }

    #[test]
    fn a_skipped_and_a_doubled_delivery_are_seen() {
        assert_eq!(faults(&[1, 4]).skipped, 2);
        assert_eq!(faults(&[1, 2, 2]).repeated, 1);
        assert_eq!(faults(&[1, 3, 2]), Faults::default(), "late is told apart");
    }

    #[test]
    fn sends_are_due_at_the_rate_without_drift() {
        let start = Instant::now();
        let schedule = Schedule { start, rate: 6000, first_counted: 12_000, total: 132_000 };
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(3000) - start, Duration::from_millis(500));
        assert_eq!(schedule.counted_from() - start, Duration::from_secs(2));
        assert_eq!(schedule.due(u64::from(6000_u32) * 3600) - start, Duration::from_hours(1));
    }

    #[test]
    fn an_ack_promises_a_delivery_to_everybody() {
        let mut meter = meter();
        let sent =
            br#"{"type":"sent","conversation":"g:1","seq":1,"client_message_id":"a-0-2","time":1,"duplicate":false}"#;
        meter.take(sent, "g:1", &mut Order::default());
        assert_eq!((meter.acked, meter.promised, meter.delivered), (1, 2, 0));
    }

    #[test]
    fn latency_counts_from_when_a_send_was_due() {
        let mut meter = meter();
        meter.schedule.start = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        meter.take(message(0, 1).as_bytes(), "g:1", &mut Order::default());
        assert!(meter.end_to_end.max() >= 2_990_000);
    }
}
