//! An operator in this process, for one namespace.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use imcluster_operator::config::Namespaces;
use imcluster_operator::events::Events;
use imcluster_operator::http::Readiness;
use imcluster_operator::leader::{KubeLease, Leadership, Writing};
use imcluster_operator::running::Running;
use kube::{Client, Config};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::faults::{Alone, Faults, Guard, Life};
use super::tenant::Tenant;
use super::world::World;
use super::writes::Writes;

/// The image of gateways that a test's operator brings along.
pub const RELEASE: &str = crate::gateway::IMAGE;

/// The Lease that operators of a namespace share.
const LEASE: &str = "imcluster-operator";

/// An operator that works until it is dropped, in the middle of whatever it does: like a process, it has a runtime of its own,
/// and nothing of it goes on after that.
pub struct Operator {
    runtime: Option<Runtime>,
    work: JoinHandle<Result<()>>,
    shutdown: CancellationToken,
    leading: watch::Receiver<bool>,
    faults: Arc<Faults>,
    life: Arc<Life>,
}

impl Operator {
    /// Looks after the namespace of a test. It leads: there is no other.
    pub fn start(world: &World, tenant: &Tenant) -> Result<Self> {
        Self::start_with(world, tenant, &Arc::default())
    }

    /// The same with faults, and what they remember of others before it.
    pub fn start_with(world: &World, tenant: &Tenant, faults: &Arc<Faults>) -> Result<Self> {
        Self::alone(world, world.config().clone(), tenant, faults, |_| {})
    }

    /// The same, known to the API server by another configuration, and with other things in its hands.
    pub fn start_other(
        world: &World,
        config: Config,
        tenant: &Tenant,
        change: impl FnOnce(&mut Running),
    ) -> Result<Self> {
        Self::alone(world, config, tenant, &Arc::default(), change)
    }

    fn alone(
        world: &World,
        config: Config,
        tenant: &Tenant,
        faults: &Arc<Faults>,
        change: impl FnOnce(&mut Running),
    ) -> Result<Self> {
        Self::begin(world, config, tenant, faults, |begun| {
            let writing: Arc<dyn Writing> = Arc::new(Alone(begun.life.clone()));
            let (_, leading) = watch::channel(true);
            let mut running = begun.running(writing, leading.clone());
            change(&mut running);
            Ok((leading, tokio::spawn(imcluster_operator::run(running))))
        })
    }

    /// One of several that look after the namespace of a test, of which one leads. Each needs a name of its own.
    pub fn seek(world: &World, tenant: &Tenant, faults: &Arc<Faults>, name: &str) -> Result<Self> {
        let config = world.config().clone();
        Self::begin(world, config.clone(), tenant, faults, |begun| {
            let lease = KubeLease::new(begun.life.lease_client(config)?, &begun.namespace, LEASE);
            let mut leadership = Leadership::seek(lease, name.to_owned());
            let leading = leadership.leading();
            let running = begun.running(leadership.writing(), leading.clone());
            let life = begun.life.clone();
            let work = tokio::spawn(async move {
                let mut work = AbortOnDropHandle::new(tokio::spawn(imcluster_operator::run(running)));
                tokio::select! {
                    ended = &mut work => ended??,
                    lost = leadership.lost() => {
                        life.end();
                        return Err(lost);
                    }
                }
                leadership.release().await;
                Ok(())
            });
            Ok((leading, work))
        })
    }

    fn begin(
        world: &World,
        config: Config,
        tenant: &Tenant,
        faults: &Arc<Faults>,
        start: impl FnOnce(&Begun) -> Result<(watch::Receiver<bool>, JoinHandle<Result<()>>)>,
    ) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("operator").enable_all().build()?;
        let shutdown = CancellationToken::new();
        let entered = runtime.enter();
        let guard = Guard::new(Client::try_from(world.config().clone())?, tenant.name());
        let life = Life::new(faults.clone(), tenant.name(), Some(guard));
        let client = life.client(config)?;
        let begun =
            Begun { client, life: life.clone(), namespace: tenant.name().to_owned(), shutdown: shutdown.clone() };
        let (leading, work) = start(&begun)?;
        drop(entered);
        Ok(Self { runtime: Some(runtime), work, shutdown, leading, faults: faults.clone(), life })
    }

    /// What it, and those before it with the same faults, have written.
    pub fn writes(&self) -> &Writes {
        self.faults.writes()
    }

    /// Returns when a fault has killed it, or it has lost the lease.
    pub async fn died(&self) {
        self.life.ended().await;
    }

    /// Returns when it leads.
    pub async fn leads(&mut self) -> Result<()> {
        self.leading.wait_for(|leads| *leads).await.context("it has ended")?;
        Ok(())
    }

    /// From now on nothing that it asks about the lease is answered; all the rest is.
    pub fn cut_off_from_the_lease(&self) {
        self.life.cut_off_from_the_lease();
    }

    /// Returns when it has ended by itself, and why.
    pub async fn ended(&mut self) -> Result<()> {
        (&mut self.work).await?
    }

    /// Lets it end what it does.
    pub async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        self.ended().await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What both kinds of operators begin with.
struct Begun {
    client: Client,
    life: Arc<Life>,
    namespace: String,
    shutdown: CancellationToken,
}

impl Begun {
    fn running(&self, writing: Arc<dyn Writing>, leading: watch::Receiver<bool>) -> Running {
        Running {
            events: Events::start(self.client.clone(), writing.clone(), "test".to_owned()),
            client: self.client.clone(),
            own_namespace: self.namespace.clone(),
            namespaces: Namespaces::Listed(BTreeSet::from([self.namespace.clone()])),
            release: RELEASE.to_owned(),
            writing,
            leading,
            kafka: self.life.kafka(),
            readiness: Readiness::waiting("the caches"),
            shutdown: self.shutdown.clone(),
        }
    }
}
