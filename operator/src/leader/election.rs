//! Who leads: a pure machine over what was seen of the lease and this process's own monotonic clock.
//!
//! The times in a `Lease` are wall clocks of other machines, so nobody reads them. A candidate counts from when it **last saw
//! the lease change**: once nothing has changed for as long as the lease lasts, its holder has stopped. A holder counts from when
//! it **sent** its last renewal that was answered. What a candidate sees was sent before, so the holder's time ends first.
//! Both hold while clocks run at about the same rate; what writes leave of the lease ([`super::LEFT_FOR_WRITES`],
//! [`super::WRITE_LIMIT`]) covers 3 %.
//!
//! Every write of the lease names the version that it replaces. An answer that did not come says nothing: the lease is looked at
//! before the next write.

use std::time::{Duration, Instant};

/// How long a lease lasts after it was renewed.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long a holder tries to renew it before it gives up.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// From one attempt to the next, be it to renew the lease or to get it.
pub const RETRY: Duration = Duration::from_secs(2);

/// A lease, as an answer of the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// Who holds it; `None`: it was released.
    pub holder: Option<String>,
    /// How long its holder has it after a renewal.
    pub lasts: Duration,
}

/// A lease to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The version that it replaces; `None`: there is no lease, and it is made.
    pub replaces: Option<String>,
    /// Who holds it from then on; `None` releases it.
    pub holder: Option<String>,
    /// Whoever holds it from then on did not before.
    pub takes_over: bool,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before then.
    Wait(Instant),
    /// Look at the lease.
    Look,
    /// Write it.
    Put(Claim),
    /// Stop: this process led, and must not any more.
    Stop(Lost),
}

/// Why a process that led does not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// No renewal was answered in time.
    #[error("lost the leadership: the lease could not be renewed for {} s", RENEW_DEADLINE.as_secs())]
    NotRenewed,
    /// Another one holds the lease.
    #[error("lost the leadership: {by} has the lease")]
    Taken {
        /// Who.
        by: String,
    },
}

/// A candidate or the leader.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    sight: Option<Sight>,
    /// `sight` is what the API server has, as far as can be known: nothing was sent since that was not answered.
    certain: bool,
    /// When the last renewal was sent that was answered; `None`: this process does not lead.
    renewed: Option<Instant>,
    /// When the next request is due.
    due: Instant,
}

/// What was seen last.
#[derive(Clone, Debug)]
struct Sight {
    lease: Option<Seen>,
    /// From when on anybody may take it, if it does not change.
    free: Instant,
}

impl Election {
    /// A candidate. No other one, now or earlier, may have the name `me`.
    pub fn new(me: String, now: Instant) -> Self {
        Self { me, sight: None, certain: false, renewed: None, due: now }
    }

    /// What to do now.
    pub fn step(&self, now: Instant) -> Step {
        let gives_up = self.gives_up();
        if gives_up.is_some_and(|at| now >= at) {
            return Step::Stop(Lost::NotRenewed);
        }
        if now < self.due {
            return Step::Wait(gives_up.map_or(self.due, |at| at.min(self.due)));
        }
        match &self.sight {
            Some(sight) if self.certain => match self.other_holder(sight) {
                Some(other) if self.renewed.is_some() => Step::Stop(Lost::Taken { by: other.to_owned() }),
                _ if self.may_claim(sight, now) => Step::Put(self.claim(sight, Some(self.me.clone()))),
                _ => Step::Look,
            },
            _ => Step::Look,
        }
    }

    /// What gives the lease back on the way out: a look, or a write; `None`: there is nothing to give back.
    pub fn parting(&self) -> Option<Step> {
        match &self.sight {
            Some(sight) if self.certain => self.is_mine(sight).then(|| Step::Put(self.claim(sight, None))),
            _ => Some(Step::Look),
        }
    }

