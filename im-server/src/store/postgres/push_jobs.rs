//! Push jobs and dead letters.

use async_trait::async_trait;
use im_protocol::{ConversationId, DeviceId, TimeMs, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::push::claims;
use super::rows::{id, int, number, small};
use super::session::Write;
use super::{PostgresStore, call, error, transact};
use crate::store::push::{Fate, Pending};
use crate::store::values::parse;
use crate::store::{
    Asked, Candidate, DeadLetter, Job, JobKey, JobOutcome, NewWork, Notice, PushTotals, Pushes, Result, Settled, Work,
};

/// Dead letters made jobs again in one transaction.
const REPLAYED: u16 = 1_000;

/// Keys as arrays of users, devices and conversations: an empty device stands for none.
#[derive(Default)]
struct Keys<'a> {
    users: Vec<&'a str>,
    devices: Vec<&'a str>,
    conversations: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn push(&mut self, key: &'a JobKey) {
        self.users.push(key.user.as_str());
        self.devices.push(key.device.as_ref().map_or("", DeviceId::as_str));
        self.conversations.push(key.conversation.as_str());
    }
}

impl<'a> FromIterator<&'a JobKey> for Keys<'a> {
    fn from_iter<I: IntoIterator<Item = &'a JobKey>>(keys: I) -> Self {
        let mut arrays = Self::default();
        keys.into_iter().for_each(|key| arrays.push(key));
        arrays
    }
}

/// Stores jobs in a transaction, merged into those that wait.
pub(super) async fn merge(write: &mut Write<'_>, jobs: &[(JobKey, Notice)], now: TimeMs) -> error::Result<()> {
    // One of each, as if they had come one after the other; in one order, so that two that merge take turns.
    let mut merged: Vec<(JobKey, Notice)> = Vec::with_capacity(jobs.len());
    let mut jobs: Vec<&(JobKey, Notice)> = jobs.iter().collect();
    jobs.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, notice) in jobs {
        match merged.last_mut() {
            Some((last, pending)) if last == key => *pending = pending.merged(*notice),
            _ => merged.push((key.clone(), *notice)),
        }
    }
    if merged.is_empty() {
        return Ok(());
    }
    let keys: Keys<'_> = merged.iter().map(|(key, _)| key).collect();
    let seqs: Vec<i64> = merged.iter().map(|(_, notice)| int(notice.seq)).collect();
    let counts: Vec<i64> = merged.iter().map(|(_, notice)| notice.count.into()).collect();
    let mentioned: Vec<bool> = merged.iter().map(|(_, notice)| notice.mentioned).collect();
    sqlx::query(
        "insert into push_jobs as j (user_id, device, conversation, seq, count, mentioned, due)
         select e.*, $7 from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::boolean[]) e
         on conflict (user_id, device, conversation) do update set seq = excluded.seq, count = j.count + excluded.count,
             mentioned = j.mentioned or excluded.mentioned
         where excluded.seq > j.seq",
    )
    .bind(&keys.users)
    .bind(&keys.devices)
    .bind(&keys.conversations)
    .bind(&seqs)
    .bind(&counts)
    .bind(&mentioned)
    .bind(now)
    .execute(write.on())
    .await?;
    Ok(())
}

fn key(row: &PgRow) -> error::Result<JobKey> {
    let device: &str = row.try_get("device")?;
    Ok(JobKey {
        user: id::<UserId>(row, "user_id")?,
        device: (!device.is_empty()).then(|| parse(device)).transpose()?,
        conversation: id::<ConversationId>(row, "conversation")?,
    })
}

fn notice(row: &PgRow) -> error::Result<Notice> {
    Ok(Notice { seq: number(row, "seq")?, count: number(row, "count")?, mentioned: row.try_get("mentioned")? })
}

