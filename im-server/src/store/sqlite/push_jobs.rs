//! Push jobs and dead letters.

use async_trait::async_trait;
use im_protocol::{ConversationId, DeviceId, Seq, TimeMs, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows::{id, int, json, parse};
use super::{SqliteStore, Write};
use crate::store::push::{Fate, Pending};
use crate::store::{
    Asked, Candidate, DeadLetter, Job, JobKey, JobOutcome, NewWork, Notice, PushTotals, Pushes, Result, Settled,
    StoreError, Work,
};

/// Stores jobs in a transaction, merged into those that wait.
pub(super) async fn merge(write: &mut Write, jobs: &[(JobKey, Notice)], now: TimeMs) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let jobs: Vec<_> = jobs.iter().map(|(key, notice)| (columns(key), counted(notice))).collect();
    sqlx::query(
        "insert into push_jobs (user, device, conversation, seq, count, mentioned, due)
         select value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]',
                value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]', ?2
         from json_each(?1) where true
         on conflict do update set seq = excluded.seq, count = count + excluded.count,
             mentioned = max(mentioned, excluded.mentioned)
         where excluded.seq > seq",
    )
    .bind(json(&jobs))
    .bind(now)
    .execute(write.on())
    .await?;
    Ok(())
}

/// The columns of a key: an empty device stands for none.
fn columns(key: &JobKey) -> (&UserId, &str, &ConversationId) {
    (&key.user, key.device.as_ref().map_or("", DeviceId::as_str), &key.conversation)
}

fn counted(notice: &Notice) -> (i64, u32, bool) {
    (int(notice.seq), notice.count, notice.mentioned)
}

fn key(row: &SqliteRow) -> Result<JobKey> {
    let device: &str = row.try_get("device")?;
    Ok(JobKey {
        user: id(row, "user")?,
        device: (!device.is_empty()).then(|| parse(device)).transpose()?,
        conversation: id(row, "conversation")?,
    })
}

fn notice(row: &SqliteRow) -> Result<Notice> {
    Ok(Notice { seq: row.try_get("seq")?, count: row.try_get("count")?, mentioned: row.try_get("mentioned")? })
}

/// The jobs as they are now, where the claim still stands.
async fn standing(on: &mut SqliteConnection, settled: &[(Job, JobOutcome)]) -> Result<Vec<(usize, Pending)>> {
    let claims: Vec<_> = settled.iter().map(|(job, _)| (columns(&job.key), job.claims)).collect();
    let rows = sqlx::query(
        "select e.key as place, j.seq, j.count from json_each(?1) e
         cross join push_jobs j on j.user = e.value ->> '$[0][0]' and j.device = e.value ->> '$[0][1]'
             and j.conversation = e.value ->> '$[0][2]' and j.claims = e.value ->> 1",
    )
    .bind(json(&claims))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let place = usize::try_from(row.try_get::<i64, _>("place")?)
                .map_err(|error| StoreError::Broken(error.to_string()))?;
            Ok((place, Pending { seq: row.try_get::<Seq, _>("seq")?, count: row.try_get("count")? }))
        })
        .collect()
}

#[async_trait]
impl Pushes for SqliteStore {
    async fn add_push_work(&self, work: &[NewWork]) -> Result<()> {
        self.add_work(work).await
    }

