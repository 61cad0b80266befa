//! Push work: what has to be looked at, the jobs that came of it, and those that failed for good.
//!
//! Work and jobs are claimed for a while, by as many servers as ask at once, and never wait for each other. A claim
//! carries a number that rises with every claim: whoever comes back after another took over changes nothing.

use async_trait::async_trait;
use im_protocol::{ConversationId, DeviceId, Epoch, Seq, ServerId, Terminal, TimeMs, UserId};
use serde::{Deserialize, Serialize};

use super::Result;

/// Something to look at: perhaps somebody has to be told by push. There is one row of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushItem {
    /// A message: its members.
    Message(ConversationId, Seq),
    /// A user whose connection of this class ended with pushes that may not have arrived; `None`: whose server died.
    User(UserId, Option<Terminal>),
    /// A server that died under this epoch: its users.
    Server(ServerId, Epoch),
}

/// Work to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWork {
    /// What.
    pub item: PushItem,
    /// When it happened, or what came since has to be looked at: Unix milliseconds.
    pub time: TimeMs,
    /// When to look: Unix milliseconds.
    pub due: TimeMs,
}

/// Work that this caller has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What.
    pub item: PushItem,
    /// When it happened: Unix milliseconds.
    pub time: TimeMs,
    /// How often it was claimed, this time included.
    pub claims: u32,
    /// Where to go on; `None` at the beginning.
    pub cursor: Option<String>,
}

/// What is left of a piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// As it was claimed.
    pub work: Work,
    /// Where and when to go on; `None`: it is done.
    pub rest: Option<Rest>,
}

/// Where and when to go on with work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Where.
    pub cursor: Option<String>,
    /// When: Unix milliseconds.
    pub due: TimeMs,
}

/// Whose push is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Present members of this conversation.
    pub conversation: ConversationId,
    /// Of these only. Required for a direct conversation.
    pub among: Option<Vec<UserId>>,
    /// Those after this user id. Not together with `among`.
    pub after: Option<UserId>,
}

/// A present member, with what decides on a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub user: UserId,
    /// The first seq the member sees.
    pub joined: Seq,
    /// Read, or deleted for the member, up to which seq.
    pub read: Seq,
    /// Delivered up to which seq (direct conversations only; else 0).
    pub delivered: Seq,
    /// No push.
    pub do_not_disturb: bool,
}

/// Whom a job is for. There is at most one pending job of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// Who.
    pub user: UserId,
    /// Which device; `None` for a user without one.
    pub device: Option<DeviceId>,
    /// About which conversation.
    pub conversation: ConversationId,
}

/// What a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The newest message.
    pub seq: Seq,
    /// How many messages it stands for.
    pub count: u32,
    /// One of them mentions the user.
    pub mentioned: bool,
}

impl Notice {
    /// What a pending job says once there is a newer notice: the newest seq, and all that came. One that is not newer
    /// adds nothing, so that what is looked at twice counts once.
    #[must_use]
    pub fn merged(self, newer: Self) -> Self {
        if newer.seq <= self.seq {
            return self;
        }
        Self {
            seq: newer.seq,
            count: self.count.saturating_add(newer.count),
            mentioned: self.mentioned || newer.mentioned,
        }
    }
}

/// A job that this caller has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whom it is for.
    pub key: JobKey,
    /// What it says.
    pub notice: Notice,
    /// How often it failed.
    pub attempts: u32,
    /// How often it was claimed, this time included.
    pub claims: u32,
}

/// What became of a job. If a newer notice was merged in meanwhile and the older one is over or dead, the newer one is due
/// at once; where the older one is tried again, the newer one is tried in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// It is over: delivered, or not wanted any more.
    Over,
    /// To be tried again.
    Again {
        /// When: Unix milliseconds.
        due: TimeMs,
        /// It failed; else it could only not be decided yet.
        failed: bool,
    },
    /// It failed for good.
    Dead {
        /// The id it was delivered under.
        id: String,
        /// Why.
        reason: String,
    },
}

/// A job that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id it was delivered under.
    pub id: String,
    /// Whom it was for.
    pub key: JobKey,
    /// What it says.
    pub notice: Notice,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub reason: String,
    /// When: Unix milliseconds.
    pub time: TimeMs,
}

/// How much there is; counted no further than 100,000 of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushTotals {
    /// Work and jobs that are not over.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Push work.
#[async_trait]
pub trait Pushes {
    /// Stores work. An item that is there already is looked at anew, from the earlier time on.
    async fn add_push_work(&self, work: &[NewWork]) -> Result<()>;

