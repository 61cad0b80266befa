//! An operator in this process, for one namespace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use imcluster_operator::config::Namespaces;
use imcluster_operator::events::Events;
use imcluster_operator::http::Readiness;
use imcluster_operator::leader::Writing;
use imcluster_operator::running::Running;
use imcluster_operator::topics;
use kube::client::ClientBuilder;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::tenant::Tenant;
use super::world::World;
use super::writes::Writes;

/// The image of gateways that a test's operator brings along.
pub const RELEASE: &str = crate::gateway::IMAGE;

/// An operator that works until it is dropped, in the middle of whatever it does.
pub struct Operator {
    work: JoinHandle<Result<()>>,
    shutdown: CancellationToken,
    writes: Writes,
}

impl Operator {
    /// Looks after the namespace of a test. It leads: there is no other.
    pub fn start(world: &World, tenant: &Tenant) -> Result<Self> {
        let writes = Writes::default();
        let client = ClientBuilder::try_from(world.config().clone())?.with_layer(&writes).build();
        let writing: Arc<dyn Writing> = Arc::new(Alone);
        let shutdown = CancellationToken::new();
        let (_, leading) = watch::channel(true);
        let work = tokio::spawn(imcluster_operator::run(Running {
            events: Events::start(client.clone(), writing.clone(), "test".to_owned()),
            client,
            own_namespace: tenant.name().to_owned(),
            namespaces: Namespaces::Listed(BTreeSet::from([tenant.name().to_owned()])),
            release: RELEASE.to_owned(),
            writing,
            leading,
            kafka: Arc::new(topics::admin::connect),
            readiness: Readiness::waiting("the caches"),
            shutdown: shutdown.clone(),
        }));
        Ok(Self { work, shutdown, writes })
    }

    /// What it has written.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Lets it end what it does.
    pub async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        (&mut self.work).await?
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// The right to write of an operator that has no other beside it.
struct Alone;

impl Writing for Alone {
    fn left(&self) -> Option<Duration> {
        Some(Duration::from_mins(1))
    }
}