    async fn claim_push_work(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Work>> {
        self.claim_work(now, until, limit).await
    }

    async fn settle_push_work(
        &self,
        settled: &[Settled],
        jobs: &[(JobKey, Notice)],
        more: &[NewWork],
        now: TimeMs,
    ) -> Result<bool> {
        self.settle_work(settled, jobs, more, now).await
    }

    async fn push_candidates(&self, asked: &[Asked], limit: u32) -> Result<Vec<Vec<Candidate>>> {
        self.candidates(asked, limit).await
    }

    async fn push_devices(&self, users: &[UserId], now: TimeMs) -> Result<Vec<Vec<DeviceId>>> {
        self.devices(users, now).await
    }

    async fn badges(&self, users: &[UserId]) -> Result<Vec<u64>> {
        self.badge_of(users).await
    }

    async fn claim_push_jobs(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Job>> {
        // A look that finds nothing must not wait for the disk.
        let due = sqlx::query_scalar("select exists (select 1 from push_jobs where due <= ?1)");
        if !due.bind(now).fetch_one(&self.readers).await? {
            return Ok(Vec::new());
        }
        let mut write = self.write().await?;
        let rows = sqlx::query(
            "update push_jobs set due = ?2, claims = claims + 1
             where (user, device, conversation) in (
                 select user, device, conversation from push_jobs where due <= ?1 order by due limit ?3)
             returning user, device, conversation, seq, count, mentioned, claims, attempts",
        )
        .bind(now)
        .bind(until)
        .bind(limit)
        .fetch_all(write.on())
        .await?;
        let jobs = rows
            .iter()
            .map(|row| {
                Ok(Job {
                    key: key(row)?,
                    notice: notice(row)?,
                    attempts: row.try_get("attempts")?,
                    claims: row.try_get("claims")?,
                })
            })
            .collect::<Result<_>>()?;
        write.commit().await?;
        Ok(jobs)
    }

    async fn settle_push_jobs(&self, settled: &[(Job, JobOutcome)], now: TimeMs) -> Result<()> {
        let mut write = self.write().await?;
        let (mut over, mut left, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for (place, pending) in standing(write.on(), settled).await? {
            let (job, outcome) = &settled[place];
            match pending.after(job, outcome, now) {
                Fate::Over => over.push(columns(&job.key)),
                Fate::Left { due, count, attempts } => left.push((columns(&job.key), due, count, attempts)),
            }
            if let JobOutcome::Dead { id, reason } = outcome {
                dead.push((columns(&job.key), counted(&job.notice), id, job.attempts + 1, reason));
            }
        }
        sqlx::query(
            "delete from push_jobs where (user, device, conversation) in (
                 select value ->> 0, value ->> 1, value ->> 2 from json_each(?1))",
        )
        .bind(json(&over))
        .execute(write.on())
        .await?;
        sqlx::query(
            "update push_jobs as j set due = e.value ->> 1, count = e.value ->> 2, attempts = e.value ->> 3
             from json_each(?1) e where j.user = e.value ->> '$[0][0]' and j.device = e.value ->> '$[0][1]'
                 and j.conversation = e.value ->> '$[0][2]'",
        )
        .bind(json(&left))
        .execute(write.on())
        .await?;
        if !dead.is_empty() {
            sqlx::query(
                "insert into push_dead_letters
                     (user, device, conversation, seq, count, mentioned, id, attempts, reason, time)
                 select value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]',
                        value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]',
                        value ->> 2, value ->> 3, value ->> 4, ?2
                 from json_each(?1) where true
                 on conflict (id) do update set count = excluded.count, mentioned = excluded.mentioned,
                     attempts = excluded.attempts, reason = excluded.reason, time = excluded.time",
            )
            .bind(json(&dead))
            .bind(now)
            .execute(write.on())
            .await?;
        }
        write.commit().await
    }

    async fn push_totals(&self) -> Result<PushTotals> {
        self.totals().await
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>> {
        let rows = sqlx::query("select * from push_dead_letters where time > 0 order by time desc, id desc limit ?1")
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(DeadLetter {
                    id: row.try_get("id")?,
                    key: key(row)?,
                    notice: notice(row)?,
                    attempts: row.try_get("attempts")?,
                    reason: row.try_get("reason")?,
                    time: row.try_get("time")?,
                })
            })
            .collect()
    }

    async fn replay_dead_letters(&self, id: Option<&str>, now: TimeMs) -> Result<u64> {
        let Some(id) = id else { return self.replay_all(now).await };
        let mut write = self.write().await?;
        let rows = sqlx::query(
            "delete from push_dead_letters where id = ?1 returning user, device, conversation, seq, count, mentioned",
        )
        .bind(id)
        .fetch_all(write.on())
        .await?;
        let count = replay(&mut write, &rows, now).await?;
        write.commit().await?;
        Ok(count)
    }
}

/// Dead letters made jobs again in one transaction.
const REPLAYED: u32 = 1_000;

/// Makes the rows of dead letters jobs again, older ones first, so that they are merged like those that come anew.
async fn replay(write: &mut Write, rows: &[SqliteRow], now: TimeMs) -> Result<u64> {
    let mut jobs = rows.iter().map(|row| Ok((key(row)?, notice(row)?))).collect::<Result<Vec<_>>>()?;
    jobs.sort_by_key(|(_, notice)| notice.seq);
    merge(write, &jobs, now).await?;
    Ok(jobs.len() as u64)
}

impl SqliteStore {
    async fn replay_all(&self, now: TimeMs) -> Result<u64> {
        let mut count = 0;
        loop {
            let mut write = self.write().await?;
            // Those that die again meanwhile are not taken a second time.
            let rows = sqlx::query(
                "delete from push_dead_letters
                 where id in (select id from push_dead_letters where time <= ?1 order by time, id limit ?2)
                 returning user, device, conversation, seq, count, mentioned",
            )
            .bind(now)
            .bind(REPLAYED)
            .fetch_all(write.on())
            .await?;
            count += replay(&mut write, &rows, now).await?;
            write.commit().await?;
            if rows.len() < REPLAYED as usize {
                return Ok(count);
            }
        }
    }
}