    /// The lease was looked at, and the answer came just `now`.
    pub fn looked(&mut self, lease: Option<Seen>, now: Instant) {
        let free = match (&self.sight, &lease) {
            (Some(before), _) if version(before.lease.as_ref()) == version(lease.as_ref()) => before.free,
            (_, Some(Seen { holder: None, .. })) | (None, None) => now,
            (_, Some(Seen { lasts, .. })) => now + LEASE.max(*lasts),
            // Somebody deleted it, and its holder may not know yet.
            (Some(_), None) => now + LEASE,
        };
        let sight = Sight { lease, free };
        let waits = self.renewed.is_none() && !self.may_claim(&sight, now);
        self.due = if waits { now + RETRY } else { now };
        self.certain = true;
        self.sight = Some(sight);
    }

    /// A claim of this process, sent at `sent`, was answered: so stands the lease now.
    pub fn written(&mut self, lease: Seen, sent: Instant) {
        self.renewed = (lease.holder.as_ref() == Some(&self.me)).then_some(sent);
        self.sight = Some(Sight { lease: Some(lease), free: sent + LEASE });
        self.certain = true;
        self.due = sent + RETRY;
    }

    /// A request sent at `sent` was refused, or not answered.
    pub fn failed(&mut self, sent: Instant) {
        self.certain = false;
        self.due = sent + RETRY;
    }

    /// Until when the lease is this process's, by its own clock; `None`: it does not lead.
    pub fn until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + LEASE)
    }

    /// When this process stops if no renewal is answered before; `None`: it does not lead.
    pub fn gives_up(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + RENEW_DEADLINE)
    }

    /// Who held the lease when it was last looked at; `None`: nobody.
    pub fn holder(&self) -> Option<&str> {
        self.sight.as_ref()?.lease.as_ref()?.holder.as_deref()
    }

    fn is_mine(&self, sight: &Sight) -> bool {
        sight.lease.as_ref().is_some_and(|lease| lease.holder.as_ref() == Some(&self.me))
    }

    fn other_holder<'a>(&self, sight: &'a Sight) -> Option<&'a str> {
        let holder = sight.lease.as_ref()?.holder.as_deref()?;
        (holder != self.me).then_some(holder)
    }

    /// A leader that finds no holder lost nothing to another one: it claims again, at once.
    fn may_claim(&self, sight: &Sight, now: Instant) -> bool {
        let vacant = self.renewed.is_some() && self.other_holder(sight).is_none();
        self.is_mine(sight) || vacant || now >= sight.free
    }

    fn claim(&self, sight: &Sight, holder: Option<String>) -> Claim {
        Claim { replaces: version(sight.lease.as_ref()).map(str::to_owned), holder, takes_over: !self.is_mine(sight) }
    }
}

