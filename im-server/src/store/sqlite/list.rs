//! A user's list of conversations.
//!
//! A page takes two statements on one snapshot: which rows stand on it, then what each one shows. Only the second looks
//! at messages, and for no more rows than the page has.

use std::collections::HashMap;

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Seq, TimeMs, UserId};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::SqliteStore;
use super::rows::{id, int, json, message, message_columns, name};
use crate::store::{ListCursor, Result, Row, RowState, Stamp, UserRows};

/// A user's rows, with the place, the stamp and the state of each. What happens in a conversation touches the rows of
/// those who have it in their list; for others only what happened to the row itself counts.
macro_rules! user_rows {
    () => {
        "select uc.conversation, uc.read_seq, uc.cleared_seq, uc.pinned, uc.do_not_disturb, uc.draft,
                c.head, c.rev, c.incarnation, s.joined_seq,
                case when uc.removed is not null then uc.removed
                     when uc.hidden and c.head <= uc.cleared_seq then 'deleted' end as gone,
                case when uc.removed is null and not (uc.hidden and c.head <= uc.cleared_seq)
                     then max(c.stamp, uc.stamp) else uc.stamp end as touched,
                case when uc.removed is null and not (uc.hidden and c.head <= uc.cleared_seq)
                         and c.head >= s.joined_seq
                     then c.last_time else uc.time end as updated
         from user_conversations uc
         cross join conversations c on c.id = uc.conversation
         left join stints s on s.conversation = uc.conversation and s.user = uc.user and s.left_seq is null
         where uc.user = ?1"
    };
}

/// What a conversation shows in the list, to be looked up for a present row.
#[derive(Serialize)]
struct Wanted<'a> {
    conversation: &'a ConversationId,
    /// Everything up to here is read, or not for the user.
    from: i64,
    head: i64,
    /// The newest message, if the user may see it.
    last: Option<i64>,
    peer: Option<UserId>,
}

/// What [`Wanted`] asks for: the message columns are null where there is no last one.
const SHOWN: &str = concat!(
    "with wanted as materialized (
         select key as place, value ->> 'conversation' as conversation, value ->> 'from' as from_seq,
                value ->> 'head' as head, value ->> 'last' as last, value ->> 'peer' as peer
         from json_each(?2))
     select ",
    message_columns!(),
    ", w.place,
         case when w.peer is null then g.name else coalesce(nullif(f.remark, ''), a.name) end as title,
         coalesce((select badge_count from messages where conversation = w.conversation and seq = w.head), 0)
         - coalesce((select badge_count from messages where conversation = w.conversation and seq = w.from_seq), 0)
         - coalesce((select own_count from messages where conversation = w.conversation and sender = ?1
                     and seq <= w.head order by seq desc limit 1), 0)
         + coalesce((select own_count from messages where conversation = w.conversation and sender = ?1
                     and seq <= w.from_seq order by seq desc limit 1), 0) as unread,
         exists (select 1 from messages b indexed by messages_mentioning
                 where b.conversation = w.conversation and b.seq > w.from_seq and b.seq <= w.head
                     and (b.mentions is not null or b.mention_all = 1) and b.sender <> ?1
                     and (b.mention_all = 1
                          or exists (select 1 from json_each(b.mentions) n where n.value = ?1))) as mentioned
     from wanted w
     left join messages m on m.conversation = w.conversation and m.seq = w.last
     left join conversations c on c.id = m.conversation
     left join chat_groups g on g.conversation = w.conversation
     left join accounts a on a.user = w.peer
     left join friends f on f.user = ?1 and f.friend = w.peer
     order by w.place"
);

/// A row of the first statement.
struct Stored {
    conversation: ConversationId,
    stamp: Stamp,
    updated: TimeMs,
    gone: Option<RemovedReason>,
    /// As far as stored or still in memory, not beyond the head.
    read: Seq,
    /// Everything up to here is read, deleted for the user, or from before the joining.
    from: Seq,
    last: Option<Seq>,
    head: Seq,
    row: SqliteRow,
}

