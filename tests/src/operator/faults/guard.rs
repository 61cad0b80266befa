//! A look at what cannot be undone, right before it is done: as a test sees it, not as the operator does.

use std::collections::BTreeSet;

use anyhow::Result;
use imcluster_crds::ImCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::gateway::{Handle, Phase};
use crate::operator::world::World;
use crate::operator::writes::Write;

/// Looks at the cluster as it is now.
pub(in crate::operator) struct Guard {
    client: Client,
    namespace: String,
}

impl Guard {
    /// For the `ImCluster`s of a namespace.
    pub(in crate::operator) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// What is wrong with a write to the API server, if something is.
    pub(super) async fn object(&self, write: &Write, body: &[u8]) -> Option<String> {
        let name = write.name.as_deref()?;
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let seen = match (write.verb, write.resource.as_str()) {
            ("apply", "statefulsets") => self.shrinks(name, &body).await,
            ("patch", "imclusters") => self.releases(name, &body).await,
            _ => return None,
        };
        seen.unwrap_or_else(|error| Some(format!("{write}: {error:#}")))
    }

    /// What is wrong with a deletion of topics, if something is.
    pub(super) async fn topics(&self, topics: &BTreeSet<String>) -> Option<String> {
        for topic in topics {
            let (prefix, id) = topic.rsplit_once('.')?;
            let cluster = prefix.strip_prefix(&self.namespace)?.strip_prefix('.')?;
            let pod = format!("{cluster}-gateway-{id}");
            match self.pods().get_opt(&pod).await {
                Ok(None) => {}
                Ok(Some(_)) => return Some(format!("topic {topic} is to be deleted, and there is pod {pod}")),
                Err(error) => return Some(format!("pod {pod} of topic {topic}: {error}")),
            }
        }
        None
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Pods go that nobody drained.
    async fn shrinks(&self, set: &str, desired: &Value) -> Result<Option<String>> {
        let live = Api::<StatefulSet>::namespaced(self.client.clone(), &self.namespace).get_opt(set).await?;
        let now = live.and_then(|set| set.spec).and_then(|spec| spec.replicas).map_or(0, i64::from);
        let left = desired["spec"]["replicas"].as_i64().unwrap_or(now);
        for id in left..now {
            let pod = format!("{set}-{id}");
            if let Some(pod) = self.pods().get_opt(&pod).await?.filter(|pod| !is_going(pod))
                && !self.is_drained(&pod).await?
            {
                return Ok(Some(format!("pod {} is taken away, and it is not drained", pod.name_any())));
            }
        }
        Ok(None)
    }

    async fn is_drained(&self, pod: &Pod) -> Result<bool> {
        match Handle::of(pod)?.report().await {
            Ok(report) => Ok(report.status.phase == Phase::Drained),
            // It went while it was asked.
            Err(error) => match self.pods().get_opt(&pod.name_any()).await?.filter(|now| now.uid() == pod.uid()) {
                Some(now) if !is_going(&now) => Err(error),
                _ => Ok(true),
            },
        }
    }

    /// The finalizer goes before the topics that it stands for.
    async fn releases(&self, name: &str, change: &Value) -> Result<Option<String>> {
        let Some(finalizers) = change["metadata"]["finalizers"].as_array() else { return Ok(None) };
        if finalizers.iter().any(|finalizer| finalizer == "imcluster.dev/topics") {
            return Ok(None);
        }
        let live = Api::<ImCluster>::namespaced(self.client.clone(), &self.namespace).get_opt(name).await?;
        let Some(prefix) = live.and_then(|live| live.status).and_then(|status| status.topic_prefix) else {
            return Ok(None);
        };
        let topics = World::shared().await.kafka.topics(&prefix).await?;
        Ok((!topics.is_empty()).then(|| format!("{name} is let go of, and there are {topics:?}")))
    }
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
