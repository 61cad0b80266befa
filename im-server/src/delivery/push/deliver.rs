//! From jobs to webhooks.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use im_protocol::{DeviceId, Message, TimeMs, UserId};

use super::decide::{Verdict, still_wanted};
use super::payload::{self, About, Payload};
use super::presence::Presence;
use super::{CLAIM_MS, Push, count, places};
use crate::store::{Job, JobOutcome, Result, RowState};

/// Jobs one worker has under way.
pub(super) const CLAIMED: u32 = 32;

/// Rows of users' lists that one worker reads at the same time.
const ROWS: usize = 4;

/// What is looked up for jobs, just before they are sent.
struct Facts {
    /// Of each job, in its order.
    messages: Vec<Option<Message>>,
    rows: Vec<Option<RowState>>,
    names: HashMap<UserId, String>,
    places: HashMap<UserId, usize>,
    presences: Vec<Presence>,
    devices: Vec<Vec<DeviceId>>,
    badges: Vec<u64>,
}

impl Push {
    /// Carries out jobs that are due at `now` (Unix milliseconds). True if there may be more.
    pub async fn deliver(&self, now: TimeMs) -> Result<bool> {
        let jobs = self.store.claim_push_jobs(now, now + CLAIM_MS, CLAIMED).await?;
        if jobs.is_empty() {
            return Ok(false);
        }
        let more = jobs.len() >= CLAIMED as usize;
        let facts = self.facts(&jobs, now).await?;
        let outcomes = join_all(jobs.iter().enumerate().map(|(place, job)| self.carry_out(place, job, &facts, now)));
        let outcomes = outcomes.await;
        let settled: Vec<_> = jobs.into_iter().zip(outcomes).collect();
        self.store.settle_push_jobs(&settled, now).await?;
        Ok(more)
    }

    async fn facts(&self, jobs: &[Job], now: TimeMs) -> Result<Facts> {
        let wanted: Vec<_> = jobs.iter().map(|job| (job.key.conversation.clone(), job.notice.seq)).collect();
        let found = self.store.committed(&wanted).await?.into_iter().map(|found| found.message);
        let found: HashMap<_, _> =
            found.map(|message| ((message.conversation.clone(), message.seq), message)).collect();
        let messages: Vec<_> = wanted.iter().map(|place| found.get(place).cloned()).collect();
        let senders = places(messages.iter().flatten().map(|message| message.sender.clone())).0;
        let accounts = self.store.accounts(&senders).await?;
        let names = accounts.into_iter().flatten().map(|account| (account.user, account.name)).collect();
        let (users, places) = places(jobs.iter().map(|job| job.key.user.clone()));
        let reads: Vec<_> = jobs.iter().map(|job| self.store.row(&job.key.user, &job.key.conversation, None)).collect();
        let rows = stream::iter(reads).buffered(ROWS).map_ok(|row| row.map(|row| row.state)).try_collect().await?;
        Ok(Facts {
            messages,
            rows,
            names,
            presences: self.presences(&users).await,
            devices: self.store.push_devices(&users, now).await?,
            badges: self.store.badges(&users).await?,
            places,
        })
    }

    async fn carry_out(&self, place: usize, job: &Job, facts: &Facts, now: TimeMs) -> JobOutcome {
        let message = facts.messages[place].as_ref();
        let row = facts.rows[place].as_ref();
        let user = facts.places[&job.key.user];
        let at = (&facts.presences[user], facts.devices[user].as_slice());
        match (still_wanted(job.key.device.as_ref(), job.notice, message, row, at), message, row) {
            (Verdict::Push(()), Some(message), Some(RowState::Present { title, unread, .. })) => {
                let sender_name = facts.names.get(&message.sender).map_or("", String::as_str);
                let badge = facts.badges[user];
                self.send(job, About { message, sender_name, title, unread: *unread, badge }, now).await
            }
            (Verdict::Unknown, ..) => JobOutcome::Again { due: Self::put_off(job.claims, now), failed: false },
            (Verdict::Skip(skip), ..) => {
                Self::skipped(skip);
                count("dropped");
                JobOutcome::Over
            }
            // What is wanted has a message and a row.
            (Verdict::Push(()), ..) => JobOutcome::Over,
        }
    }

    async fn send(&self, job: &Job, about: About<'_>, now: TimeMs) -> JobOutcome {
        let id = payload::id(&job.key, about.message);
        let payload = Payload::new(&id, job, about, self.config.include_content);
        let body = serde_json::to_string(&payload).expect("ids, numbers and texts are JSON");
        let started = Instant::now();
        let answer = self.webhook.send(&id, body).await;
        let took = started.elapsed();
        metrics::histogram!("im_push_seconds").record(took);
        // No longer than the time-out.
        let now = now + i64::try_from(took.as_millis()).unwrap_or(0);
        let outcome = self.config.attempts.outcome(job.attempts, answer, &id, now, rand::random());
        match &outcome {
            JobOutcome::Over => count("sent"),
            JobOutcome::Again { .. } => count("again"),
            JobOutcome::Dead { reason, .. } => {
                count("dead");
                tracing::warn!(%id, %reason, "a push has failed for good: see `im-server push dead`");
            }
        }
        outcome
    }
}
