//! The sweep: publishes outbox rows that nobody has in hand, those of a process that is gone, and own ones that memory
//! had no room for or could not deliver. It never ends.
//!
//! What is fresh goes out as it is; an old backlog as one hint to pull per server and conversation.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use im_protocol::{ConversationId, Epoch, Seq, TimeMs};
use im_sdk::bus::BusError;
use im_sdk::router::Routed;
use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use super::frames::{self, Frames};
use super::relay::{Relay, count, count_statement};
use crate::chat::now_ms;
use crate::store::{CommittedMessage, Holder, OutboxId, OutboxItem, OutboxRow, Removal, Result, StoreError};

/// Outbox rows read or taken over in one statement.
const STEP: u32 = 256;

/// What the rows of one round name at most: what is more waits for the next, so that memory is bounded and other servers
/// get their share.
const ROUND: usize = 50_000;

/// Messages read in one statement.
const MESSAGES: usize = 1_000;

/// Pushes handed to the bus at once.
const PUSHES: usize = 1_000;

impl Relay {
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut frames = Frames::new(self.members.clone());
        // What the process before this one left is over for certain: nobody has to be judged.
        let before = Epoch(self.holder.epoch.0.saturating_sub(1));
        let mut inherited = Some(Holder { epoch: before, ..self.holder });
        loop {
            match self.round(&mut frames, inherited).await {
                Ok(()) => inherited = None,
                Err(error) => tracing::warn!(%error, "the outbox could not be read"),
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            sleep(self.config.sweep_every.mul_f64(jitter)).await;
        }
    }

    async fn round(&self, frames: &mut Frames, inherited: Option<Holder>) -> Result<()> {
        let mut rows = Vec::new();
        if let Some(holder) = inherited {
            self.read(holder, TimeMs::MAX, &mut rows).await?;
        }
        while (self.may_judge)() && items(&rows) < ROUND {
            count_statement("take_over");
            let taken = self.store.take_over(self.holder, STEP).await?;
            metrics::counter!("im_outbox_taken_over_total").increment(taken.len() as u64);
            let last = taken.len() < STEP as usize;
            rows.extend(taken);
            if last {
                break;
            }
        }
        self.read(self.holder, now_ms() - self.config.orphaned_after, &mut rows).await?;
        let left = self.publish_again(frames, rows).await;
        self.outstanding.sweep_left(left);
        Ok(())
    }

    /// Adds the rows of a holder from before a time that nobody has in hand.
    async fn read(&self, holder: Holder, before: TimeMs, rows: &mut Vec<OutboxRow>) -> Result<()> {
        let mut after = OutboxId(i64::MIN);
        while items(rows) < ROUND {
            count_statement("waiting");
            let page = self.store.waiting(holder, after, before, STEP).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let full = page.len() == STEP as usize;
            let known: HashSet<OutboxId> = rows.iter().map(|row| row.id).collect();
            let forgotten = |row: &OutboxRow| !self.outstanding.knows(row.id) && !known.contains(&row.id);
            rows.extend(page.into_iter().filter(forgotten));
            if !full {
                break;
            }
        }
        Ok(())
    }

