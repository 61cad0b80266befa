//! Read and delivered positions, and when users were last seen: in memory first, shared with the other servers at once,
//! in the database within a second, told to those who want to know.
//!
//! A read is acknowledged before it is stored: a server that dies may lose the last second of reads, and nothing else.
//! What is shared is a hint that may be missing or behind: memory and the database are enough to go on with.

mod counts;
mod held;

use std::collections::{BTreeMap, HashMap};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use im_protocol::server::{Event, Receipt};
use im_protocol::{ConnectionId, ConversationId, ConversationKind, Seq, ServerFrame, UserId};
use im_sdk::reads::Read;
use im_sdk::router::Recipients;

use super::{Chat, Inside, Result};
use crate::store::{Access, ReadPosition, Reader};
use held::Delivered;

pub(super) use held::Reads;

/// Between two writes to the database.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Between two rounds of `delivered` receipts.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Rounds of `delivered` between two of `read_count`: at most every 2 s.
const COUNTS_EVERY: u32 = 2;

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
        if !self.reads.read(conversation, user, seq) {
            let position = ReadPosition { conversation: conversation.clone(), user: user.clone(), seq };
            self.store.save_reads(&[position]).await?;
        }
        let shared = if access.is_member() { self.share(conversation, user, seq).await } else { None };
        let known = known.max(shared.unwrap_or(0));
        if seq <= known {
            // Another server has said so before.
            return Ok(());
        }
        let delivered = stored.map_or(0, |position| position.delivered).max(seq);
        self.tell_read(&access, conversation, user, (known, seq), delivered, from).await
    }

    /// Lets the other servers know how far a member has read, and says what they knew before.
    async fn share(&self, conversation: &ConversationId, user: &UserId, seq: Seq) -> Option<Seq> {
        let read = Read { conversation: conversation.clone(), user: user.clone(), seq };
        match self.positions.advance(slice::from_ref(&read)).await {
            Ok(before) => before.into_iter().next().flatten(),
            Err(error) => {
                tracing::debug!(%error, "the other servers learn of a read when the database has it");
                None
            }
        }
    }

    /// How far a user has read, as far as the database may not know: by this server, and by the others.
    pub(super) async fn fresh_reads(&self, user: &UserId) -> HashMap<ConversationId, Seq> {
        let mut reads = self.reads.of(user);
        let recent = self.positions.recent(user).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "reads on other servers show once the database has them");
            Vec::new()
        });
        for (conversation, seq) in recent {
            let known = reads.entry(conversation).or_default();
            *known = seq.max(*known);
        }
        reads
    }

    /// Who has read a message of a sender, by user id: a page of those whom the database knows, and whoever belongs there
    /// and read it so lately that it does not. In a group whose reads are only counted, the database is enough.
    pub(super) async fn with_fresh_readers(
        &self,
        stored: Vec<Reader>,
        access: &Access,
        conversation: &ConversationId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
    ) -> Result<Vec<Reader>> {
        if access.members > self.settings.receipts_up_to {
            return Ok(stored);
        }
        let known = match self.positions.readers(conversation, seq).await {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(%error, "readers on other servers show once the database has them");
                return Ok(stored);
            }
        };
        let mut readers: BTreeMap<_, _> = stored.into_iter().map(|reader| (reader.user.clone(), reader)).collect();
        let missing = |user: &UserId| after.is_none_or(|after| user > after) && !readers.contains_key(user);
        let fresh: Vec<_> = known.into_iter().filter(|(user, _)| missing(user)).collect();
        if !fresh.is_empty() {
            let others = self.others(conversation, sender).await?;
            let members = fresh.into_iter().filter(|(user, _)| others.contains(user));
            readers.extend(members.map(|(user, read)| (user.clone(), Reader { user, read, delivered: read })));
        }
        Ok(readers.into_values().collect())
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
            self.reads.newly_read(conversation, (known, seq));
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
        self.reads.delivered(conversation, user, seq);
    }

    /// Writes what is held to the database.
    pub(super) async fn flush_positions(&self) -> Result<()> {
        self.flush_reads().await?;
        let seen = self.reads.all_seen();
        if !seen.is_empty() {
            self.store.save_last_seen(&seen).await?;
            self.reads.seen_is_stored(&seen);
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
            self.tell_delivered(self.reads.take_delivered()).await;
            if round % COUNTS_EVERY == 0 {
                for (conversation, range) in self.reads.take_counts() {
                    // A count that could not be made is a hint that is missed.
                    let _ = self.tell_counts(&conversation, range).await;
                }
                self.pace.forget_idle();
            }
        }
    }

    async fn tell_delivered(&self, delivered: Delivered) {
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
}
