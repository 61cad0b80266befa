//! Push work: what has to be looked at, and whom it may concern.

use im_protocol::{ConversationId, ConversationKind, DeviceId, TimeMs, UserId};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::push_jobs;
use super::rows::{from_json, id, json, parse};
use super::{SqliteStore, Write};
use crate::store::push::by_place;
use crate::store::{Asked, Candidate, JobKey, NewWork, Notice, PushTotals, Result, Settled, StoreError, Work};

/// Rows of one table that are counted: beyond, more tells nobody anything and takes ever longer.
const COUNTED: u32 = 100_000;

/// Stores work in a transaction.
pub(super) async fn add(write: &mut Write, work: &[NewWork]) -> Result<()> {
    if work.is_empty() {
        return Ok(());
    }
    let work: Vec<_> = work.iter().map(|work| (json(&work.item), work.time, work.due)).collect();
    // An item that is looked at right now is looked at once more: the claim of whoever does is void.
    sqlx::query(
        "insert into push_work (item, time, due) select value ->> 0, value ->> 1, value ->> 2 from json_each(?1)
         where true on conflict (item) do update set time = min(time, excluded.time), due = excluded.due,
             claims = claims + 1, cursor = null",
    )
    .bind(json(&work))
    .execute(write.on())
    .await?;
    Ok(())
}

/// Whether every claim still stands.
async fn are_claimed(on: &mut SqliteConnection, settled: &[Settled]) -> Result<bool> {
    let claims: Vec<_> = settled.iter().map(|settled| (json(&settled.work.item), settled.work.claims)).collect();
    let standing: i64 = sqlx::query_scalar(
        "select count(*) from json_each(?1) e
         cross join push_work p on p.item = e.value ->> 0 and p.claims = e.value ->> 1",
    )
    .bind(json(&claims))
    .fetch_one(on)
    .await?;
    Ok(usize::try_from(standing).is_ok_and(|standing| standing == settled.len()))
}

/// A group whose members are asked for.
#[derive(Serialize)]
struct Group<'a>(usize, &'a ConversationId, &'a str);

/// A member who is asked for by name.
#[derive(Serialize)]
struct Named<'a>(usize, &'a ConversationId, &'a UserId, bool);

fn candidate(row: &SqliteRow) -> Result<(usize, Candidate)> {
    let place: i64 = row.try_get("place")?;
    let candidate = Candidate {
        user: id(row, "user")?,
        joined: row.try_get("joined_seq")?,
        read: row.try_get("read_seq")?,
        delivered: row.try_get("delivered_seq")?,
        do_not_disturb: row.try_get("do_not_disturb")?,
    };
    Ok((usize::try_from(place).map_err(|error| StoreError::Broken(error.to_string()))?, candidate))
}

/// What decides on a push, of `user_conversations uc` and `stints s`.
macro_rules! candidate_columns {
    () => {
        "e.value ->> 0 as place, uc.user, coalesce(s.joined_seq, 1) as joined_seq,
         max(uc.read_seq, uc.cleared_seq) as read_seq, uc.delivered_seq, uc.do_not_disturb"
    };
}

impl SqliteStore {
    pub(super) async fn add_work(&self, work: &[NewWork]) -> Result<()> {
        let mut write = self.write().await?;
        add(&mut write, work).await?;
        write.commit().await
    }

