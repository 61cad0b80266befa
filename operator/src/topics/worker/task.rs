//! The task of one Kafka: when it works, and what it does when Kafka as a whole does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::board::{Due, Ended, NewKafka, Next, Wishes};
use super::pace::{until_audit, until_retry};
use super::{Shared, round};
use crate::topics::KafkaSettings;
use crate::topics::admin::{AdminError, KafkaAdmin};
use crate::topics::trouble::Problems;

pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<KafkaSettings>,
    wake: Arc<Notify>,
    admin: Option<Arc<dyn KafkaAdmin>>,
    /// When all is looked at again.
    audit: Instant,
    /// What brokers do with topics that are only asked about, as far as they tell.
    pub(super) auto_create: bool,
    /// It has to be asked.
    ask_auto_create: bool,
    /// Rounds in a row that Kafka as a whole did not let come to their end.
    failures: u32,
    /// Until then Kafka is not asked, and why.
    shut: Option<(Instant, AdminError)>,
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>, kafka: NewKafka) -> Self {
        Self {
            shared,
            settings: kafka.settings,
            wake: kafka.wake,
            admin: None,
            audit: Instant::now() + until_audit(),
            auto_create: false,
            ask_auto_create: true,
            failures: 0,
            shut: None,
        }
    }

    /// Works until nobody wishes anything of this Kafka any more, or all tasks are told to stop.
    pub(super) async fn run(mut self) {
        while !self.stopped() {
            let leads = self.shared.writing.left().is_some();
            let shut = self.shut.as_ref().map(|(until, _)| *until);
            match self.shared.board.next(&self.settings, leads, self.audit, shut) {
                Next::End => return,
                Next::Wait(until) => tokio::select! {
                    () = self.shared.stop.cancelled() => {}
                    () = self.wake.notified() => {}
                    () = sleep_until(until) => {}
                },
                Next::Round(due) => self.work(&due).await,
            }
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    async fn work(&mut self, due: &Wishes) {
        let now = Instant::now();
        if let Some((until, error)) = &self.shut
            && now < *until
        {
            // These have only not heard of it yet.
            self.tell_all(due, error, *until);
            return;
        }
        if now >= self.audit {
            self.audit = now + until_audit();
            self.ask_auto_create = true;
        }
        match self.round(due).await {
            Ok(()) => {
                self.failures = 0;
                self.shut = None;
            }
            Err(error) => self.shut(error),
        }
    }

    async fn round(&mut self, due: &Wishes) -> Result<(), AdminError> {
        let admin = self.admin().await?;
        if self.ask_auto_create {
            self.auto_create = match round::answered(admin.auto_create()).await {
                Ok(auto_create) => auto_create,
                // It is told to those who may know.
                Err(AdminError::Denied) => false,
                Err(error) => return Err(error),
            };
            self.ask_auto_create = false;
        }
        round::run(self, &*admin, due).await
    }

    async fn admin(&mut self) -> Result<Arc<dyn KafkaAdmin>, AdminError> {
        if let Some(admin) = &self.admin {
            return Ok(Arc::clone(admin));
        }
        let (connect, settings) = (Arc::clone(&self.shared.connect), Arc::clone(&self.settings));
        // It reads certificates. It is not done only when the process ends, or by a panic, which is told by then.
        let connected = tokio::task::spawn_blocking(move || connect(&settings)).await;
        let admin = connected.unwrap_or(Err(AdminError::Unavailable))?;
        Ok(Arc::clone(self.admin.insert(admin)))
    }

    /// Leaves Kafka alone for a while. The next try is with a new client: this one's connections may be in any state.
    fn shut(&mut self, error: AdminError) {
        self.failures = self.failures.saturating_add(1);
        let until = Instant::now() + until_retry(self.failures);
        tracing::warn!(brokers = ?self.settings.brokers, %error, failures = self.failures, "Kafka cannot be worked with");
        self.admin = None;
        self.tell_all(&self.shared.board.wishes(&self.settings), &error, until);
        self.shut = Some((until, error));
    }

    fn tell_all(&self, wishes: &Wishes, error: &AdminError, until: Instant) {
        for (cluster, wish) in wishes {
            let problems = Problems::with_kafka(error.clone());
            self.end(
                cluster,
                Ended {
                    wish,
                    problems,
                    made: BTreeSet::new(),
                    auto_create: self.auto_create,
                    due: Some(Due::At(until)),
                },
            );
        }
    }

    pub(super) fn end(&self, cluster: &str, ended: Ended<'_>) {
        for trouble in ended.problems.troubles() {
            metrics::counter!("imcluster_operator_topic_troubles_total", "reason" => trouble.reason.as_str())
                .increment(1);
        }
        if self.shared.board.end(&self.settings, cluster, ended) {
            self.shared.wake.wake(cluster);
        }
    }
}
