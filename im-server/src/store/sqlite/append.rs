//! Putting messages at the end of conversations: one insert and one update for any number of them.

use im_protocol::message::Body;
use im_protocol::{ClientMessageId, ConversationId, Incarnation, Message, Rev, Seq, TimeMs, UserId};
use serde_json::{Value, json as value};
use sqlx::SqliteConnection;

use super::rows::json;
use crate::store::{Result, Stamp};

/// The end of a conversation, as it grows in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) conversation: ConversationId,
    pub(super) head: Seq,
    pub(super) rev: Rev,
    pub(super) incarnation: Incarnation,
    /// Messages so far that count as unread.
    pub(super) badge_count: u64,
    /// Time of the last message.
    pub(super) last_time: TimeMs,
    /// Present members.
    pub(super) members: u32,
}

/// A message to insert.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) message: Message,
    badge_count: u64,
    own_count: u64,
}

impl Tail {
    /// The end of a conversation that has no message yet.
    pub(super) fn empty(conversation: ConversationId, members: u32) -> Self {
        Self { conversation, head: 0, rev: 0, incarnation: 1, badge_count: 0, last_time: 0, members }
    }

    /// Gives a message the next seq. `own_count` is the sender's count of messages that count as unread.
    pub(super) fn append(
        &mut self,
        now: TimeMs,
        sender: &UserId,
        own_count: &mut u64,
        client_message_id: Option<ClientMessageId>,
        body: Body,
    ) -> Draft {
        let badge = u64::from(body.kind.badges());
        self.head += 1;
        self.last_time = self.last_time.max(now);
        self.badge_count += badge;
        *own_count += badge;
        Draft {
            message: Message {
                conversation: self.conversation.clone(),
                seq: self.head,
                rev: self.rev,
                incarnation: self.incarnation,
                sender: sender.clone(),
                client_message_id,
                time: self.last_time,
                kind: body.kind,
                content: body.content,
                mentions: body.mentions,
                mention_all: body.mention_all,
                reply_to: body.reply_to,
                forwarded_from: None,
                recalled: false,
                edited: None,
                reactions: std::collections::BTreeMap::new(),
            },
            badge_count: self.badge_count,
            own_count: *own_count,
        }
    }
}

/// Stores the ends of conversations, and makes those that are not there yet.
pub(super) async fn save_tails(
    on: &mut SqliteConnection,
    tails: impl IntoIterator<Item = &Tail>,
    stamp: Stamp,
) -> Result<()> {
    let rows: Vec<Value> = tails
        .into_iter()
        .map(|tail| value!([tail.conversation, tail.head, tail.badge_count, tail.last_time, tail.members]))
        .collect();
    sqlx::query(
        "insert into conversations (id, head, badge_count, last_time, members, stamp)
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 from json_each(?1) where true
         on conflict (id) do update set head = excluded.head, badge_count = excluded.badge_count,
             last_time = excluded.last_time, stamp = excluded.stamp",
    )
    .bind(json(&rows))
    .bind(stamp.0)
    .execute(on)
    .await?;
    Ok(())
}

/// Stores messages.
pub(super) async fn insert(on: &mut SqliteConnection, drafts: &[Draft]) -> Result<()> {
    let rows: Vec<Value> = drafts
        .iter()
        .map(|Draft { message, badge_count, own_count }| {
            let mentions = (!message.mentions.is_empty()).then(|| json(&message.mentions));
            value!([
                message.conversation,
                message.seq,
                message.rev,
                message.sender,
                message.client_message_id,
                message.time,
                message.kind,
                message.content.as_str(),
                mentions,
                i32::from(message.mention_all),
                message.reply_to,
                badge_count,
                own_count,
            ])
        })
        .collect();
    sqlx::query(
        "insert into messages (conversation, seq, rev, sender, client_message_id, time, kind, content, mentions,
                               mention_all, reply_to, badge_count, own_count)
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
         from json_each(?1)",
    )
    .bind(json(&rows))
    .execute(on)
    .await?;
    Ok(())
}
