//! How many have read a message of a large group: counted where positions are shared, which costs the database nothing
//! once they are filled in.

use std::collections::HashMap;

use im_protocol::limits::{ANSWER_BYTES, LIST_MAX};
use im_protocol::server::Event;
use im_protocol::{ConversationId, Kind, Seq, UserId};

use crate::chat::{Chat, Result};
use crate::store::{Slice, Stint};

/// Members whose positions are filled in at most, some hundred kilobytes. In a larger group the database counts.
const FILLED: u32 = 10_000;

impl Chat {
    /// Tells the senders in a range how many have read their newest message there.
    pub(super) async fn tell_counts(&self, conversation: &ConversationId, (from, to): (Seq, Seq)) -> Result<()> {
        let from = from.max(to.saturating_sub(u64::from(LIST_MAX)));
        let page = self.store.page(conversation, &[Stint::ALWAYS], Slice::After(from), LIST_MAX, ANSWER_BYTES).await?;
        let mut newest: HashMap<UserId, Seq> = HashMap::new();
        for message in
            page.messages.into_iter().filter(|message| message.seq <= to && message.kind != Kind::Notification)
        {
            newest.insert(message.sender, message.seq);
        }
        for (sender, seq) in newest {
            let count = self.count_readers(conversation, seq, &sender).await?;
            self.tell(&sender, Event::ReadCount { conversation: conversation.clone(), seq, count });
        }
        Ok(())
    }

    /// How many others have read a message of a sender.
    async fn count_readers(&self, conversation: &ConversationId, seq: Seq, sender: &UserId) -> Result<u64> {
        let Some(access) = self.store.access(sender, conversation).await? else { return Ok(0) };
        let version = access.members_version;
        let mut shared = self.positions.count(conversation, version, seq, sender).await;
        if matches!(shared, Ok(None)) && access.members <= FILLED {
            // The version was read before the positions: if they change in between, it is a version of the past.
            let mut positions = self.store.readers(conversation, 0, sender, None, FILLED).await?;
            positions.extend(self.store.position(conversation, sender).await?.filter(|_| access.is_member()));
            let positions: Vec<_> = positions.into_iter().map(|reader| (reader.user, reader.read)).collect();
            shared = match self.positions.fill(conversation, version, &positions).await {
                Ok(()) => self.positions.count(conversation, version, seq, sender).await,
                Err(error) => Err(error),
            };
        }
        match shared {
            Ok(Some(count)) => return Ok(count),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the database counts who has read a message"),
        }
        Ok(self.store.count_readers(conversation, seq, sender).await?)
    }
}