    /// Publishes rows. Returns since when the oldest waits that could not be.
    async fn publish_again(&self, frames: &mut Frames, rows: Vec<OutboxRow>) -> Option<Instant> {
        if rows.is_empty() {
            return None;
        }
        metrics::counter!("im_outbox_swept_total").increment(rows.len() as u64);
        let now = now_ms();
        let poke_after = i64::try_from(self.config.poke_after.as_millis()).unwrap_or(i64::MAX);
        let oldest = rows.iter().map(|row| row.time).min().unwrap_or(now);
        let (old, fresh): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| now - row.time > poke_after);
        let mut all = true;
        // Hints are small, so one for a conversation is made of all there is; messages are not.
        for part in std::iter::once(old).chain(parts(fresh)) {
            let hints = part.first().is_some_and(|row| now - row.time > poke_after);
            all &= self.again(frames, part, hints).await;
        }
        let waited = Duration::from_millis(u64::try_from(now - oldest).unwrap_or(0));
        if all { None } else { Instant::now().checked_sub(waited) }
    }

    /// Publishes a part of the rows. True if every one is done with. One that cannot be read keeps up no other.
    async fn again(&self, frames: &mut Frames, rows: Vec<OutboxRow>, old: bool) -> bool {
        let mut all = true;
        let mut waiting = vec![rows];
        while let Some(mut rows) = waiting.pop() {
            match self.publish_part(frames, &rows, old).await {
                Ok(done) => all &= done,
                Err(StoreError::Broken(error)) if rows.len() > 1 => {
                    tracing::debug!(error, "an outbox row could not be read: looking for it");
                    let second = rows.split_off(rows.len() / 2);
                    waiting.extend([second, rows]);
                }
                Err(error) => {
                    let row = rows.first().map(|row| row.id.0);
                    tracing::warn!(%error, ?row, "outbox rows could not be published; trying again");
                    all = false;
                }
            }
        }
        all
    }

    async fn publish_part(&self, frames: &mut Frames, rows: &[OutboxRow], old: bool) -> Result<bool> {
        let told = if old { hints(rows) } else { as_they_are(rows) };
        let mut undone = HashSet::new();
        for told in told.chunks(MESSAGES) {
            let wanted: Vec<Message> = told.iter().map(|told| told.message.clone()).collect();
            let found = self.read_messages(&wanted).await?;
            let mut pushes: Vec<(Routed, &[OutboxId])> = Vec::with_capacity(told.len());
            for Told { message, tell, rows } in told {
                // What is not there any more needs no telling.
                let Some(committed) = found.get(message) else { continue };
                let routed = match *tell {
                    Tell::New | Tell::Changed => vec![frames.message(committed, *tell == Tell::Changed).await?],
                    Tell::Hint { oldest } => frames.pokes(committed, oldest).await?,
                };
                pushes.extend(routed.into_iter().map(|routed| (routed, rows.as_slice())));
            }
            self.publish_all(&pushes, old, &mut undone).await;
        }
        let removals: Vec<(Routed, &OutboxId)> = rows
            .iter()
            .flat_map(|row| row.items.iter().filter_map(move |item| Some((frames::removed(&removal(item)?), &row.id))))
            .collect();
        let removals: Vec<_> = removals.into_iter().map(|(routed, row)| (routed, std::slice::from_ref(row))).collect();
        self.publish_all(&removals, old, &mut undone).await;
        let done: Vec<&OutboxRow> = rows.iter().filter(|row| !undone.contains(&row.id)).collect();
        let all = done.len() == rows.len();
        self.done(done).await?;
        Ok(all)
    }

    /// Publishes pushes, each with the rows it is of; those of what was not delivered are added to `undone`.
    async fn publish_all(&self, pushes: &[(Routed, &[OutboxId])], old: bool, undone: &mut HashSet<OutboxId>) {
        for part in pushes.chunks(PUSHES) {
            let published = self.router.publish(part.iter().map(|(routed, _)| routed.clone()).collect()).await;
            count(&published);
            for ((_, rows), published) in part.iter().zip(published) {
                if !is_settled(&published.delivered, old) {
                    undone.extend(*rows);
                }
            }
        }
    }

    /// Notes that rows can be forgotten, with the push work they leave.
    async fn done(&self, rows: Vec<&OutboxRow>) -> Result<()> {
        if !self.leaves_work() {
            for row in rows {
                self.outstanding.acked(row.id, Vec::new());
            }
            return Ok(());
        }
        for part in parts(rows) {
            let new: Vec<Message> = part.iter().flat_map(|row| row.items.iter().filter_map(new_message)).collect();
            let found = if new.is_empty() { HashMap::new() } else { self.read_messages(&new).await? };
            for row in part {
                let messages = row.items.iter().filter_map(new_message);
                let messages: Vec<_> = messages.filter_map(|message| found.get(&message).cloned()).collect();
                self.outstanding.acked(row.id, self.work(&messages));
            }
        }
        Ok(())
    }

    async fn read_messages(&self, wanted: &[Message]) -> Result<HashMap<Message, CommittedMessage>> {
        count_statement("committed");
        let found = self.store.committed(wanted).await?;
        Ok(found.into_iter().map(|it| ((it.message.conversation.clone(), it.message.seq), it)).collect())
    }
}

fn items(rows: &[OutboxRow]) -> usize {
    rows.iter().map(|row| row.items.len()).sum()
}

/// Whether nothing more is to be done about a push.
///
/// A server without a topic has nobody on it, or finds its topic made anew and tells everyone to pull; but a topic that is
/// only just made may not be known everywhere yet, so it is tried until the push is an `old` one. What is too large goes
/// out as a hint when it is old; if that is too large as well, those concerned see it with their next look at what changed.
fn is_settled(delivered: &std::result::Result<(), BusError>, old: bool) -> bool {
    match delivered {
        Ok(()) => true,
        Err(BusError::NoTopic(_)) => old,
        Err(error @ BusError::TooLarge { .. }) => {
            if old {
                tracing::error!(%error, "not even a hint could be published");
            }
            old
        }
        Err(BusError::Refused(_) | BusError::Unavailable(_)) => false,
    }
}

