//! What reconciles are made with.

use std::ops::Deref;
use std::sync::Arc;

use kube::Client;
use kube::core::DynamicObject;
use kube::runtime::reflector::Store;

use super::apply::Applier;
use super::build::Release;
use super::dereference::SecretReader;
use super::memory::Memories;
use super::record::Recorder;
use crate::drain::gateways::Gateways;
use crate::events::Events;
use crate::leader::Writing;
use crate::topics::Topics;
use crate::watch::Watched;

/// What whoever starts the operator brings along.
pub struct Parts {
    /// The way to the API server.
    pub client: Client,
    /// Whether this process may write.
    pub writing: Arc<dyn Writing>,
    /// The topics.
    pub topics: Arc<dyn Topics>,
    /// The gateways.
    pub gateways: Gateways,
    /// What the operator would make today.
    pub release: Release,
    /// Where the operator's own pods are.
    pub operator_namespace: String,
    /// What people are told.
    pub events: Events,
    /// What is known by this process alone.
    pub memories: Arc<Memories>,
}

/// What all reconciles share.
pub struct Shared {
    parts: Parts,
    pub(super) applier: Applier,
    pub(super) recorder: Recorder,
    pub(super) secrets: SecretReader,
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Shared {
    /// Has written and read nothing yet.
    pub fn new(parts: Parts) -> Self {
        let client = || parts.client.clone();
        Self {
            applier: Applier::new(client()),
            recorder: Recorder::new(client()),
            secrets: SecretReader::new(client()),
            parts,
        }
    }

    /// Forgets an `ImCluster` that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.topics.forget(uid);
        self.gateways.forget(uid);
        self.recorder.forget(uid);
        self.applier.forget(uid);
        self.memories.forget(uid);
    }
}

/// What the reconciles of a namespace, or of all, look at.
pub struct Context {
    /// What all reconciles share.
    pub shared: Arc<Shared>,
    /// The caches.
    pub watched: Watched,
    /// The `ImCluster`s of all namespaces that are watched.
    pub everywhere: Arc<[Store<DynamicObject>]>,
}