fn version(lease: Option<&Seen>) -> Option<&str> {
    lease.map(|lease| lease.version.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(version: &str, holder: Option<&str>) -> Seen {
        Seen { version: version.to_owned(), holder: holder.map(str::to_owned), lasts: LEASE }
    }

    fn put(replaces: Option<&str>, takes_over: bool) -> Step {
        Step::Put(Claim { replaces: replaces.map(str::to_owned), holder: Some("me".to_owned()), takes_over })
    }

    /// One that has had the lease since the moment that is given.
    fn leader() -> (Election, Instant) {
        let now = Instant::now();
        let mut election = Election::new("me".to_owned(), now);
        assert_eq!(election.step(now), Step::Look);
        election.looked(None, now);
        assert_eq!(election.step(now), put(None, true), "nobody has it");
        election.written(lease("1", Some("me")), now);
        (election, now)
    }

    /// One that has seen another one lead.
    fn candidate() -> (Election, Instant) {
        let now = Instant::now();
        let mut election = Election::new("me".to_owned(), now);
        election.looked(Some(lease("1", Some("other"))), now);
        assert_eq!(election.step(now), Step::Wait(now + RETRY));
        (election, now)
    }

    #[test]
    fn a_leader_renews_by_the_version_that_it_wrote() {
        let (mut election, start) = leader();
        assert_eq!((election.step(start), election.until()), (Step::Wait(start + RETRY), Some(start + LEASE)));
        assert_eq!(election.step(start + RETRY), put(Some("1"), false));
        election.written(lease("2", Some("me")), start + RETRY);
        assert_eq!(election.until(), Some(start + RETRY + LEASE), "counted from the moment it was sent");
    }

    #[test]
    fn after_an_answer_that_did_not_come_the_lease_is_looked_at() {
        let (mut election, start) = leader();
        election.failed(start + RETRY);
        let now = start + 2 * RETRY;
        assert_eq!(election.step(now), Step::Look);
        election.looked(Some(lease("2", Some("me"))), now);
        assert_eq!((election.step(now), election.until()), (put(Some("2"), false), Some(start + LEASE)));
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_while_the_lease_still_lasts() {
        let (mut election, start) = leader();
        election.failed(start + RENEW_DEADLINE.saturating_sub(SECOND));
        assert_eq!(election.step(start + RENEW_DEADLINE.saturating_sub(SECOND)), Step::Wait(start + RENEW_DEADLINE));
        assert_eq!(election.step(start + RENEW_DEADLINE), Step::Stop(Lost::NotRenewed));
    }

    #[test]
    fn a_leader_that_sees_another_one_stops() {
        let (mut election, start) = leader();
        election.failed(start + RETRY);
        election.looked(Some(lease("2", Some("other"))), start + 2 * RETRY);
        assert_eq!(election.step(start + 2 * RETRY), Step::Stop(Lost::Taken { by: "other".to_owned() }));
    }

    #[test]
    fn a_candidate_waits_from_when_it_last_saw_the_lease_change() {
        let (mut election, start) = candidate();
        election.looked(Some(lease("1", Some("other"))), start + LEASE.saturating_sub(SECOND));
        assert_eq!(
            election.step(start + LEASE),
            Step::Wait(start + LEASE.saturating_sub(SECOND) + RETRY),
            "nothing changed"
        );
        election.looked(Some(lease("2", Some("other"))), start + LEASE);
        election.looked(Some(lease("2", Some("other"))), start + (2 * LEASE).saturating_sub(SECOND));
        assert_eq!(
            election.step(start + (2 * LEASE).saturating_sub(SECOND)),
            Step::Wait(start + (2 * LEASE).saturating_sub(SECOND) + RETRY)
        );
        election.looked(Some(lease("2", Some("other"))), start + 2 * LEASE);
        assert_eq!(election.step(start + 2 * LEASE), put(Some("2"), true));
    }

    #[test]
    fn a_holder_that_keeps_its_lease_for_longer_is_waited_for() {
        let (mut election, start) = candidate();
        let long = Seen { lasts: 2 * LEASE, ..lease("2", Some("other")) };
        election.looked(Some(long.clone()), start);
        election.looked(Some(long.clone()), start + (2 * LEASE).saturating_sub(SECOND));
        assert_eq!(
            election.step(start + (2 * LEASE).saturating_sub(SECOND)),
            Step::Wait(start + (2 * LEASE).saturating_sub(SECOND) + RETRY)
        );
        election.looked(Some(long), start + 2 * LEASE);
        assert_eq!(election.step(start + 2 * LEASE), put(Some("2"), true));
    }

    #[test]
    fn a_lease_that_is_deleted_ends_no_leadership() {
        let (mut candidate, start) = candidate();
        candidate.looked(None, start);
        assert_eq!(candidate.step(start), Step::Wait(start + RETRY), "its holder may not know yet");
        candidate.looked(None, start + LEASE);
        assert_eq!(candidate.step(start + LEASE), put(None, true));

        let (mut leader, start) = leader();
        leader.failed(start + RETRY);
        leader.looked(None, start + 2 * RETRY);
        assert_eq!(leader.step(start + 2 * RETRY), put(None, true));
    }

    #[test]
    fn who_leaves_gives_back_what_it_has_and_nothing_else() {
        let (mut leader, start) = leader();
        let gives_back = Claim { replaces: Some("1".to_owned()), holder: None, takes_over: false };
        assert_eq!(leader.parting(), Some(Step::Put(gives_back)));
        leader.failed(start);
        assert_eq!(leader.parting(), Some(Step::Look), "it may have landed");
        leader.looked(Some(lease("2", Some("other"))), start);
        assert_eq!(leader.parting(), None);
        assert_eq!(candidate().0.parting(), None);
        let (mut leader, start) = self::leader();
        leader.written(lease("2", None), start);
        assert_eq!((leader.parting(), leader.until()), (None, None));
    }
}