/// The jobs as they are now, where the claim still stands; it does until the transaction ends.
async fn standing(on: &mut PgConnection, settled: &[(Job, JobOutcome)]) -> error::Result<Vec<(usize, Pending)>> {
    let keys: Keys<'_> = settled.iter().map(|(job, _)| &job.key).collect();
    let claims: Vec<i32> = settled.iter().map(|(job, _)| claims(job.claims)).collect();
    let rows = sqlx::query(
        "select e.n, j.seq, j.count
         from unnest($1::text[], $2::text[], $3::text[], $4::int[]) with ordinality
             e (user_id, device, conversation, claims, n)
         join push_jobs j on j.user_id = e.user_id and j.device = e.device and j.conversation = e.conversation
             and j.claims = e.claims
         order by j.user_id, j.device, j.conversation for update of j",
    )
    .bind(&keys.users)
    .bind(&keys.devices)
    .bind(&keys.conversations)
    .bind(&claims)
    .fetch_all(on)
    .await?;
    let pending = |row: &PgRow| {
        Ok((number::<usize>(row, "n")? - 1, Pending { seq: number(row, "seq")?, count: number(row, "count")? }))
    };
    rows.iter().map(pending).collect()
}

/// What is left of jobs.
async fn leave(on: &mut PgConnection, left: &[(&JobKey, TimeMs, u32, u32)]) -> error::Result<()> {
    let keys: Keys<'_> = left.iter().map(|(key, ..)| *key).collect();
    let dues: Vec<i64> = left.iter().map(|(_, due, ..)| *due).collect();
    let counts: Vec<i64> = left.iter().map(|(_, _, count, _)| i64::from(*count)).collect();
    let attempts: Vec<i32> = left.iter().map(|(.., attempts)| claims(*attempts)).collect();
    sqlx::query(
        "update push_jobs j set due = e.due, count = e.count, attempts = e.attempts
         from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::int[])
             e (user_id, device, conversation, due, count, attempts)
         where j.user_id = e.user_id and j.device = e.device and j.conversation = e.conversation",
    )
    .bind(&keys.users)
    .bind(&keys.devices)
    .bind(&keys.conversations)
    .bind(&dues)
    .bind(&counts)
    .bind(&attempts)
    .execute(on)
    .await?;
    Ok(())
}

#[async_trait]
impl Pushes for PostgresStore {
    async fn add_push_work(&self, work: &[NewWork]) -> Result<()> {
        Ok(self.add_work(work).await?)
    }

