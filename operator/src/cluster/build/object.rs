//! What all objects of an `ImCluster` have in common.

use imcluster_crds::ImCluster;
use kube::Resource;
use serde_json::{Value, json};

use crate::cluster::names::labels;

/// The kinds that the operator makes, in the order in which they are applied: a pod finds all that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What pods run as.
    ServiceAccount,
    /// The settings of gateways.
    ConfigMap,
    /// The token of the management port.
    Secret,
    /// Names of pods, and the way for clients.
    Service,
    /// Who may reach the pods.
    NetworkPolicy,
    /// The way for clients by HTTP.
    Ingress,
    /// How many pods may be evicted at once.
    PodDisruptionBudget,
    /// The gateways.
    StatefulSet,
}

impl Kind {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::Ingress,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
    ];
}

/// An object that should be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its kind.
    pub kind: Kind,
    /// Its name, in the namespace of the `ImCluster`.
    pub name: String,
    /// All fields that are the operator's, for a server-side apply. `None`: it stays as it is.
    pub object: Option<Value>,
}

/// Whose objects they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) name: &'a str,
    cluster: &'a ImCluster,
}

impl<'a> Owner<'a> {
    pub(super) fn of(cluster: &'a ImCluster) -> Self {
        Self { name: cluster.metadata.name.as_deref().unwrap_or_default(), cluster }
    }

    /// An object with namespace, labels and owner.
    pub(super) fn object(&self, body: &Value) -> Value {
        let mut object = body.clone();
        let metadata = &mut object["metadata"];
        metadata["labels"] = json!(labels(self.name));
        metadata["namespace"] = json!(self.cluster.metadata.namespace);
        metadata["ownerReferences"] = json!([{
            "apiVersion": ImCluster::api_version(&()),
            "blockOwnerDeletion": true,
            "controller": true,
            "kind": ImCluster::kind(&()),
            "name": self.name,
            "uid": self.cluster.metadata.uid,
        }]);
        object
    }
}
