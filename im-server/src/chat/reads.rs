//! Read and delivered positions, and when users were last seen: in memory first, in the database within a second, told
//! to those who want to know.
//!
//! A read is acknowledged before it is stored: a server that dies may lose the last second of reads, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use im_protocol::limits::{ANSWER_BYTES, LIST_MAX};
use im_protocol::server::{Event, Receipt};
use im_protocol::{ConnectionId, ConversationId, ConversationKind, Kind, Seq, ServerFrame, TimeMs, UserId};
use im_sdk::router::Recipients;
use parking_lot::Mutex;

use super::{Chat, Inside, Result};
use crate::store::{Access, ReadPosition, Slice};

/// Between two writes to the database.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Between two rounds of `delivered` receipts.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Rounds of `delivered` between two of `read_count`: at most every 2 s.
const COUNTS_EVERY: u32 = 2;

/// Positions held in memory at most; beyond, a `delivered` is forgotten and a read waits for the database.
const HELD: usize = 200_000;

/// What is not in the database yet, and what has to be told.
#[derive(Default)]
pub(super) struct Reads(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// When users were last seen.
    seen: HashMap<UserId, TimeMs>,
    /// How far users have read.
    reads: HashMap<UserId, HashMap<ConversationId, Seq>>,
    /// How far devices have received, since the last round.
    delivered: HashMap<(ConversationId, UserId), Seq>,
    /// Seqs `(from, to]` of large groups that someone has newly read, since the last round.
    counts: HashMap<ConversationId, (Seq, Seq)>,
}

impl Reads {
    /// What a user has read and the database does not know.
    pub(super) fn of(&self, user: &UserId) -> Vec<(ConversationId, Seq)> {
        let held = self.0.lock();
        held.reads.get(user).into_iter().flatten().map(|(conversation, &seq)| (conversation.clone(), seq)).collect()
    }

    /// The same for one conversation.
    pub(super) fn pending(&self, conversation: &ConversationId, user: &UserId) -> Option<Seq> {
        self.0.lock().reads.get(user)?.get(conversation).copied()
    }

    /// A user was seen now. Held like a read: when a server stops, thousands are seen for the last time at once.
    pub(super) fn seen(&self, user: &UserId, now: TimeMs) {
        let mut held = self.0.lock();
        if held.seen.len() < HELD {
            held.seen.insert(user.clone(), now);
        }
    }

    /// When a user was last seen, if the database does not know yet.
    pub(super) fn last_seen(&self, user: &UserId) -> Option<TimeMs> {
        self.0.lock().seen.get(user).copied()
    }

    fn read(&self, conversation: &ConversationId, user: &UserId, seq: Seq) {
        let mut held = self.0.lock();
        let position = held.reads.entry(user.clone()).or_default().entry(conversation.clone()).or_default();
        *position = seq.max(*position);
    }

    fn snapshot(&self) -> Vec<ReadPosition> {
        let held = self.0.lock();
        let all = held.reads.iter().flat_map(|(user, positions)| {
            positions.iter().map(|(conversation, &seq)| ReadPosition {
                conversation: conversation.clone(),
                user: user.clone(),
                seq,
            })
        });
        all.collect()
    }

    /// Forgets what the database has, unless it has moved on meanwhile.
    fn stored(&self, positions: &[ReadPosition]) {
        let mut held = self.0.lock();
        for position in positions {
            if let Some(of_user) = held.reads.get_mut(&position.user) {
                if of_user.get(&position.conversation) == Some(&position.seq) {
                    of_user.remove(&position.conversation);
                }
                if of_user.is_empty() {
                    held.reads.remove(&position.user);
                }
            }
        }
    }
}

impl Chat {
    /// A user has read up to a seq: clamped to what there is, never moved back.
    pub async fn read(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        seq: Seq,
        from: Option<ConnectionId>,
    ) -> Result<()> {
        if conversation.kind() == ConversationKind::Room {
            // Rooms have no unread: there is nothing to move.
            return Ok(());
        }
        let access = self.access(user, conversation, Inside::No).await?;
        let seq = seq.min(access.visible_head());
        // Memory first: what it hands to the database meanwhile is found there.
        let pending = self.reads.pending(conversation, user).unwrap_or(0);
        let stored = self.store.position(conversation, user).await?;
        let known = stored.as_ref().map_or(0, |position| position.read).max(pending);
        if seq <= known {
            return Ok(());
        }
        self.reads.read(conversation, user, seq);
        let delivered = stored.map_or(0, |position| position.delivered).max(seq);
        self.tell_read(&access, conversation, user, (known, seq), delivered, from).await
    }

    async fn tell_read(
        &self,
        access: &Access,
        conversation: &ConversationId,
        user: &UserId,
        (known, seq): (Seq, Seq),
        delivered: Seq,
        from: Option<ConnectionId>,
    ) -> Result<()> {
        let elsewhere = Event::ReadElsewhere { conversation: conversation.clone(), seq };
        let own = Recipients::Users { users: vec![user.clone()].into(), except: from };
        self.publish.transient(own, &ServerFrame::Event(elsewhere), Some(conversation.clone()));
        if !access.is_member() {
            return Ok(());
        }
        if access.members <= self.settings.receipts_up_to {
            self.send_receipt(conversation, user, delivered, seq).await
        } else {
            let mut held = self.reads.0.lock();
            if held.counts.len() < HELD {
                let range = held.counts.entry(conversation.clone()).or_insert((known, seq));
                *range = (range.0.min(known), range.1.max(seq));
            }
            Ok(())
        }
    }

