//! Conversations: who sees what, switches, positions.

use async_trait::async_trait;
use im_protocol::{ConversationId, ConversationKind, Seq, TimeMs, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::SqliteStore;
use super::facts::{self, Conversation};
use super::rows::{id, int, json, maybe_id};
use crate::store::paging::without_cleared;
use crate::store::{
    Access, Arrival, Arriving, Conversations, ListCursor, MemberList, Preferences, ReadPosition, Reader, Result, Row,
    Stamp, Stint, UserRows,
};

fn reader(row: &SqliteRow) -> Result<Reader> {
    Ok(Reader { user: id(row, "user")?, read: row.try_get("read_seq")?, delivered: row.try_get("delivered_seq")? })
}

/// What is stored of a conversation; of a direct one that both accounts exist for, even before its first message.
async fn conversation(on: &mut SqliteConnection, conversation: &ConversationId) -> Result<Option<Conversation>> {
    if let Some(stored) = facts::conversations(on, &[conversation]).await?.remove(conversation) {
        return Ok(Some(stored));
    }
    let Some((a, b)) = conversation.ends() else { return Ok(None) };
    let exist: bool = sqlx::query_scalar(
        "select exists (select 1 from accounts where user = ?1) and exists (select 1 from accounts where user = ?2)",
    )
    .bind(a.as_str())
    .bind(b.as_str())
    .fetch_one(on)
    .await?;
    Ok(exist.then(|| Conversation::direct(conversation.clone())))
}

/// Positions as a parameter: `[[user, conversation, seq], …]`.
fn parameter<'a>(positions: impl Iterator<Item = &'a ReadPosition>) -> Option<String> {
    let positions: Vec<(&UserId, &ConversationId, i64)> =
        positions.map(|position| (&position.user, &position.conversation, int(position.seq))).collect();
    (!positions.is_empty()).then(|| json(&positions))
}

/// The furthest of the positions in the parameter ?1 of each user and conversation, not beyond the head.
macro_rules! furthest {
    () => {
        "(select p.value ->> 0 as user, p.value ->> 1 as conversation, max(min(p.value ->> 2, c.head)) as seq
          from json_each(?1) p cross join conversations c on c.id = p.value ->> 1 group by 1, 2)"
    };
}

#[async_trait]
impl Conversations for SqliteStore {
    async fn stamp(&self) -> Result<Stamp> {
        Ok(Stamp(sqlx::query_scalar("select stamp from clock").fetch_one(&self.readers).await?))
    }

    async fn list(
        &self,
        user: &UserId,
        since: Option<Stamp>,
        cursor: Option<&ListCursor>,
        limit: u32,
        reads: &[(ConversationId, Seq)],
    ) -> Result<UserRows> {
        self.list_page(user, since, cursor, limit, reads).await
    }

    async fn row(&self, user: &UserId, conversation: &ConversationId, read: Option<Seq>) -> Result<Option<Row>> {
        self.list_row(user, conversation, read).await
    }

    async fn access(&self, user: &UserId, conversation: &ConversationId) -> Result<Option<Access>> {
        let mut reader = self.read().await?;
        let Some(stored) = self::conversation(&mut reader, conversation).await? else { return Ok(None) };
        let stints = if let Some(stints) = Stint::by_id(conversation, user) {
            stints
        } else {
            let text: String = sqlx::query_scalar(
                "select json_group_array(json_array(joined_seq, left_seq)) from stints
                 where conversation = ?1 and user = ?2",
            )
            .bind(conversation.as_str())
            .bind(user.as_str())
            .fetch_one(&mut *reader)
            .await?;
            facts::stints(&text)?
        };
        let cleared: Option<Seq> =
            sqlx::query_scalar("select cleared_seq from user_conversations where user = ?1 and conversation = ?2")
                .bind(user.as_str())
                .bind(conversation.as_str())
                .fetch_optional(&mut *reader)
                .await?;
        Ok(Some(Access {
            head: stored.tail.head,
            rev: stored.tail.rev,
            incarnation: stored.tail.incarnation,
            stints: without_cleared(stints, cleared.unwrap_or(0)),
            members: stored.tail.members,
            members_version: stored.members_version,
            large: stored.large,
            dissolved: stored.dissolved,
        }))
    }