    pub(super) async fn claim_work(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Work>> {
        // A look that finds nothing must not wait for the disk.
        let due = sqlx::query_scalar("select exists (select 1 from push_work where due <= ?1)");
        if !due.bind(now).fetch_one(&self.readers).await? {
            return Ok(Vec::new());
        }
        let mut write = self.write().await?;
        let rows = sqlx::query(
            "update push_work set due = ?2, claims = claims + 1
             where item in (select item from push_work where due <= ?1 order by due limit ?3)
             returning item, time, claims, cursor",
        )
        .bind(now)
        .bind(until)
        .bind(limit)
        .fetch_all(write.on())
        .await?;
        let work = rows
            .iter()
            .map(|row| {
                Ok(Work {
                    item: from_json(row.try_get("item")?)?,
                    time: row.try_get("time")?,
                    claims: row.try_get("claims")?,
                    cursor: row.try_get("cursor")?,
                })
            })
            .collect::<Result<_>>()?;
        write.commit().await?;
        Ok(work)
    }

    pub(super) async fn settle_work(
        &self,
        settled: &[Settled],
        jobs: &[(JobKey, Notice)],
        more: &[NewWork],
        now: TimeMs,
    ) -> Result<bool> {
        let mut write = self.write().await?;
        if !are_claimed(write.on(), settled).await? {
            return Ok(false);
        }
        let done: Vec<_> =
            settled.iter().filter(|one| one.rest.is_none()).map(|settled| json(&settled.work.item)).collect();
        sqlx::query("delete from push_work where item in (select value from json_each(?1))")
            .bind(json(&done))
            .execute(write.on())
            .await?;
        let rest = settled.iter().filter_map(|one| Some((json(&one.work.item), one.rest.as_ref()?)));
        let rest: Vec<_> = rest.map(|(item, rest)| (item, &rest.cursor, rest.due)).collect();
        sqlx::query(
            "update push_work as p set cursor = e.value ->> 1, due = e.value ->> 2 from json_each(?1) e
             where p.item = e.value ->> 0",
        )
        .bind(json(&rest))
        .execute(write.on())
        .await?;
        push_jobs::merge(&mut write, jobs, now).await?;
        add(&mut write, more).await?;
        write.commit().await?;
        Ok(true)
    }

    pub(super) async fn candidates(&self, asked: &[Asked], limit: u32) -> Result<Vec<Vec<Candidate>>> {
        let mut groups = Vec::new();
        let mut named = Vec::new();
        for (place, Asked { conversation, among, after }) in asked.iter().enumerate() {
            let group = conversation.kind() == ConversationKind::Group;
            match among {
                Some(users) => named.extend(users.iter().map(|user| Named(place, conversation, user, group))),
                None => groups.push(Group(place, conversation, after.as_ref().map_or("", UserId::as_str))),
            }
        }
        let mut reader = self.read().await?;
        let mut rows = Vec::new();
        if !groups.is_empty() {
            let members = sqlx::query(concat!(
                "select ",
                candidate_columns!(),
                " from json_each(?1) e
                 cross join stints s on s.conversation = e.value ->> 1 and s.left_seq is null and s.user in (
                     select user from stints where conversation = e.value ->> 1 and left_seq is null
                         and user > e.value ->> 2 order by user limit ?2)
                 cross join user_conversations uc on uc.user = s.user and uc.conversation = s.conversation"
            ));
            rows.extend(members.bind(json(&groups)).bind(limit).fetch_all(&mut *reader).await?);
        }
        if !named.is_empty() {
            let members = sqlx::query(concat!(
                "select ",
                candidate_columns!(),
                " from json_each(?1) e
                 cross join user_conversations uc on uc.user = e.value ->> 2 and uc.conversation = e.value ->> 1
                     and uc.removed is null
                 left join stints s on s.conversation = uc.conversation and s.user = uc.user and s.left_seq is null
                 where not e.value ->> 3 or s.user is not null"
            ));
            rows.extend(members.bind(json(&named)).fetch_all(&mut *reader).await?);
        }
        let found = rows.iter().map(candidate).collect::<Result<_>>()?;
        Ok(by_place(found, asked.len()))
    }

    pub(super) async fn devices(&self, users: &[UserId], now: TimeMs) -> Result<Vec<Vec<DeviceId>>> {
        let rows = sqlx::query(
            "select distinct e.key as place, s.device from json_each(?1) e
             cross join sessions s on s.user = e.value and s.revoked = 0
             where s.terminal = 'mobile' and s.expires > ?2 order by 1, 2",
        )
        .bind(json(users))
        .bind(now)
        .fetch_all(&self.readers)
        .await?;
        let mut devices = vec![Vec::new(); users.len()];
        for row in &rows {
            let place: u32 = row.try_get("place")?;
            devices[place as usize].push(parse(row.try_get("device")?)?);
        }
        Ok(devices)
    }

    pub(super) async fn badge_of(&self, users: &[UserId]) -> Result<Vec<u64>> {
        // Conversations that are read to their head have nothing to count: only the others look at messages.
        let rows = sqlx::query(
            "with wanted as materialized (
                 select e.key as place, uc.user, uc.conversation, c.head,
                        max(uc.read_seq, uc.cleared_seq, coalesce(s.joined_seq, 1) - 1) as from_seq
                 from json_each(?1) e
                 cross join user_conversations uc on uc.user = e.value and uc.removed is null
                     and uc.do_not_disturb = 0
                 cross join conversations c on c.id = uc.conversation and c.head > uc.read_seq
                 left join stints s on s.conversation = uc.conversation and s.user = uc.user and s.left_seq is null)
             select w.place, sum(
                 coalesce((select badge_count from messages where conversation = w.conversation and seq = w.head), 0)
                 - coalesce((select badge_count from messages
                             where conversation = w.conversation and seq = w.from_seq), 0)
                 - coalesce((select own_count from messages where conversation = w.conversation and sender = w.user
                             and seq <= w.head order by seq desc limit 1), 0)
                 + coalesce((select own_count from messages where conversation = w.conversation and sender = w.user
                             and seq <= w.from_seq order by seq desc limit 1), 0)) as unread
             from wanted w where w.head > w.from_seq group by w.place",
        )
        .bind(json(users))
        .fetch_all(&self.readers)
        .await?;
        let mut badges = vec![0; users.len()];
        for row in &rows {
            let place: u32 = row.try_get("place")?;
            badges[place as usize] = u64::try_from(row.try_get::<i64, _>("unread")?).unwrap_or(0);
        }
        Ok(badges)
    }

    pub(super) async fn totals(&self) -> Result<PushTotals> {
        let (pending, dead): (i64, i64) = sqlx::query_as(
            "select (select count(*) from (select 1 from push_work limit ?1))
                    + (select count(*) from (select 1 from push_jobs limit ?1)),
                    (select count(*) from (select 1 from push_dead_letters limit ?1))",
        )
        .bind(COUNTED)
        .fetch_one(&self.readers)
        .await?;
        Ok(PushTotals { pending: pending.cast_unsigned(), dead: dead.cast_unsigned() })
    }
}