    async fn claim_push_work(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Work>> {
        Ok(self.claim_work(now, until, limit).await?)
    }

    async fn settle_push_work(
        &self,
        settled: &[Settled],
        jobs: &[(JobKey, Notice)],
        more: &[NewWork],
        now: TimeMs,
    ) -> Result<bool> {
        Ok(self.settle_work(settled, jobs, more, now).await?)
    }

    async fn push_candidates(&self, asked: &[Asked], limit: u32) -> Result<Vec<Vec<Candidate>>> {
        Ok(self.candidates(asked, limit).await?)
    }

    async fn push_devices(&self, users: &[UserId], now: TimeMs) -> Result<Vec<Vec<DeviceId>>> {
        Ok(self.devices(users, now).await?)
    }

    async fn badges(&self, users: &[UserId]) -> Result<Vec<u64>> {
        Ok(self.badge_of(users).await?)
    }

    async fn claim_push_jobs(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Job>> {
        let mut rows = call!(self, "claim_push_jobs", |on| sqlx::query(
            "with due as (
                 select user_id, device, conversation, due from push_jobs
                 where due <= $1 order by due limit $3 for update skip locked)
             update push_jobs j set due = $2, claims = j.claims + 1 from due
             where j.user_id = due.user_id and j.device = due.device and j.conversation = due.conversation
             returning j.user_id, j.device, j.conversation, j.seq, j.count, j.mentioned, j.claims, j.attempts,
                 due.due as was_due",
        )
        .bind(now)
        .bind(until)
        .bind(i64::from(limit))
        .fetch_all(on));
        // `returning` tells them in no order.
        rows.sort_by_key(|row| row.try_get::<i64, _>("was_due").unwrap_or_default());
        let job = |row: &PgRow| {
            Ok(Job {
                key: key(row)?,
                notice: notice(row)?,
                attempts: small(row, "attempts")?,
                claims: small(row, "claims")?,
            })
        };
        Ok(rows.iter().map(job).collect::<error::Result<_>>()?)
    }

    async fn settle_push_jobs(&self, settled: &[(Job, JobOutcome)], now: TimeMs) -> Result<()> {
        transact!(self, "settle_push_jobs", |write| {
            let (mut over, mut left, mut dead) = (Keys::default(), Vec::new(), Vec::new());
            for (place, pending) in standing(write.on(), settled).await? {
                let (job, outcome) = &settled[place];
                match pending.after(job, outcome, now) {
                    Fate::Over => over.push(&job.key),
                    Fate::Left { due, count, attempts } => left.push((&job.key, due, count, attempts)),
                }
                if let JobOutcome::Dead { id, reason } = outcome {
                    dead.push((job, id, reason));
                }
            }
            sqlx::query(
                "delete from push_jobs j using unnest($1::text[], $2::text[], $3::text[])
                     e (user_id, device, conversation)
                 where j.user_id = e.user_id and j.device = e.device and j.conversation = e.conversation",
            )
            .bind(&over.users)
            .bind(&over.devices)
            .bind(&over.conversations)
            .execute(write.on())
            .await?;
            leave(write.on(), &left).await?;
            for (Job { key, notice, attempts, .. }, id, reason) in dead {
                sqlx::query(
                    "insert into push_dead_letters
                         (id, user_id, device, conversation, seq, count, mentioned, attempts, reason, time)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                     on conflict (id) do update set count = excluded.count, mentioned = excluded.mentioned,
                         attempts = excluded.attempts, reason = excluded.reason, time = excluded.time",
                )
                .bind(id)
                .bind(key.user.as_str())
                .bind(key.device.as_ref().map_or("", DeviceId::as_str))
                .bind(key.conversation.as_str())
                .bind(int(notice.seq))
                .bind(i64::from(notice.count))
                .bind(notice.mentioned)
                .bind(claims(attempts + 1))
                .bind(reason)
                .bind(now)
                .execute(write.on())
                .await?;
            }
        });
        Ok(())
    }

    async fn push_totals(&self) -> Result<PushTotals> {
        Ok(self.totals().await?)
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>> {
        let rows = call!(self, "dead_letters", |on| sqlx::query(
            "select * from push_dead_letters order by time desc, id desc limit $1"
        )
        .bind(i64::from(limit))
        .fetch_all(on));
        let letter = |row: &PgRow| {
            Ok(DeadLetter {
                id: row.try_get("id")?,
                key: key(row)?,
                notice: notice(row)?,
                attempts: small(row, "attempts")?,
                reason: row.try_get("reason")?,
                time: row.try_get("time")?,
            })
        };
        Ok(rows.iter().map(letter).collect::<error::Result<_>>()?)
    }

    async fn replay_dead_letters(&self, id: Option<&str>, now: TimeMs) -> Result<u64> {
        let mut count = 0;
        loop {
            // Those that die again meanwhile are not taken a second time.
            let replayed = transact!(self, "replay_dead_letters", |write| {
                let rows = sqlx::query(
                    "delete from push_dead_letters where id in (
                         select id from push_dead_letters where ($1::text is null or id = $1) and time <= $2
                         order by time, id limit $3 for update skip locked)
                     returning user_id, device, conversation, seq, count, mentioned",
                )
                .bind(id)
                .bind(now)
                .bind(i64::from(REPLAYED))
                .fetch_all(write.on())
                .await?;
                let jobs = rows.iter().map(|row| Ok((key(row)?, notice(row)?)));
                let mut jobs = jobs.collect::<error::Result<Vec<_>>>()?;
                // Older ones first, so that they are merged like those that come anew.
                jobs.sort_by_key(|(_, notice)| notice.seq);
                merge(&mut write, &jobs, now).await?;
                jobs.len()
            });
            count += replayed as u64;
            if replayed < usize::from(REPLAYED) {
                return Ok(count);
            }
        }
    }
}
