//! Read positions of a single process.

use std::collections::HashMap;

use async_trait::async_trait;
use im_protocol::{ConversationId, Seq, UserId};
use parking_lot::Mutex;

use super::{Read, ReadPositions};
use crate::registry::RegistryError;

/// Positions held at most; beyond, all are forgotten, as a cache may.
const HELD: usize = 200_000;

/// Read positions in memory. They vanish with the process.
#[derive(Default)]
pub struct MemoryReadPositions(Mutex<Held>);

#[derive(Default)]
struct Held {
    by_conversation: HashMap<ConversationId, Positions>,
    by_user: HashMap<UserId, HashMap<ConversationId, Seq>>,
    count: usize,
}

#[derive(Default)]
struct Positions {
    of: HashMap<UserId, Seq>,
    /// Everyone of this version of the membership is there.
    complete: Option<u64>,
}

impl Held {
    fn make_room(&mut self, for_count: usize) {
        if self.count + for_count > HELD {
            *self = Self::default();
        }
    }
}

#[async_trait]
impl ReadPositions for MemoryReadPositions {
    async fn advance(&self, reads: &[Read]) -> Result<Vec<Option<Seq>>, RegistryError> {
        let mut held = self.0.lock();
        held.make_room(reads.len());
        let mut before = Vec::with_capacity(reads.len());
        for Read { conversation, user, seq } in reads {
            let positions = held.by_conversation.entry(conversation.clone()).or_default();
            let known = positions.of.get(user).copied();
            positions.of.insert(user.clone(), known.unwrap_or(0).max(*seq));
            held.count += usize::from(known.is_none());
            let recent = held.by_user.entry(user.clone()).or_default().entry(conversation.clone()).or_default();
            *recent = (*seq).max(*recent);
            before.push(known);
        }
        Ok(before)
    }

    async fn recent(&self, user: &UserId) -> Result<Vec<(ConversationId, Seq)>, RegistryError> {
        let held = self.0.lock();
        let recent = held.by_user.get(user).into_iter().flatten();
        Ok(recent.map(|(conversation, &seq)| (conversation.clone(), seq)).collect())
    }

    async fn readers(&self, conversation: &ConversationId, seq: Seq) -> Result<Vec<(UserId, Seq)>, RegistryError> {
        let held = self.0.lock();
        let known = held.by_conversation.get(conversation).into_iter().flat_map(|known| &known.of);
        Ok(known.filter(|&(_, &read)| read >= seq).map(|(user, &read)| (user.clone(), read)).collect())
    }

    async fn count(
        &self,
        conversation: &ConversationId,
        version: u64,
        seq: Seq,
        except: &UserId,
    ) -> Result<Option<u64>, RegistryError> {
        let held = self.0.lock();
        let complete = held.by_conversation.get(conversation).filter(|known| known.complete == Some(version));
        let count = |known: &Positions| known.of.iter().filter(|&(user, &read)| read >= seq && user != except).count();
        Ok(complete.map(|known| count(known) as u64))
    }

    async fn fill(
        &self,
        conversation: &ConversationId,
        version: u64,
        positions: &[(UserId, Seq)],
    ) -> Result<(), RegistryError> {
        let mut held = self.0.lock();
        held.make_room(positions.len());
        let known = held.by_conversation.remove(conversation).unwrap_or_default().of;
        let further =
            |(user, seq): &(UserId, Seq)| (user.clone(), known.get(user).map_or(*seq, |known| *known.max(seq)));
        let of: HashMap<_, _> = positions.iter().map(further).collect();
        held.count = held.count + of.len() - known.len();
        held.by_conversation.insert(conversation.clone(), Positions { of, complete: Some(version) });
        Ok(())
    }
}
