//! Messages: reading them, and taking one back.

use async_trait::async_trait;
use futures_util::TryStreamExt;
use im_protocol::message::Body;
use im_protocol::{ClientMessageId, ConversationId, Message, Rev, Seq, TimeMs, UserId};
use sqlx::{PgConnection, Row};

use super::facts;
use super::outbox::remember;
use super::rows::{int, message, message_columns, number, unsigned};
use super::{PostgresStore, call, error, transact};
use crate::store::paging::{Room, covered, in_reading_order, is_forth};
use crate::store::recall;
use crate::store::{
    Committed, CommittedMessage, DecideRecall, Messages, NewMessage, OutboxId, OutboxItem, Outcome, Page, RecallFacts,
    Recalled, Result, Slice, Stint,
};

const ASCENDING: &str = concat!(
    "select ",
    message_columns!(),
    " from messages m join conversations c on c.id = m.conversation
     where m.conversation = $1 and m.seq >= $2 and m.seq < $3 order by m.seq limit $4"
);

const DESCENDING: &str = concat!(
    "select ",
    message_columns!(),
    " from messages m join conversations c on c.id = m.conversation
     where m.conversation = $1 and m.seq >= $2 and m.seq < $3 order by m.seq desc limit $4"
);

/// Takes the messages `[from, to)` in the order of `statement` until there is no room.
async fn fill(
    room: &mut Room,
    on: &mut PgConnection,
    statement: &'static str,
    conversation: &ConversationId,
    (from, to): (Seq, Seq),
) -> error::Result<()> {
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

#[async_trait]
impl Messages for PostgresStore {
    async fn commit(&self, batch: Vec<NewMessage>, now: TimeMs) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
        Ok(self.commit_batch(batch, now).await?)
    }

    async fn known(
        &self,
        conversation: &ConversationId,
        sender: &UserId,
        id: &ClientMessageId,
        body: &Body,
    ) -> Result<Option<Outcome>> {
        Ok(self.look_up(conversation, sender, id, body).await?)
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
        // What lies between two statements is not lost: a page ends where the next one begins.
        for range in in_reading_order(stints, slice) {
            call!(self, "page", |on| fill(&mut room, on, statement, conversation, range));
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
        let (from, to): (Vec<i64>, Vec<i64>) =
            covered(stints, Slice::Before(after.saturating_add(1))).iter().map(|&(a, b)| (int(a), int(b))).unzip();
        let rows = call!(self, "changed", |on| sqlx::query(concat!(
            "select ",
            message_columns!(),
            " from messages m join conversations c on c.id = m.conversation
             where m.conversation = $1 and m.changed > $2 and exists (
                 select from unnest($3::bigint[], $4::bigint[]) e (low, high) where m.seq >= e.low and m.seq < e.high)
             order by m.changed limit $5"
        ))
        .bind(conversation.as_str())
        .bind(int(rev))
        .bind(&from)
        .bind(&to)
        .bind(i64::from(limit) + 1)
        .fetch_all(on));
        let more = rows.len() > limit as usize;
        let messages = rows.iter().take(limit as usize).map(message).collect::<error::Result<_>>()?;
        Ok((messages, more))
    }

    async fn committed(&self, items: &[(ConversationId, Seq)]) -> Result<Vec<CommittedMessage>> {
        let (conversations, seqs): (Vec<&str>, Vec<i64>) =
            items.iter().map(|(conversation, seq)| (conversation.as_str(), int(*seq))).unzip();
        let rows = call!(self, "committed", |on| sqlx::query(concat!(
            "select ",
            message_columns!(),
            ", c.members_version, c.large
             from unnest($1::text[], $2::bigint[]) with ordinality e (conversation, seq, n)
             join messages m on m.conversation = e.conversation and m.seq = e.seq
             join conversations c on c.id = m.conversation
             order by e.n"
        ))
        .bind(&conversations)
        .bind(&seqs)
        .fetch_all(on));
        let committed = |row: &sqlx::postgres::PgRow| {
            Ok(CommittedMessage {
                message: message(row)?,
                members_version: number(row, "members_version")?,
                large: row.try_get("large")?,
                // The version is the newest one, so whoever holds an older list loads it again.
                changes: Vec::new(),
            })
        };
        Ok(rows.iter().map(committed).collect::<error::Result<_>>()?)
    }

    async fn recall(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        actor: &UserId,
        now: TimeMs,
        decide: DecideRecall<'_>,
    ) -> Result<Recalled> {
        let recalled = transact!(self, "recall", |write| {
            facts::lock(write.on(), conversation).await?;
            let row = sqlx::query(concat!(
                "select ",
                message_columns!(),
                " from messages m join conversations c on c.id = m.conversation
                 where m.conversation = $1 and m.seq = $2"
            ))
            .bind(conversation.as_str())
            .bind(int(seq))
            .fetch_optional(write.on())
            .await?;
            let stored = facts::conversation(write.on(), conversation).await?;
            let (Some(row), Some(stored)) = (row, stored) else { return Ok(Recalled::NotFound) };
            let acting = facts::acting(write.on(), conversation, actor).await?;
            let facts = RecallFacts {
                message: message(&row)?,
                role: acting.role.filter(|_| conversation.as_group().is_some()),
                stints: acting.stints,
                dissolved: stored.dissolved,
            };
            if let Some(answer) = recall::answer(&facts, decide) {
                return Ok(answer);
            }
            let stamp = write.stamp().await?;
            let rev: i64 =
                sqlx::query_scalar("update conversations set rev = rev + 1, stamp = $2 where id = $1 returning rev")
                    .bind(conversation.as_str())
                    .bind(stamp.0)
                    .fetch_one(write.on())
                    .await?;
            sqlx::query(
                "update messages set recalled = true, content = '{}', mentions = null, mention_all = false,
                     changed = $3
                 where conversation = $1 and seq = $2",
            )
            .bind(conversation.as_str())
            .bind(int(seq))
            .bind(rev)
            .execute(write.on())
            .await?;
            let outbox = remember(&mut write, now, &[OutboxItem::Changed(conversation.clone(), seq)]).await?;
            let changed = recall::recalled(facts.message, unsigned(rev)?, stored.members_version, stored.large);
            Recalled::Done(Committed { outbox, changed: vec![changed], ..Committed::default() })
        });
        Ok(recalled)
    }
}