type Message = (ConversationId, Seq);

/// How something of the outbox is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    /// A new message, as it is.
    New,
    /// A message that changed, as it is.
    Changed,
    /// A hint to pull, which stands for everything from `oldest` on.
    Hint { oldest: Seq },
}

/// Something of the outbox to tell.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    message: Message,
    tell: Tell,
    /// The rows it is of.
    rows: Vec<OutboxId>,
}

/// Every message of the rows, in order.
fn as_they_are(rows: &[OutboxRow]) -> Vec<Told> {
    let told = |row: &OutboxRow, item: &OutboxItem| {
        let (message, tell) = match item {
            OutboxItem::Message(conversation, seq) => ((conversation.clone(), *seq), Tell::New),
            OutboxItem::Changed(conversation, seq) => ((conversation.clone(), *seq), Tell::Changed),
            OutboxItem::Removed(..) => return None,
        };
        Some(Told { message, tell, rows: vec![row.id] })
    };
    rows.iter().flat_map(|row| row.items.iter().filter_map(move |item| told(row, item))).collect()
}

/// One hint for each conversation, by its newest message.
fn hints(rows: &[OutboxRow]) -> Vec<Told> {
    let mut hints: BTreeMap<ConversationId, (Seq, Seq, Vec<OutboxId>)> = BTreeMap::new();
    for Told { message: (conversation, seq), rows, .. } in as_they_are(rows) {
        let (oldest, newest, of) = hints.entry(conversation).or_insert((seq, seq, Vec::new()));
        (*oldest, *newest) = (seq.min(*oldest), seq.max(*newest));
        if !of.ends_with(&rows) {
            of.extend(rows);
        }
    }
    let told = |(conversation, (oldest, newest, rows))| Told {
        message: (conversation, newest),
        tell: Tell::Hint { oldest },
        rows,
    };
    hints.into_iter().map(told).collect()
}

/// Rows in parts of about as many messages as are read in one statement.
fn parts<R: Borrow<OutboxRow>>(rows: Vec<R>) -> Vec<Vec<R>> {
    let mut parts: Vec<Vec<R>> = Vec::new();
    let mut items = usize::MAX;
    for row in rows {
        let more = row.borrow().items.len();
        items = items.saturating_add(more);
        if items > MESSAGES {
            items = more;
            parts.push(Vec::new());
        }
        parts.last_mut().expect("one was just made").push(row);
    }
    parts
}

fn new_message(item: &OutboxItem) -> Option<Message> {
    match item {
        OutboxItem::Message(conversation, seq) => Some((conversation.clone(), *seq)),
        _ => None,
    }
}

fn removal(item: &OutboxItem) -> Option<Removal> {
    match item.clone() {
        OutboxItem::Removed(conversation, users, reason) => Some(Removal { conversation, users, reason }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::ServerId;

    use super::*;

    fn conversation(id: &str) -> ConversationId {
        ConversationId::parse(id).unwrap()
    }

    fn row(id: i64, items: &[(&str, Seq)]) -> OutboxRow {
        let items = items.iter().map(|&(of, seq)| OutboxItem::Message(conversation(of), seq)).collect();
        OutboxRow { id: OutboxId(id), time: 0, items }
    }

    #[test]
    fn an_old_backlog_goes_out_as_one_hint_per_conversation() {
        let rows = [row(1, &[("g:b", 7), ("g:a", 2)]), row(2, &[("g:a", 3), ("g:a", 4)]), row(3, &[("g:a", 5)])];
        let hint = |of: &str, oldest, newest, rows: &[i64]| Told {
            message: (conversation(of), newest),
            tell: Tell::Hint { oldest },
            rows: rows.iter().map(|&id| OutboxId(id)).collect(),
        };
        assert_eq!(hints(&rows), [hint("g:a", 2, 5, &[1, 2, 3]), hint("g:b", 7, 7, &[1])]);
        assert_eq!(as_they_are(&rows).len(), 5);
    }

    #[test]
    fn rows_are_read_in_parts_and_none_is_left_out() {
        let rows: Vec<_> = (0..30).map(|id| row(id, &vec![("g:a", 1); 300])).collect();
        let parts = parts(rows.clone());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [3; 10]);
        assert_eq!(parts.concat(), rows);
    }

    #[test]
    fn a_topic_that_is_missing_for_long_is_no_reason_to_try_for_ever() {
        let missing = Err(BusError::NoTopic(ServerId(1)));
        assert!(!is_settled(&missing, false));
        assert!(is_settled(&missing, true));
        assert!(!is_settled(&Err(BusError::Unavailable("away".into())), true));
        assert!(is_settled(&Ok(()), false));
    }
}
