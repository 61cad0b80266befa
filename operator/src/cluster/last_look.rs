//! The last word before a topic is deleted: what it holds is gone then, and what the caches say may be old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};

use super::delete::{namespace_ends, topics_of_ours};
use super::look::Look;
use super::memory::Memories;
use super::record;
use crate::drain::{self, Situation};
use crate::topics::worker::Confirm;
use crate::watch::im_clusters;

/// Looks at the `ImCluster` and its pods as the API server has them now.
pub struct LastLook {
    /// The way to the API server.
    pub client: Client,
    /// What is known by this process.
    pub memories: Arc<Memories>,
    /// The `ImCluster`s of all namespaces that are watched: where one of this UID is.
    pub everywhere: Arc<[Store<DynamicObject>]>,
}

#[async_trait::async_trait]
impl Confirm for LastLook {
    async fn may_delete(&self, cluster: &str, topics: &BTreeSet<String>) -> BTreeSet<String> {
        self.allowed(cluster, topics).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether topics may be deleted could not be read: they stay for now");
            BTreeSet::new()
        })
    }
}

impl LastLook {
    async fn allowed(&self, uid: &str, topics: &BTreeSet<String>) -> Result<BTreeSet<String>, kube::Error> {
        let is_it = |object: &DynamicObject| object.metadata.uid.as_deref() == Some(uid);
        let Some(cached) = self.everywhere.iter().find_map(|store| store.find(is_it)) else {
            return Ok(BTreeSet::new());
        };
        let namespace = cached.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &im_clusters());
        let fresh = api.get_opt(&cached.name_any()).await?.filter(is_it);
        let Some(cluster) = fresh.and_then(|object| record::parse(&object).ok()) else { return Ok(BTreeSet::new()) };
        let servers = cluster.status.as_ref().map(|status| status.servers.clone()).unwrap_or_default();
        let deleting = cluster.metadata.deletion_timestamp.is_some();
        if deleting && namespace_ends(&self.client, &namespace).await {
            let ours: BTreeSet<_> = topics_of_ours(&servers).map(str::to_owned).collect();
            return Ok(topics & &ours);
        }
        let look = Look::fresh(&self.client, &cluster).await?;
        let now = Timestamp::now();
        let gone_since = self.memories.gone_since(uid, &look, &servers, now);
        let step = drain::step(&Situation {
            now,
            wanted: cluster.spec.gateways.replicas,
            deleting,
            limits: cluster.spec.gateways.drain,
            policy: cluster.spec.kafka.topics.policy,
            prefix: &cluster.topic_prefix(),
            recorded: &servers,
            pods: &look.pods,
            reports: &BTreeMap::new(),
            topics: None,
            gone_since: &gone_since,
            live: look.live(),
            template_changes: false,
        });
        Ok(topics & &step.delete)
    }
}
