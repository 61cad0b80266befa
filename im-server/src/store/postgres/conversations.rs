//! Conversations: who sees what, switches, positions.

use async_trait::async_trait;
use im_protocol::{ConversationId, ConversationKind, Seq, TimeMs, UserId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::rows::{id, int, maybe_id, maybe_number, number, small, stints};
use super::{PostgresStore, call, error, transact};
use crate::store::paging::without_cleared;
use crate::store::{
    Access, Arrival, Arriving, Conversations, ListCursor, MemberList, Preferences, ReadPosition, Reader, Result, Row,
    Stamp, Stint, UserRows,
};

fn reader(row: &PgRow) -> error::Result<Reader> {
    Ok(Reader { user: id(row, "user_id")?, read: number(row, "read_seq")?, delivered: number(row, "delivered_seq")? })
}

/// Positions as arrays of users, conversations and seqs.
fn arrays<'a>(positions: impl Iterator<Item = &'a ReadPosition>) -> (Vec<&'a str>, Vec<&'a str>, Vec<i64>) {
    let mut arrays = (Vec::new(), Vec::new(), Vec::new());
    for position in positions {
        arrays.0.push(position.user.as_str());
        arrays.1.push(position.conversation.as_str());
        arrays.2.push(int(position.seq));
    }
    arrays
}

/// The furthest of the positions in the parameters of each user and conversation, not beyond the head; sorted, so that
/// two that store the same ones hardly ever wait for each other.
macro_rules! furthest {
    () => {
        "(select p.user_id, p.conversation, max(least(p.seq, c.head)) as seq
          from unnest($1::text[], $2::text[], $3::bigint[]) p (user_id, conversation, seq)
          join conversations c on c.id = p.conversation group by 1, 2 order by 1, 2)"
    };
}

#[async_trait]
impl Conversations for PostgresStore {
    async fn stamp(&self) -> Result<Stamp> {
        Ok(Stamp(call!(self, "stamp", |on| sqlx::query_scalar("select im_horizon_v1()").fetch_one(on))))
    }

    async fn list(
        &self,
        user: &UserId,
        since: Option<Stamp>,
        cursor: Option<&ListCursor>,
        limit: u32,
        reads: &[(ConversationId, Seq)],
    ) -> Result<UserRows> {
        Ok(self.list_page(user, since, cursor, limit, reads).await?)
    }

    async fn row(&self, user: &UserId, conversation: &ConversationId, read: Option<Seq>) -> Result<Option<Row>> {
        Ok(self.list_row(user, conversation, read).await?)
    }

    async fn access(&self, user: &UserId, conversation: &ConversationId) -> Result<Option<Access>> {
        let ends = conversation.ends();
        // A direct conversation of two accounts is there even before its first message.
        let row = call!(self, "access", |on| {
            sqlx::query(
            "select coalesce(c.head, 0) as head, coalesce(c.rev, 0) as rev, coalesce(c.incarnation, 1) as incarnation,
                    coalesce(c.members, case when $3 = $4 then 1 else 2 end) as members,
                    coalesce(c.members_version, 1) as members_version, coalesce(c.large, false) as large,
                    coalesce(g.dissolved, false) as dissolved, coalesce(uc.cleared_seq, 0) as cleared_seq,
                    array(select joined_seq from stints where conversation = $1 and user_id = $2 order by joined_seq)
                        as joined,
                    array(select left_seq from stints where conversation = $1 and user_id = $2 order by joined_seq)
                        as ended
             from (select) one
             left join conversations c on c.id = $1
             left join chat_groups g on g.conversation = $1
             left join user_conversations uc on uc.user_id = $2 and uc.conversation = $1
             where c.id is not null or (exists (select from accounts where user_id = $3)
                                        and exists (select from accounts where user_id = $4))",
        )
        .bind(conversation.as_str())
        .bind(user.as_str())
        .bind(ends.as_ref().map(|(a, _)| a.as_str()))
        .bind(ends.as_ref().map(|(_, b)| b.as_str()))
        .fetch_optional(on)
        });
        let Some(row) = row else { return Ok(None) };
        let stints = match Stint::by_id(conversation, user) {
            Some(stints) => stints,
            None => stints(&row, "joined", "ended")?,
        };
        Ok(Some(Access {
            head: number(&row, "head")?,
            rev: number(&row, "rev")?,
            incarnation: small(&row, "incarnation")?,
            stints: without_cleared(stints, number(&row, "cleared_seq")?),
            members: small(&row, "members")?,
            members_version: number(&row, "members_version")?,
            large: row.try_get("large").map_err(error::Fault::from)?,
            dissolved: row.try_get("dissolved").map_err(error::Fault::from)?,
        }))
    }

