//! The election, run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Writing;
use super::election::{Election, Lost, Step};
use super::hold::Hold;
use super::lease::{LeaseError, Leases};
use crate::telemetry::metrics;

/// How long one answer about the lease is waited for.
pub const REQUEST: Duration = Duration::from_secs(3);

/// Requests to give the lease back: one to look, one to write, one more if the first was not answered.
const PARTING_REQUESTS: usize = 3;

/// This process as a candidate, and as the leader.
pub struct Leadership {
    hold: Arc<Hold>,
    leading: watch::Receiver<bool>,
    leave: CancellationToken,
    task: AbortOnDropHandle<Result<(), Lost>>,
}

impl Leadership {
    /// Seeks the lease from now on. No other process, now or earlier, may have the name `me`.
    pub fn seek(leases: impl Leases, me: String) -> Self {
        let hold = Arc::<Hold>::default();
        let (leads, leading) = watch::channel(false);
        let leave = CancellationToken::new();
        let election = Election::new(me, Instant::now().into_std());
        let candidate = Candidate { leases, election, hold: hold.clone(), leads, leave: leave.clone(), told: None };
        Self { hold, leading, leave, task: AbortOnDropHandle::new(tokio::spawn(candidate.run())) }
    }

    /// The right to write.
    pub fn writing(&self) -> Arc<dyn Writing> {
        self.hold.clone()
    }

    /// Whether this process leads. Once it has, it goes on to, or [`Self::lost`] returns.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Returns when this process led and must not any more: it has to end.
    pub async fn lost(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("the election ended"),
            Ok(Err(lost)) => lost.into(),
            Err(broken) => broken.into(),
        }
    }

    /// Gives the lease back once the last write has ended, so that another process leads at once. Takes as long as a write
    /// may, and a few requests.
    pub async fn release(mut self) {
        self.hold.give_up().await;
        self.leave.cancel();
        if let Err(broken) = (&mut self.task).await {
            tracing::error!("the election broke off: {broken}");
        }
    }
}

struct Candidate<L> {
    leases: L,
    election: Election,
    hold: Arc<Hold>,
    leads: watch::Sender<bool>,
    leave: CancellationToken,
    /// The last holder that the log told of.
    told: Option<String>,
}

impl<L: Leases> Candidate<L> {
    async fn run(mut self) -> Result<(), Lost> {
        while !self.leave.is_cancelled() {
            match self.election.step(Instant::now().into_std()) {
                Step::Wait(until) => tokio::select! {
                    () = self.leave.cancelled() => {}
                    () = sleep_until(until.into()) => {}
                },
                Step::Stop(lost) => {
                    self.led(None);
                    return Err(lost);
                }
                request => {
                    self.request(request).await;
                    self.led(self.election.until().map(Instant::from_std));
                    self.tell();
                }
            }
        }
        self.part().await;
        self.led(None);
        Ok(())
    }

    fn led(&self, until: Option<Instant>) {
        self.hold.lasts(until);
        let leads = until.is_some();
        metrics::leads(leads);
        self.leads.send_if_modified(|before| std::mem::replace(before, leads) != leads);
    }

    fn tell(&mut self) {
        let holder = self.election.holder();
        if holder != self.told.as_deref() {
            match holder {
                Some(holder) if *self.leads.borrow() => tracing::info!("leads, as {holder}"),
                Some(holder) => tracing::info!("stands by: {holder} leads"),
                None => tracing::info!("stands by: nobody leads"),
            }
            self.told = holder.map(str::to_owned);
        }
    }

    async fn request(&mut self, step: Step) {
        let sent = Instant::now();
        let patience = self.election.gives_up().map(Instant::from_std).filter(|&at| at > sent);
        let patience = patience.map_or(sent + REQUEST, |at| at.min(sent + REQUEST));
        let answer = timeout_at(patience, async {
            if let Step::Put(claim) = step {
                let lease = self.leases.put(&claim).await?;
                self.election.written(lease, sent.into_std());
            } else {
                let lease = self.leases.look().await?;
                self.election.looked(lease, Instant::now().into_std());
            }
            Ok(())
        });
        let answer: Result<Result<(), LeaseError>, _> = answer.await;
        match answer {
            Ok(Ok(())) => return,
            Ok(Err(LeaseError::Conflict)) => tracing::debug!("the lease was not written: another process was first"),
            Ok(Err(error)) => tracing::warn!("the lease cannot be read or written: {error}"),
            Err(_) => tracing::warn!("no answer about the lease in time"),
        }
        self.election.failed(sent.into_std());
    }

