//! What a running operator is given.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Namespaces;
use crate::events::Events;
use crate::http::Readiness;
use crate::leader::Writing;
use crate::topics::worker::Connect;

/// What the work of the operator needs. Tests make their own: with a client that fails, or a right to write that ends.
pub struct Running {
    /// To the API server.
    pub client: kube::Client,
    /// Where the operator itself is.
    pub own_namespace: String,
    /// Where it works.
    pub namespaces: Namespaces,
    /// The image for an `ImCluster` that names none and has no gateways yet.
    pub release: String,
    /// Whether this process may write: [`crate::leader::write`] asks.
    pub writing: Arc<dyn Writing>,
    /// Whether this process leads: while it does not it watches, and writes nothing. Goes from false to true once; a process that
    /// leads no more ends.
    pub leading: watch::Receiver<bool>,
    /// What people are told about single `ImCluster`s.
    pub events: Events,
    /// Makes connections to Kafka.
    pub kafka: Connect,
    /// To be said when everything that is watched was read.
    pub readiness: Readiness,
    /// Asks it to end: begin nothing any more, and return.
    pub shutdown: CancellationToken,
}