impl Stored {
    fn of(row: SqliteRow, reads: &HashMap<&ConversationId, Seq>) -> Result<Self> {
        let conversation: ConversationId = id(&row, "conversation")?;
        let head: Seq = row.try_get("head")?;
        let cleared: Seq = row.try_get("cleared_seq")?;
        let joined: Seq = row.try_get::<Option<Seq>, _>("joined_seq")?.unwrap_or(1);
        let stored: Seq = row.try_get("read_seq")?;
        let read = stored.max(reads.get(&conversation).copied().unwrap_or(0)).min(head);
        let before = joined.saturating_sub(1).max(cleared);
        Ok(Self {
            stamp: Stamp(row.try_get("touched")?),
            updated: row.try_get("updated")?,
            gone: row.try_get::<Option<&str>, _>("gone")?.map(|_| name(&row, "gone")).transpose()?,
            read,
            from: read.max(before).min(head),
            last: (head > before).then_some(head),
            head,
            conversation,
            row,
        })
    }
}

/// Looks up what present rows show.
async fn show(on: &mut SqliteConnection, user: &UserId, stored: Vec<Stored>) -> Result<Vec<Row>> {
    let present: Vec<&Stored> = stored.iter().filter(|stored| stored.gone.is_none()).collect();
    let wanted: Vec<Wanted<'_>> = present
        .iter()
        .map(|stored| Wanted {
            conversation: &stored.conversation,
            from: int(stored.from),
            head: int(stored.head),
            last: stored.last.map(int),
            peer: stored.conversation.peer(user),
        })
        .collect();
    let shown = if wanted.is_empty() {
        Vec::new()
    } else {
        sqlx::query(SHOWN).bind(user.as_str()).bind(json(&wanted)).fetch_all(on).await?
    };
    let mut shown = shown.iter();
    stored
        .into_iter()
        .map(|stored| {
            let state = match stored.gone {
                Some(reason) => RowState::Removed(reason),
                None => present_state(&stored, shown.next().ok_or(sqlx::Error::RowNotFound)?)?,
            };
            Ok(Row { conversation: stored.conversation, stamp: stored.stamp, updated: stored.updated, state })
        })
        .collect()
}

fn present_state(stored: &Stored, shown: &SqliteRow) -> Result<RowState> {
    let row = &stored.row;
    Ok(RowState::Present {
        title: shown.try_get::<Option<String>, _>("title")?.unwrap_or_default(),
        head: stored.head,
        rev: row.try_get("rev")?,
        incarnation: row.try_get("incarnation")?,
        read: stored.read,
        unread: u64::try_from(shown.try_get::<i64, _>("unread")?).unwrap_or(0),
        last: stored.last.map(|_| message(shown)).transpose()?,
        mentioned: shown.try_get("mentioned")?,
        pinned: row.try_get("pinned")?,
        do_not_disturb: row.try_get("do_not_disturb")?,
        draft: row.try_get("draft")?,
    })
}

impl SqliteStore {
    pub(super) async fn list_page(
        &self,
        user: &UserId,
        since: Option<Stamp>,
        cursor: Option<&ListCursor>,
        limit: u32,
        reads: &[(ConversationId, Seq)],
    ) -> Result<UserRows> {
        let mut reader = self.read().await?;
        let stamp = sqlx::query_scalar("select stamp from clock").fetch_one(&mut *reader).await?;
        let rows = sqlx::query(concat!(
            "select * from (",
            user_rows!(),
            ") where case when ?2 is null then gone is null else touched > ?2 end
                   and (?3 is null or (updated, conversation) < (?3, ?4))
               order by updated desc, conversation desc limit ?5"
        ))
        .bind(user.as_str())
        .bind(since.map(|stamp| stamp.0))
        .bind(cursor.map(|cursor| cursor.updated))
        .bind(cursor.map(|cursor| cursor.conversation.as_str()))
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *reader)
        .await?;
        let more = rows.len() > limit as usize;
        let reads = reads.iter().map(|(conversation, seq)| (conversation, *seq)).collect();
        let stored =
            rows.into_iter().take(limit as usize).map(|row| Stored::of(row, &reads)).collect::<Result<Vec<_>>>()?;
        Ok(UserRows { rows: show(&mut reader, user, stored).await?, more, stamp: Stamp(stamp) })
    }

    pub(super) async fn list_row(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        read: Option<Seq>,
    ) -> Result<Option<Row>> {
        let mut reader = self.read().await?;
        let row = sqlx::query(concat!(user_rows!(), " and uc.conversation = ?2"))
            .bind(user.as_str())
            .bind(conversation.as_str())
            .fetch_optional(&mut *reader)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let reads = read.map(|seq| (conversation, seq)).into_iter().collect();
        Ok(show(&mut reader, user, vec![Stored::of(row, &reads)?]).await?.pop())
    }
}