    /// Tells the other members how far someone has got.
    async fn send_receipt(
        &self,
        conversation: &ConversationId,
        user: &UserId,
        delivered: Seq,
        read: Seq,
    ) -> Result<()> {
        let others = self.others(conversation, user).await?;
        if others.is_empty() {
            return Ok(());
        }
        let receipt = Receipt { conversation: conversation.clone(), user: user.clone(), delivered, read };
        let to = Recipients::Users { users: others.into(), except: None };
        self.publish.transient(to, &ServerFrame::Receipt(receipt), Some(conversation.clone()));
        Ok(())
    }

    /// The present members of a conversation but one.
    pub(super) async fn others(&self, conversation: &ConversationId, user: &UserId) -> Result<Vec<UserId>> {
        let Some(list) = self.store.member_list(conversation, Seq::MAX).await? else { return Ok(Vec::new()) };
        let present = list.members.into_iter().filter(|(member, stint)| stint.left.is_none() && member != user);
        Ok(present.map(|(member, _)| member).collect())
    }

    /// A device has everything up to a seq. Never answered, told at most once a second.
    pub fn delivered(&self, user: &UserId, conversation: &ConversationId, seq: Seq) {
        if conversation.kind() == ConversationKind::Room {
            return;
        }
        let mut held = self.reads.0.lock();
        if held.delivered.len() < HELD {
            let position = held.delivered.entry((conversation.clone(), user.clone())).or_default();
            *position = seq.max(*position);
        }
    }

    /// Writes what is held to the database.
    pub(super) async fn flush_positions(&self) -> Result<()> {
        self.flush_reads().await?;
        let seen: Vec<(UserId, TimeMs)> = self.reads.0.lock().seen.clone().into_iter().collect();
        if !seen.is_empty() {
            self.store.save_last_seen(&seen).await?;
            let mut held = self.reads.0.lock();
            for (user, time) in seen {
                if held.seen.get(&user) == Some(&time) {
                    held.seen.remove(&user);
                }
            }
        }
        Ok(())
    }

    /// Writes the held read positions to the database.
    pub(super) async fn flush_reads(&self) -> Result<()> {
        let positions = self.reads.snapshot();
        if !positions.is_empty() {
            self.store.save_reads(&positions).await?;
            self.reads.stored(&positions);
        }
        Ok(())
    }

    /// Writes and tells, until the process ends.
    pub(super) async fn keep_reads(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(FLUSH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // An error leaves the positions where they are; the next round tries again.
            let _ = self.flush_positions().await;
        }
    }

    /// Tells how far others have got, until the process ends. Beside the writing: however much there is to tell, a read
    /// is stored within the second.
    pub(super) async fn keep_telling(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 1_u32.. {
            ticks.tick().await;
            let delivered = std::mem::take(&mut self.reads.0.lock().delivered);
            self.tell_delivered(delivered).await;
            if round % COUNTS_EVERY == 0 {
                let counts = std::mem::take(&mut self.reads.0.lock().counts);
                for (conversation, range) in counts {
                    // A count that could not be made is a hint that is missed.
                    let _ = self.tell_counts(&conversation, range).await;
                }
                self.pace.forget_idle();
            }
        }
    }

    async fn tell_delivered(&self, delivered: HashMap<(ConversationId, UserId), Seq>) {
        let mut store = Vec::new();
        for ((conversation, user), seq) in delivered {
            let Ok(access) = self.access(&user, &conversation, Inside::No).await else { continue };
            if !access.is_member() || access.members > self.settings.receipts_up_to {
                continue;
            }
            let seq = seq.min(access.visible_head());
            let pending = self.reads.pending(&conversation, &user).unwrap_or(0);
            let Ok(position) = self.store.position(&conversation, &user).await else { continue };
            let (known, read) = position.map_or((0, 0), |position| (position.delivered, position.read));
            let read = read.max(pending);
            if seq <= known.max(read) {
                continue;
            }
            let _ = self.send_receipt(&conversation, &user, seq, read).await;
            if conversation.kind() == ConversationKind::Direct {
                store.push(ReadPosition { conversation, user, seq });
            }
        }
        if !store.is_empty()
            && let Err(error) = self.store.save_delivered(&store).await
        {
            tracing::debug!(%error, "delivered positions could not be stored");
        }
    }

    /// Tells the senders in a range how many have read their newest message there.
    async fn tell_counts(&self, conversation: &ConversationId, (from, to): (Seq, Seq)) -> Result<()> {
        let everything = [crate::store::Stint::ALWAYS];
        let from = from.max(to.saturating_sub(u64::from(LIST_MAX)));
        let page = self.store.page(conversation, &everything, Slice::After(from), LIST_MAX, ANSWER_BYTES).await?;
        let mut newest: HashMap<UserId, Seq> = HashMap::new();
        for message in
            page.messages.into_iter().filter(|message| message.seq <= to && message.kind != Kind::Notification)
        {
            newest.insert(message.sender, message.seq);
        }
        for (sender, seq) in newest {
            let count = self.store.count_readers(conversation, seq, &sender).await?;
            self.tell(&sender, Event::ReadCount { conversation: conversation.clone(), seq, count });
        }
        Ok(())
    }
}