    async fn member_list(&self, conversation: &ConversationId, seq: Seq) -> Result<Option<MemberList>> {
        let mut reader = self.read().await?;
        let Some(stored) = self::conversation(&mut reader, conversation).await? else { return Ok(None) };
        let version = stored.members_version;
        if let Some(ends) = conversation.ends() {
            return Ok(Some(MemberList::direct(version, ends)));
        }
        let rows = sqlx::query(
            "select user, joined_seq, left_seq from stints where conversation = ?1 and left_seq is null
             union all
             select user, joined_seq, left_seq from stints
             where conversation = ?1 and left_seq is not null and left_seq > ?2",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .fetch_all(&mut *reader)
        .await?;
        let members = rows
            .iter()
            .map(|row| {
                Ok((id(row, "user")?, Stint { joined: row.try_get("joined_seq")?, left: row.try_get("left_seq")? }))
            })
            .collect::<Result<_>>()?;
        Ok(Some(MemberList { version, members }))
    }

    async fn arrival(&self, arriving: Arriving<'_>, now: TimeMs) -> Result<Arrival> {
        let rows = sqlx::query(
            "select clock.stamp,
                    exists (select 1 from sessions where id = ?2 and user = ?1 and revoked = 0) as lives,
                    exists (select 1 from sessions where user = ?1 and revoked = 0 and expires > ?3 and terminal = ?4
                                and device <> ?5 and id <> ?2) as other_devices,
                    large.id, large.members_version, large.joined_seq
             from clock left join (
                 select c.id, c.members_version, s.joined_seq
                 from stints s cross join conversations c on c.id = s.conversation
                 where s.user = ?1 and s.left_seq is null and c.large = 1) large on true",
        )
        .bind(arriving.user.as_str())
        .bind(arriving.session.0.as_str())
        .bind(now)
        .bind(arriving.terminal.as_str())
        .bind(arriving.device.as_str())
        .fetch_all(&self.readers)
        .await?;
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let large = rows.iter().filter_map(|row| {
            let id = maybe_id(row, "id").transpose()?;
            Some(id.and_then(|id| {
                let stint = Stint { joined: row.try_get("joined_seq")?, left: None };
                Ok((id, row.try_get("members_version")?, stint))
            }))
        });
        Ok(Arrival {
            session_lives: first.try_get("lives")?,
            other_devices: first.try_get("other_devices")?,
            large: large.collect::<Result<_>>()?,
            stamp: Stamp(first.try_get("stamp")?),
        })
    }

    async fn set_preferences(&self, user: &UserId, conversation: &ConversationId, set: Preferences) -> Result<bool> {
        let mut write = self.write().await?;
        let changed = sqlx::query(
            "update user_conversations as uc
             set pinned = coalesce(?3, pinned), do_not_disturb = coalesce(?4, do_not_disturb),
                 draft = nullif(coalesce(?5, draft), ''), stamp = ?6
             from conversations c
             where uc.user = ?1 and uc.conversation = ?2 and c.id = ?2 and uc.removed is null
                 and not (uc.hidden and c.head <= uc.cleared_seq)",
        )
        .bind(user.as_str())
        .bind(conversation.as_str())
        .bind(set.pinned)
        .bind(set.do_not_disturb)
        .bind(set.draft)
        .bind(write.stamp.0)
        .execute(write.on())
        .await?
        .rows_affected();
        write.commit().await?;
        Ok(changed == 1)
    }

    async fn delete_for(&self, user: &UserId, conversation: &ConversationId) -> Result<bool> {
        let mut write = self.write().await?;
        let hidden = sqlx::query(
            "update user_conversations as uc
             set hidden = 1, cleared_seq = c.head, stamp = ?3, time = cast(unixepoch('subsec') * 1000 as integer)
             from conversations c
             where uc.user = ?1 and uc.conversation = ?2 and c.id = ?2 and uc.removed is null
                 and not (uc.hidden and c.head <= uc.cleared_seq)",
        )
        .bind(user.as_str())
        .bind(conversation.as_str())
        .bind(write.stamp.0)
        .execute(write.on())
        .await?
        .rows_affected();
        write.commit().await?;
        Ok(hidden == 1)
    }

    async fn save_reads(&self, positions: &[ReadPosition]) -> Result<()> {
        let Some(positions) = parameter(positions.iter()) else { return Ok(()) };
        let mut write = self.write().await?;
        // A hidden conversation of which something new is read is back in the list for good.
        sqlx::query(concat!(
            "update user_conversations as uc
             set read_seq = e.seq, stamp = ?2, hidden = uc.hidden and e.seq <= uc.cleared_seq
             from ",
            furthest!(),
            " e where uc.user = e.user and uc.conversation = e.conversation and uc.read_seq < e.seq"
        ))
        .bind(positions)
        .bind(write.stamp.0)
        .execute(write.on())
        .await?;
        write.commit().await
    }

    async fn save_delivered(&self, positions: &[ReadPosition]) -> Result<()> {
        let direct = |position: &&ReadPosition| position.conversation.kind() == ConversationKind::Direct;
        let Some(positions) = parameter(positions.iter().filter(direct)) else { return Ok(()) };
        let mut write = self.write().await?;
        // No list shows it, so the row keeps its stamp.
        sqlx::query(concat!(
            "update user_conversations as uc set delivered_seq = e.seq from ",
            furthest!(),
            " e where uc.user = e.user and uc.conversation = e.conversation and uc.delivered_seq < e.seq"
        ))
        .bind(positions)
        .execute(write.on())
        .await?;
        write.commit().await
    }

    async fn readers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        except: &UserId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Reader>> {
        let rows = sqlx::query(
            "select uc.user, uc.read_seq, uc.delivered_seq
             from user_conversations uc indexed by user_conversations_read
             cross join stints s on s.conversation = uc.conversation and s.user = uc.user and s.left_seq is null
             where uc.conversation = ?1 and uc.read_seq >= ?2 and uc.user <> ?3 and uc.user > ?4
             order by uc.user limit ?5",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .bind(except.as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(reader).collect()
    }

    async fn count_readers(&self, conversation: &ConversationId, seq: Seq, except: &UserId) -> Result<u64> {
        Ok(sqlx::query_scalar(
            "select count(*)
             from user_conversations uc indexed by user_conversations_read
             cross join stints s on s.conversation = uc.conversation and s.user = uc.user and s.left_seq is null
             where uc.conversation = ?1 and uc.read_seq >= ?2 and uc.user <> ?3",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .bind(except.as_str())
        .fetch_one(&self.readers)
        .await?)
    }

    async fn position(&self, conversation: &ConversationId, user: &UserId) -> Result<Option<Reader>> {
        let row = sqlx::query(
            "select user, read_seq, delivered_seq from user_conversations where user = ?1 and conversation = ?2",
        )
        .bind(user.as_str())
        .bind(conversation.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(reader).transpose()
    }
}