    async fn member_list(&self, conversation: &ConversationId, seq: Seq) -> Result<Option<MemberList>> {
        if let Some((a, b)) = conversation.ends() {
            let version: Option<i64> = call!(self, "member_list", |on| sqlx::query_scalar(
                "select coalesce((select members_version from conversations where id = $1), 1)
                 where exists (select from conversations where id = $1)
                     or (exists (select from accounts where user_id = $2)
                         and exists (select from accounts where user_id = $3))",
            )
            .bind(conversation.as_str())
            .bind(a.as_str())
            .bind(b.as_str())
            .fetch_optional(on));
            let Some(version) = version else { return Ok(None) };
            return Ok(Some(MemberList::direct(version.cast_unsigned(), (a, b))));
        }
        let rows = call!(self, "member_list", |on| sqlx::query(
            "select c.members_version, s.user_id, s.joined_seq, s.left_seq
             from conversations c left join lateral (
                 select user_id, joined_seq, left_seq from stints where conversation = $1 and left_seq is null
                 union all
                 select user_id, joined_seq, left_seq from stints
                 where conversation = $1 and left_seq is not null and left_seq > $2) s on true
             where c.id = $1",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .fetch_all(on));
        let Some(first) = rows.first() else { return Ok(None) };
        let version = number(first, "members_version")?;
        let mut members = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(user) = maybe_id(row, "user_id")? {
                let stint = Stint { joined: number(row, "joined_seq")?, left: maybe_number(row, "left_seq")? };
                members.push((user, stint));
            }
        }
        Ok(Some(MemberList { version, members }))
    }

    async fn arrival(&self, arriving: Arriving<'_>, now: TimeMs) -> Result<Arrival> {
        let rows = call!(self, "arrival", |on| sqlx::query(
            "select one.stamp, one.lives, one.other_devices, large.id, large.members_version, large.joined_seq
             from (select im_horizon_v1() as stamp,
                          exists (select from sessions where id = $2 and user_id = $1 and not revoked) as lives,
                          exists (select from sessions where user_id = $1 and not revoked and expires > $3
                                      and terminal = $4 and device <> $5 and id <> $2) as other_devices) one
             left join (
                 select c.id, c.members_version, s.joined_seq
                 from stints s join conversations c on c.id = s.conversation
                 where s.user_id = $1 and s.left_seq is null and c.large) large on true",
        )
        .bind(arriving.user.as_str())
        .bind(arriving.session.0.as_str())
        .bind(now)
        .bind(arriving.terminal.as_str())
        .bind(arriving.device.as_str())
        .fetch_all(on));
        let first = rows.first().ok_or_else(|| error::Fault::broken("a statement that has a row had none"))?;
        let mut large = Vec::new();
        for row in &rows {
            if let Some(id) = maybe_id(row, "id")? {
                let stint = Stint { joined: number(row, "joined_seq")?, left: None };
                large.push((id, number(row, "members_version")?, stint));
            }
        }
        Ok(Arrival {
            session_lives: first.try_get("lives").map_err(error::Fault::from)?,
            other_devices: first.try_get("other_devices").map_err(error::Fault::from)?,
            large,
            stamp: Stamp(first.try_get("stamp").map_err(error::Fault::from)?),
        })
    }

    async fn set_preferences(&self, user: &UserId, conversation: &ConversationId, set: Preferences) -> Result<bool> {
        let changed = transact!(self, "set_preferences", |write| {
            let stamp = write.stamp().await?;
            sqlx::query(
                "update user_conversations uc
                 set pinned = coalesce($3, pinned), do_not_disturb = coalesce($4, do_not_disturb),
                     draft = nullif(coalesce($5, draft), ''), stamp = $6
                 from conversations c
                 where uc.user_id = $1 and uc.conversation = $2 and c.id = $2 and uc.removed is null
                     and not (uc.hidden and c.head <= uc.cleared_seq)",
            )
            .bind(user.as_str())
            .bind(conversation.as_str())
            .bind(set.pinned)
            .bind(set.do_not_disturb)
            .bind(set.draft.as_deref())
            .bind(stamp.0)
            .execute(write.on())
            .await?
            .rows_affected()
        });
        Ok(changed == 1)
    }

    async fn delete_for(&self, user: &UserId, conversation: &ConversationId) -> Result<bool> {
        let hidden = transact!(self, "delete_for", |write| {
            let stamp = write.stamp().await?;
            sqlx::query(
                "update user_conversations uc
                 set hidden = true, cleared_seq = c.head, stamp = $3, time = im_clock_v1()
                 from conversations c
                 where uc.user_id = $1 and uc.conversation = $2 and c.id = $2 and uc.removed is null
                     and not (uc.hidden and c.head <= uc.cleared_seq)",
            )
            .bind(user.as_str())
            .bind(conversation.as_str())
            .bind(stamp.0)
            .execute(write.on())
            .await?
            .rows_affected()
        });
        Ok(hidden == 1)
    }

    async fn save_reads(&self, positions: &[ReadPosition]) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let (users, conversations, seqs) = arrays(positions.iter());
        transact!(self, "save_reads", |write| {
            let stamp = write.stamp().await?;
            // A hidden conversation of which something new is read is back in the list for good.
            sqlx::query(concat!(
                "update user_conversations uc
                 set read_seq = e.seq, stamp = $4, hidden = uc.hidden and e.seq <= uc.cleared_seq
                 from ",
                furthest!(),
                " e where uc.user_id = e.user_id and uc.conversation = e.conversation and uc.read_seq < e.seq"
            ))
            .bind(&users)
            .bind(&conversations)
            .bind(&seqs)
            .bind(stamp.0)
            .execute(write.on())
            .await?;
        });
        Ok(())
    }