    /// Claims work that is due at `now`, what is due longest first: nobody else gets it before `until`.
    async fn claim_push_work(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Work>>;

    /// Ends work or puts it off, and stores what came of it, all in one transaction: jobs, due at `now`, merged into
    /// pending ones as [`Notice::merged`] says, and further work. False, and nothing is stored, if another took over
    /// any of it.
    async fn settle_push_work(
        &self,
        settled: &[Settled],
        jobs: &[(JobKey, Notice)],
        more: &[NewWork],
        now: TimeMs,
    ) -> Result<bool>;

    /// For each asked: present members by user id, at most `limit` of them unless they are named.
    async fn push_candidates(&self, asked: &[Asked], limit: u32) -> Result<Vec<Vec<Candidate>>>;

    /// For each user: the devices with a session of class `mobile` that is neither revoked nor expired at `now`.
    async fn push_devices(&self, users: &[UserId], now: TimeMs) -> Result<Vec<Vec<DeviceId>>>;

    /// For each user: unread messages over all conversations without do not disturb.
    async fn badges(&self, users: &[UserId]) -> Result<Vec<u64>>;

    /// Claims jobs that are due at `now`, what is due longest first: nobody else gets them before `until`.
    async fn claim_push_jobs(&self, now: TimeMs, until: TimeMs, limit: u32) -> Result<Vec<Job>>;

    /// Stores what became of jobs. One that another took over stays as it is.
    async fn settle_push_jobs(&self, settled: &[(Job, JobOutcome)], now: TimeMs) -> Result<()>;

    /// How much there is.
    async fn push_totals(&self) -> Result<PushTotals>;

    /// Dead letters, newest first.
    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>>;

    /// Makes dead letters, that of `id` or all up to `now`, jobs again, due at `now`. How many there were.
    async fn replay_dead_letters(&self, id: Option<&str>, now: TimeMs) -> Result<u64>;
}

/// What was found for each of `asked` places: by user id, and once who was asked for twice.
pub(super) fn by_place(found: Vec<(usize, Candidate)>, asked: usize) -> Vec<Vec<Candidate>> {
    let mut places = vec![Vec::new(); asked];
    for (place, candidate) in found {
        places[place].push(candidate);
    }
    for candidates in &mut places {
        candidates.sort_by(|a: &Candidate, b| a.user.cmp(&b.user));
        candidates.dedup_by(|a, b| a.user == b.user);
    }
    places
}

/// A job as it stands when what became of it is stored: notices may have been merged in since it was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) seq: Seq,
    pub(super) count: u32,
}

/// What is left of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Over,
    Left { due: TimeMs, count: u32, attempts: u32 },
}

impl Pending {
    /// What an outcome leaves of a job that was claimed as `job`.
    pub(super) fn after(self, job: &Job, outcome: &JobOutcome, now: TimeMs) -> Fate {
        match *outcome {
            JobOutcome::Again { due, failed } => {
                Fate::Left { due, count: self.count, attempts: job.attempts + u32::from(failed) }
            }
            JobOutcome::Over | JobOutcome::Dead { .. } if self.seq == job.notice.seq => Fate::Over,
            JobOutcome::Over | JobOutcome::Dead { .. } => {
                Fate::Left { due: now, count: self.count.saturating_sub(job.notice.count).max(1), attempts: 0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_notice() -> impl Strategy<Value = Notice> {
        (1_u64..20, 1_u32..5, any::<bool>()).prop_map(|(seq, count, mentioned)| Notice { seq, count, mentioned })
    }

    proptest! {
        #[test]
        fn merging_never_goes_back_and_counts_nothing_twice(pending in any_notice(), newer in any_notice()) {
            let merged = pending.merged(newer);
            prop_assert_eq!(merged.seq, pending.seq.max(newer.seq));
            prop_assert_eq!(merged.merged(newer), merged, "what is looked at twice counts once");
            let expected = if newer.seq > pending.seq { pending.count + newer.count } else { pending.count };
            prop_assert_eq!(merged.count, expected);
        }

        #[test]
        fn what_was_merged_in_meanwhile_outlives_what_became_of_the_job(
            sent in any_notice(), newer in any_notice(), attempts in 0_u32..9, failed: bool,
        ) {
            let key = JobKey {
                user: UserId::parse("bob").unwrap(),
                device: None,
                conversation: ConversationId::parse("g:tea").unwrap(),
            };
            let job = Job { key, notice: sent, attempts, claims: 1 };
            let now = sent.merged(newer);
            let pending = Pending { seq: now.seq, count: now.count };
            let over = pending.after(&job, &JobOutcome::Over, 7);
            if newer.seq > sent.seq {
                prop_assert_eq!(over, Fate::Left { due: 7, count: newer.count, attempts: 0 });
            } else {
                prop_assert_eq!(over, Fate::Over);
            }
            let again = pending.after(&job, &JobOutcome::Again { due: 9, failed }, 7);
            let attempts = attempts + u32::from(failed);
            prop_assert_eq!(again, Fate::Left { due: 9, count: now.count, attempts });
        }
    }
}
