//! Messages: reading them, and taking one back.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use im_protocol::message::Body;
use im_protocol::{ClientMessageId, ConversationId, Message, Rev, Seq, TimeMs, UserId};
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::facts::{self, Place};
use super::outbox::remember;
use super::rows::{int, json, message, message_columns};
use crate::store::paging::{Room, covered, in_reading_order, is_forth};
use crate::store::recall;
use crate::store::{
    Committed, CommittedMessage, DecideRecall, Messages, NewMessage, OutboxId, OutboxItem, Outcome, Page, RecallFacts,
    Recalled, Result, Slice, Stint,
};

/// Takes the messages `[from, to)` in the order of `statement` until there is no room.
async fn fill(
    room: &mut Room,
    on: &mut SqliteConnection,
    statement: &'static str,
    conversation: &ConversationId,
    (from, to): (Seq, Seq),
) -> Result<()> {
    let mut rows = sqlx::query(statement)
        .bind(conversation.as_str())
        .bind(int(from))
        .bind(int(to))
        .bind(int(room.wanted() as u64))
        .fetch(on);
    while let Some(row) = rows.try_next().await? {
        if !room.take(message(&row)?) {
            break;
        }
    }
    Ok(())
}

const ASCENDING: &str = concat!(
    "select ",
    message_columns!(),
    " from messages m cross join conversations c on c.id = m.conversation
     where m.conversation = ?1 and m.seq >= ?2 and m.seq < ?3 order by m.seq limit ?4"
);

const DESCENDING: &str = concat!(
    "select ",
    message_columns!(),
    " from messages m cross join conversations c on c.id = m.conversation
     where m.conversation = ?1 and m.seq >= ?2 and m.seq < ?3 order by m.seq desc limit ?4"
);

#[async_trait]
impl Messages for SqliteStore {
    async fn commit(&self, batch: Vec<NewMessage>, now: TimeMs) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
        self.commit_batch(batch, now).await
    }

    async fn known(
        &self,
        conversation: &ConversationId,
        sender: &UserId,
        id: &ClientMessageId,
        body: &Body,
    ) -> Result<Option<Outcome>> {
        self.look_up((conversation.clone(), sender.clone(), id.clone()), body).await
    }

    async fn page(
        &self,
        conversation: &ConversationId,
        stints: &[Stint],
        slice: Slice,
        limit: u32,
        max_bytes: usize,
    ) -> Result<Page> {
        let statement = if is_forth(slice) { ASCENDING } else { DESCENDING };
        let mut room = Room::new(limit as usize, max_bytes);
        let mut reader = self.read().await?;
        for range in in_reading_order(stints, slice) {
            fill(&mut room, &mut reader, statement, conversation, range).await?;
            if room.more {
                break;
            }
        }
        Ok(room.page(slice))
    }

    async fn changed(
        &self,
        conversation: &ConversationId,
        stints: &[Stint],
        after: Seq,
        rev: Rev,
        limit: u32,
    ) -> Result<(Vec<Message>, bool)> {
        let ranges: Vec<(i64, i64)> =
            covered(stints, Slice::Before(after.saturating_add(1))).iter().map(|&(a, b)| (int(a), int(b))).collect();
        let rows = sqlx::query(concat!(
            "select ",
            message_columns!(),
            " from messages m cross join conversations c on c.id = m.conversation
             where m.conversation = ?1 and m.changed > ?2 and exists (
                 select 1 from json_each(?3) e where m.seq >= e.value ->> 0 and m.seq < e.value ->> 1)
             order by m.changed limit ?4"
        ))
        .bind(conversation.as_str())
        .bind(int(rev))
        .bind(json(&ranges))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.readers)
        .await?;
        let more = rows.len() > limit as usize;
        let messages = rows.iter().take(limit as usize).map(message).collect::<Result<_>>()?;
        Ok((messages, more))
    }

    async fn committed(&self, items: &[(ConversationId, Seq)]) -> Result<Vec<CommittedMessage>> {
        let rows = sqlx::query(concat!(
            "select ",
            message_columns!(),
            ", c.members_version, c.large
             from json_each(?1) e
             cross join messages m on m.conversation = e.value ->> 0 and m.seq = e.value ->> 1
             cross join conversations c on c.id = m.conversation
             order by e.key"
        ))
        .bind(json(items))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(CommittedMessage {
                    message: message(row)?,
                    members_version: row.try_get("members_version")?,
                    large: row.try_get("large")?,
                    // The version is the newest one, so whoever holds an older list loads it again.
                    changes: Vec::new(),
                })
            })
            .collect()
    }

    async fn recall(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        actor: &UserId,
        now: TimeMs,
        decide: DecideRecall<'_>,
    ) -> Result<Recalled> {
        let mut write = self.write().await?;
        let known = facts::conversations(write.on(), &[conversation]).await?;
        let row = sqlx::query(concat!(
            "select ",
            message_columns!(),
            " from messages m cross join conversations c on c.id = m.conversation
             where m.conversation = ?1 and m.seq = ?2"
        ))
        .bind(conversation.as_str())
        .bind(int(seq))
        .fetch_optional(write.on())
        .await?;
        let (Some(row), Some(stored)) = (row, known.get(conversation)) else { return Ok(Recalled::NotFound) };
        let place = Place { conversation: conversation.clone(), sender: actor.clone() };
        let acting = facts::senders(write.on(), vec![place.clone()], &known).await?.remove(&place).unwrap_or_default();
        let facts = RecallFacts {
            message: message(&row)?,
            role: acting.role.filter(|_| conversation.as_group().is_some()),
            stints: acting.stints,
            dissolved: stored.dissolved,
        };
        if let Some(answer) = recall::answer(&facts, decide) {
            return Ok(answer);
        }
        let rev: Rev =
            sqlx::query_scalar("update conversations set rev = rev + 1, stamp = ?2 where id = ?1 returning rev")
                .bind(conversation.as_str())
                .bind(write.stamp.0)
                .fetch_one(write.on())
                .await?;
        sqlx::query(
            "update messages set recalled = 1, content = '{}', mentions = null, mention_all = 0, changed = ?3
             where conversation = ?1 and seq = ?2",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .bind(int(rev))
        .execute(write.on())
        .await?;
        let outbox = remember(&mut write, now, &[OutboxItem::Changed(conversation.clone(), seq)]).await?;
        write.commit().await?;
        let changed = recall::recalled(facts.message, rev, stored.members_version, stored.large);
        Ok(Recalled::Done(Committed { outbox, changed: vec![changed], ..Committed::default() }))
    }
}