    async fn save_delivered(&self, positions: &[ReadPosition]) -> Result<()> {
        let direct = |position: &&ReadPosition| position.conversation.kind() == ConversationKind::Direct;
        let (users, conversations, seqs) = arrays(positions.iter().filter(direct));
        if users.is_empty() {
            return Ok(());
        }
        transact!(self, "save_delivered", |write| {
            // No list shows it, so the row keeps its stamp.
            sqlx::query(concat!(
                "update user_conversations uc set delivered_seq = e.seq from ",
                furthest!(),
                " e where uc.user_id = e.user_id and uc.conversation = e.conversation and uc.delivered_seq < e.seq"
            ))
            .bind(&users)
            .bind(&conversations)
            .bind(&seqs)
            .execute(write.on())
            .await?;
        });
        Ok(())
    }

    async fn readers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        except: &UserId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Reader>> {
        let rows = call!(self, "readers", |on| sqlx::query(
            "select uc.user_id, uc.read_seq, uc.delivered_seq
             from user_conversations uc
             where uc.conversation = $1 and uc.read_seq >= $2 and uc.user_id <> $3 and uc.user_id > $4
                 and (select true from stints where conversation = $1 and user_id = uc.user_id and left_seq is null)
             order by uc.user_id limit $5",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .bind(except.as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(reader).collect::<error::Result<_>>()?)
    }

    async fn count_readers(&self, conversation: &ConversationId, seq: Seq, except: &UserId) -> Result<u64> {
        let count: i64 = call!(self, "count_readers", |on| sqlx::query_scalar(
            "select count(*)
             from user_conversations uc
             where uc.conversation = $1 and uc.read_seq >= $2 and uc.user_id <> $3
                 and (select true from stints where conversation = $1 and user_id = uc.user_id and left_seq is null)",
        )
        .bind(conversation.as_str())
        .bind(int(seq))
        .bind(except.as_str())
        .fetch_one(on));
        Ok(count.cast_unsigned())
    }

    async fn position(&self, conversation: &ConversationId, user: &UserId) -> Result<Option<Reader>> {
        let row = call!(self, "position", |on| {
            sqlx::query(
            "select user_id, read_seq, delivered_seq from user_conversations where user_id = $1 and conversation = $2"
        )
        .bind(user.as_str())
        .bind(conversation.as_str())
        .fetch_optional(on)
        });
        Ok(row.as_ref().map(reader).transpose()?)
    }
}
