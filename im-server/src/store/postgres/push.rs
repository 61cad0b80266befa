//! Push work: what has to be looked at, and whom it may concern.

use im_protocol::{ConversationKind, DeviceId, TimeMs, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::error::Result;
use super::rows::{from_json_column, id, json, number, small, texts, unsigned};
use super::session::Write;
use super::{PostgresStore, call, push_jobs, transact};
use crate::store::push::by_place;
use crate::store::{Asked, Candidate, JobKey, NewWork, Notice, PushTotals, Settled, Work};

/// Rows of one table that are counted: beyond, more tells nobody anything and takes ever longer.
const COUNTED: i64 = 100_000;

/// Stores work in a transaction.
pub(super) async fn add(write: &mut Write<'_>, work: &[NewWork]) -> Result<()> {
    // One row of each, the earliest time first, in one order: two that add the same take turns.
    let mut rows: Vec<_> = work.iter().map(|work| (json(&work.item), work.time, work.due)).collect();
    rows.sort();
    rows.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.2 = later.2;
        }
        same
    });
    if rows.is_empty() {
        return Ok(());
    }
    let items: Vec<&str> = rows.iter().map(|(item, ..)| item.as_str()).collect();
    let times: Vec<i64> = rows.iter().map(|(_, time, _)| *time).collect();
    let dues: Vec<i64> = rows.iter().map(|(.., due)| *due).collect();
    // An item that is looked at right now is looked at once more: the claim of whoever does is void.
    sqlx::query(
        "insert into push_work as p (item, time, due) select * from unnest($1::text[], $2::bigint[], $3::bigint[])
         on conflict (item) do update set time = least(p.time, excluded.time), due = excluded.due,
             claims = p.claims + 1, cursor = null",
    )
    .bind(&items)
    .bind(&times)
    .bind(&dues)
    .execute(write.on())
    .await?;
    Ok(())
}

/// Whether every claim still stands; it does until the transaction ends.
async fn are_claimed(on: &mut PgConnection, settled: &[Settled]) -> Result<bool> {
    let items: Vec<String> = settled.iter().map(|settled| json(&settled.work.item)).collect();
    let claims: Vec<i32> = settled.iter().map(|settled| claims(settled.work.claims)).collect();
    let standing = sqlx::query(
        "select from unnest($1::text[], $2::int[]) e (item, claims)
         join push_work p on p.item = e.item and p.claims = e.claims order by p.item for update of p",
    )
    .bind(&items)
    .bind(&claims)
    .fetch_all(on)
    .await?;
    Ok(standing.len() == settled.len())
}

/// The number of a claim as a column has it.
pub(super) fn claims(claims: u32) -> i32 {
    i32::try_from(claims).unwrap_or(i32::MAX)
}

fn candidate(row: &PgRow) -> Result<(usize, Candidate)> {
    let candidate = Candidate {
        user: id(row, "user_id")?,
        joined: number(row, "joined_seq")?,
        read: number(row, "read_seq")?,
        delivered: number(row, "delivered_seq")?,
        do_not_disturb: row.try_get("do_not_disturb")?,
    };
    Ok((small(row, "place")?, candidate))
}

/// What decides on a push, of `user_conversations uc` and `stints s`.
macro_rules! candidate_columns {
    () => {
        "e.place, uc.user_id, coalesce(s.joined_seq, 1) as joined_seq,
         greatest(uc.read_seq, uc.cleared_seq) as read_seq, uc.delivered_seq, uc.do_not_disturb"
    };
}

