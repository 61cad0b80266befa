//! The offline path: who was not reached is told by push.
//!
//! The relay leaves one piece of work per message. Five seconds later a worker of any server looks who has not got it
//! and leaves jobs, at most one per device and conversation; another carries them out, as signed webhooks. Work and jobs
//! are claimed for a while, so that those of a worker that died are taken over.

mod attempt;
mod deaths;
mod decide;
mod deliver;
mod look;
mod payload;
mod presence;
mod wanted;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use im_protocol::{TimeMs, UserId};
use im_sdk::registry::Registry;
use im_sdk::router::Router;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

pub use attempt::Attempts;
pub use wanted::Wanted;
pub use webhook::{WebhookError, WebhookSecret, WebhookUrl};

use crate::chat::now_ms;
use crate::identity::Death;
use crate::store::{Holder, Store};
use presence::{Presence, presences};
use webhook::{ATTEMPT_TIMEOUT, Webhook};

/// Workers that deliver, each with up to [`deliver::CLAIMED`] jobs under way: one whose receiver is slow does not hold
/// the others up.
const DELIVERING: usize = 2;

/// Between two counts for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// How the offline path works.
#[derive(Clone, Debug)]
pub struct PushConfig {
    /// Where webhooks go.
    pub url: WebhookUrl,
    /// What they are signed with.
    pub secret: WebhookSecret,
    /// What leaves work, and when it is due.
    pub wanted: Wanted,
    /// Webhooks carry the beginning of a text.
    pub include_content: bool,
    /// How often a delivery is tried.
    pub attempts: Attempts,
    /// Between two looks for what is due.
    pub poll_every: Duration,
}

impl PushConfig {
    /// The defaults, with a receiver.
    pub fn new(url: WebhookUrl, secret: WebhookSecret) -> Self {
        Self {
            url,
            secret,
            wanted: Wanted::default(),
            include_content: true,
            attempts: Attempts::default(),
            poll_every: Duration::from_secs(1),
        }
    }
}

/// The workers of one process.
pub struct Push {
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    router: Arc<Router>,
    config: PushConfig,
    webhook: Webhook,
    /// There are new jobs.
    jobs: Notify,
}

/// For so long claimed work and jobs are nobody else's: several times what a round takes at its slowest, a webhook that
/// is answered at the last moment included.
// Far below the range.
#[allow(clippy::cast_possible_truncation)]
const CLAIM_MS: TimeMs = 6 * ATTEMPT_TIMEOUT.as_millis() as TimeMs;

impl Push {
    /// The workers, on the table of servers that `router` keeps.
    pub fn new(
        store: Arc<dyn Store>,
        registry: Arc<dyn Registry>,
        router: Arc<Router>,
        config: PushConfig,
    ) -> std::result::Result<Arc<Self>, WebhookError> {
        let webhook = Webhook::new(config.url.clone(), config.secret.clone())?;
        Ok(Arc::new(Self { store, registry, router, config, webhook, jobs: Notify::new() }))
    }

    /// Starts the tasks; they end with the set. `own` is the server id of this process, `deaths` are the epochs that end.
    pub fn start(self: Arc<Self>, own: Holder, deaths: Receiver<Death>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().mourn(own, deaths));
        tasks.spawn(self.clone().keep_looking());
        for _ in 0..DELIVERING {
            tasks.spawn(self.clone().keep_delivering());
        }
        tasks.spawn(self.keep_counting());
    }

    async fn keep_looking(self: Arc<Self>) {
        let mut ticks = interval(self.config.poll_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.look(now_ms()).await {
                // There may be more that is due.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "push work waits for the database"),
            }
            ticks.tick().await;
        }
    }

    async fn keep_delivering(self: Arc<Self>) {
        let mut ticks = interval(self.config.poll_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.deliver(now_ms()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "push jobs wait for the database"),
            }
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.jobs.notified() => {}
            }
        }
    }

    async fn keep_counting(self: Arc<Self>) {
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok(totals) = self.store.push_totals().await {
                // Far below 2^53.
                #[allow(clippy::cast_precision_loss)]
                metrics::gauge!("im_push_pending").set(totals.pending as f64);
                #[allow(clippy::cast_precision_loss)]
                metrics::gauge!("im_push_dead_letters").set(totals.dead as f64);
            }
        }
    }

    /// Where users are, in their order.
    async fn presences(&self, users: &[UserId]) -> Vec<Presence> {
        if users.is_empty() {
            return Vec::new();
        }
        let routes = self.registry.routes(users).await;
        if let Err(error) = &routes {
            tracing::debug!(%error, "nobody knows who is connected: pushes wait");
        }
        presences(users, routes.as_ref().ok(), &self.router.table())
    }

    /// When something that cannot be decided is looked at again: soon, then ever more seldom.
    fn put_off(claims: u32, now: TimeMs) -> TimeMs {
        const FIRST_MS: TimeMs = 1_000;
        const LONGEST_MS: TimeMs = 30_000;
        now + FIRST_MS.saturating_mul(1 << claims.min(10)).min(LONGEST_MS)
    }

    fn skipped(skip: decide::Skip) {
        metrics::counter!("im_push_skipped_total", "reason" => skip.as_str()).increment(1);
    }
}

/// Keeps the order of users and tells the place of each.
fn places(users: impl IntoIterator<Item = UserId>) -> (Vec<UserId>, std::collections::HashMap<UserId, usize>) {
    let mut all = Vec::new();
    let mut places = std::collections::HashMap::new();
    for user in users {
        places.entry(user).or_insert_with_key(|user| {
            all.push(user.clone());
            all.len() - 1
        });
    }
    (all, places)
}

/// Dead letters and jobs are counted by what became of them.
fn count(result: &'static str) {
    metrics::counter!("im_push_jobs_total", "result" => result).increment(1);
}