    async fn part(&mut self) {
        for _ in 0..PARTING_REQUESTS {
            match self.election.parting() {
                Some(step) => self.request(step).await,
                None => return,
            }
        }
        if self.election.parting().is_some() {
            tracing::warn!("the lease may not be released: another process leads when it has run out");
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::leader::election::{Claim, LEASE, RENEW_DEADLINE, RETRY, Seen};
    use crate::leader::{LEFT_FOR_WRITES, NotWritten, WRITE_LIMIT, write};

    /// An API server of one lease.
    #[derive(Clone, Default)]
    struct Api(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        lease: Option<Seen>,
        version: u64,
        hangs: bool,
    }

    impl Api {
        async fn reached(&self) {
            if self.0.lock().hangs {
                std::future::pending::<()>().await;
            }
        }

        fn holder(&self) -> Option<String> {
            self.0.lock().lease.as_ref()?.holder.clone()
        }
    }

    #[async_trait::async_trait]
    impl Leases for Api {
        async fn look(&mut self) -> Result<Option<Seen>, LeaseError> {
            self.reached().await;
            Ok(self.0.lock().lease.clone())
        }

        async fn put(&mut self, claim: &Claim) -> Result<Seen, LeaseError> {
            self.reached().await;
            let mut state = self.0.lock();
            if state.lease.as_ref().map(|lease| &lease.version) != claim.replaces.as_ref() {
                return Err(LeaseError::Conflict);
            }
            state.version += 1;
            let lease = Seen { version: state.version.to_string(), holder: claim.holder.clone(), lasts: LEASE };
            state.lease = Some(lease.clone());
            Ok(lease)
        }
    }

    async fn leading(api: &Api, name: &str) -> Leadership {
        let leadership = Leadership::seek(api.clone(), name.to_owned());
        leadership.leading().wait_for(|leads| *leads).await.unwrap();
        leadership
    }

    #[tokio::test(start_paused = true)]
    async fn the_leader_may_write_and_one_that_stands_by_may_not() {
        let api = Api::default();
        let first = leading(&api, "first").await;
        let second = Leadership::seek(api.clone(), "second".to_owned());
        tokio::time::sleep(10 * LEASE).await;
        assert_eq!(write(&*first.writing(), async { 7 }).await.unwrap(), 7);
        assert!(matches!(write(&*second.writing(), async { 7 }).await, Err(NotWritten::NotLeading)));
        assert!(*first.leading().borrow() && !*second.leading().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_cut_off_writes_no_more_long_before_another_one_leads() {
        let api = Api::default();
        let mut first = leading(&api, "first").await;
        let (writing, leads) = (first.writing(), first.leading());
        api.0.lock().hangs = true;
        let cut = Instant::now();
        tokio::time::sleep(LEASE.saturating_sub(LEFT_FOR_WRITES + Duration::from_millis(1))).await;
        assert!(writing.left().is_some());
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(writing.left().is_none() && *leads.borrow());
        let lost = first.lost().await;
        assert_eq!(lost.downcast_ref::<Lost>(), Some(&Lost::NotRenewed));
        assert!(cut.elapsed() <= RENEW_DEADLINE && !*leads.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_leaves_waits_for_its_last_write_and_is_followed_at_once() {
        let api = Api::default();
        let first = leading(&api, "first").await;
        let second = Leadership::seek(api.clone(), "second".to_owned());
        let writing = first.writing();
        let last = tokio::spawn({
            let writing = writing.clone();
            async move { write(&*writing, std::future::pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        let began = Instant::now();
        let release = tokio::spawn(first.release());
        tokio::task::yield_now().await;
        assert!(matches!(write(&*writing, async {}).await, Err(NotWritten::NotLeading)), "none begins any more");
        release.await.unwrap();
        assert!(last.is_finished() && began.elapsed() >= WRITE_LIMIT);
        assert_eq!(api.holder(), None);
        let released = Instant::now();
        second.leading().wait_for(|leads| *leads).await.unwrap();
        assert!(released.elapsed() <= RETRY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_leaves_does_not_wait_for_ever_for_an_api_server_that_hangs() {
        let api = Api::default();
        let first = leading(&api, "first").await;
        api.0.lock().hangs = true;
        tokio::time::timeout(REQUEST * 5, first.release()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_by_outlasts_an_outage() {
        let api = Api::default();
        api.0.lock().hangs = true;
        let candidate = Leadership::seek(api.clone(), "me".to_owned());
        tokio::time::sleep(10 * LEASE).await;
        api.0.lock().hangs = false;
        candidate.leading().wait_for(|leads| *leads).await.unwrap();
    }
}