/// The number of something asked for.
fn place(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

impl PostgresStore {
    pub(super) async fn add_work(&self, work: &[NewWork]) -> Result<()> {
        transact!(self, "add_push_work", |write| { add(&mut write, work).await? });
        Ok(())
    }

    pub(super) async fn claim_work(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Work>> {
        let mut rows = call!(self, "claim_push_work", |on| sqlx::query(
            "with due as (
                 select item, due from push_work where due <= $1 order by due limit $3 for update skip locked)
             update push_work p set due = $2, claims = p.claims + 1 from due where p.item = due.item
             returning p.item, p.time, p.claims, p.cursor, due.due as was_due",
        )
        .bind(now)
        .bind(until)
        .bind(i64::from(limit))
        .fetch_all(on));
        // `returning` tells them in no order.
        rows.sort_by_key(|row| row.try_get::<i64, _>("was_due").unwrap_or_default());
        let work = |row: &PgRow| {
            Ok(Work {
                item: from_json_column(row, "item")?,
                time: row.try_get("time")?,
                claims: small(row, "claims")?,
                cursor: row.try_get("cursor")?,
            })
        };
        rows.iter().map(work).collect()
    }

    pub(super) async fn settle_work(
        &self,
        settled: &[Settled],
        jobs: &[(JobKey, Notice)],
        more: &[NewWork],
        now: TimeMs,
    ) -> Result<bool> {
        let done: Vec<String> =
            settled.iter().filter(|one| one.rest.is_none()).map(|settled| json(&settled.work.item)).collect();
        let (mut items, mut cursors, mut dues) = (Vec::new(), Vec::new(), Vec::new());
        for (work, rest) in settled.iter().filter_map(|one| Some((&one.work, one.rest.as_ref()?))) {
            items.push(json(&work.item));
            cursors.push(rest.cursor.as_deref());
            dues.push(rest.due);
        }
        Ok(transact!(self, "settle_push_work", |write| {
            if !are_claimed(write.on(), settled).await? {
                return Ok(false);
            }
            sqlx::query("delete from push_work where item = any ($1)").bind(&done).execute(write.on()).await?;
            sqlx::query(
                "update push_work p set cursor = e.cursor, due = e.due
                 from unnest($1::text[], $2::text[], $3::bigint[]) e (item, cursor, due) where p.item = e.item",
            )
            .bind(&items)
            .bind(&cursors)
            .bind(&dues)
            .execute(write.on())
            .await?;
            push_jobs::merge(&mut write, jobs, now).await?;
            add(&mut write, more).await?;
            true
        }))
    }

    pub(super) async fn candidates(&self, asked: &[Asked], limit: u32) -> Result<Vec<Vec<Candidate>>> {
        let (mut groups, mut group_ids, mut afters) = (Vec::new(), Vec::new(), Vec::new());
        let (mut named, mut named_ids, mut users, mut present) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, Asked { conversation, among, after }) in asked.iter().enumerate() {
            if let Some(among) = among {
                for user in among {
                    named.push(place(at));
                    named_ids.push(conversation.as_str());
                    users.push(user.as_str());
                    present.push(conversation.kind() == ConversationKind::Group);
                }
            } else {
                groups.push(place(at));
                group_ids.push(conversation.as_str());
                afters.push(after.as_ref().map_or("", UserId::as_str));
            }
        }
        let mut rows = Vec::new();
        if !groups.is_empty() {
            rows.extend(call!(self, "push_candidates", |on| sqlx::query(concat!(
                "select ",
                candidate_columns!(),
                " from unnest($1::int[], $2::text[], $3::text[]) e (place, conversation, after)
                 cross join lateral (
                     select user_id, joined_seq from stints
                     where conversation = e.conversation and left_seq is null and user_id > e.after
                     order by user_id limit $4) s
                 join user_conversations uc on uc.user_id = s.user_id and uc.conversation = e.conversation"
            ))
            .bind(&groups)
            .bind(&group_ids)
            .bind(&afters)
            .bind(i64::from(limit))
            .fetch_all(on)));
        }
        if !named.is_empty() {
            rows.extend(call!(self, "push_candidates", |on| sqlx::query(concat!(
                "select ",
                candidate_columns!(),
                " from unnest($1::int[], $2::text[], $3::text[], $4::boolean[]) e (place, conversation, user_id, present)
                 join user_conversations uc on uc.user_id = e.user_id and uc.conversation = e.conversation
                     and uc.removed is null
                 left join stints s on s.conversation = uc.conversation and s.user_id = uc.user_id
                     and s.left_seq is null
                 where not e.present or s.user_id is not null"
            ))
            .bind(&named)
            .bind(&named_ids)
            .bind(&users)
            .bind(&present)
            .fetch_all(on)));
        }
        let found = rows.iter().map(candidate).collect::<Result<_>>()?;
        Ok(by_place(found, asked.len()))
    }

    pub(super) async fn devices(&self, users: &[UserId], now: TimeMs) -> Result<Vec<Vec<DeviceId>>> {
        let rows = call!(self, "push_devices", |on| sqlx::query(
            "select distinct e.n, s.device from unnest($1::text[]) with ordinality e (user_id, n)
             cross join lateral (
                 select device from sessions
                 where user_id = e.user_id and not revoked and terminal = 'mobile' and expires > $2 offset 0) s
             order by 1, 2",
        )
        .bind(texts(users))
        .bind(now)
        .fetch_all(on));
        let mut devices = vec![Vec::new(); users.len()];
        for row in &rows {
            devices[number::<usize>(row, "n")? - 1].push(id(row, "device")?);
        }
        Ok(devices)
    }

    pub(super) async fn badge_of(&self, users: &[UserId]) -> Result<Vec<u64>> {
        // Conversations that are read to their head have nothing to count: only the others look at messages.
        let rows = call!(self, "badges", |on| sqlx::query(
            "with wanted as materialized (
                 select e.n, uc.user_id, uc.conversation, c.head,
                        greatest(uc.read_seq, uc.cleared_seq, coalesce(s.joined_seq, 1) - 1) as from_seq
                 from unnest($1::text[]) with ordinality e (user_id, n)
                 join user_conversations uc on uc.user_id = e.user_id and uc.removed is null and not uc.do_not_disturb
                 join conversations c on c.id = uc.conversation and c.head > uc.read_seq
                 left join stints s on s.conversation = uc.conversation and s.user_id = uc.user_id
                     and s.left_seq is null)
             select w.n, sum(
                 coalesce((select badge_count from messages where conversation = w.conversation and seq = w.head), 0)
                 - coalesce((select badge_count from messages
                             where conversation = w.conversation and seq = w.from_seq), 0)
                 - coalesce((select own_count from messages where conversation = w.conversation and sender = w.user_id
                             and seq <= w.head order by seq desc limit 1), 0)
                 + coalesce((select own_count from messages where conversation = w.conversation and sender = w.user_id
                             and seq <= w.from_seq order by seq desc limit 1), 0))::bigint as unread
             from wanted w where w.head > w.from_seq group by w.n",
        )
        .bind(texts(users))
        .fetch_all(on));
        let mut badges = vec![0; users.len()];
        for row in &rows {
            badges[number::<usize>(row, "n")? - 1] = u64::try_from(row.try_get::<i64, _>("unread")?).unwrap_or(0);
        }
        Ok(badges)
    }

    pub(super) async fn totals(&self) -> Result<PushTotals> {
        let (pending, dead): (i64, i64) = call!(self, "push_totals", |on| sqlx::query_as(
            "select (select count(*) from (select from push_work limit $1) w)
                    + (select count(*) from (select from push_jobs limit $1) j),
                    (select count(*) from (select from push_dead_letters limit $1) d)",
        )
        .bind(COUNTED)
        .fetch_one(on));
        Ok(PushTotals { pending: unsigned::<u64>(pending)?, dead: unsigned::<u64>(dead)? })
    }
}
