//! What there is of an `ImCluster`, out of the caches or, before what cannot be undone, as the API server has it now.

use std::collections::BTreeMap;
use std::sync::Arc;

use imcluster_crds::{ImCluster, ServerId};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};

use super::apply::{is_orphan, is_owned};
use super::{names, pods};
use crate::drain::{GatewayPod, LiveSet};
use crate::watch::Watched;

/// What there is.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The `StatefulSet`, if there is one, and it is ours or becomes it.
    pub(super) set: Option<Arc<StatefulSet>>,
    /// Gateway pods.
    pub(super) pods: BTreeMap<ServerId, GatewayPod>,
    /// Why the first pod that cannot run cannot.
    pub(super) stuck: Option<String>,
}

impl Look {
    /// Out of the caches.
    pub(super) fn cached(watched: &Watched, cluster: &ImCluster) -> Self {
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let set = watched.sets.get(&ObjectRef::new(&names::gateway(&name)).within(&namespace));
        let is_theirs = |pod: &Pod| pod.metadata.namespace.as_deref() == Some(&namespace) && selected(pod, &name);
        let all = watched.pods.state_filter(is_theirs);
        Self::of(cluster, set, all.iter().map(AsRef::as_ref))
    }

    /// As the API server has it now.
    pub(super) async fn fresh(client: &Client, cluster: &ImCluster) -> Result<Self, kube::Error> {
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
        let set = sets.get_opt(&names::gateway(&name)).await?.map(Arc::new);
        let selector = ListParams::default().labels(&names::selector_text(&name));
        let all = Api::<Pod>::namespaced(client.clone(), &namespace).list(&selector).await?;
        Ok(Self::of(cluster, set, &all.items))
    }

    fn of<'a>(cluster: &ImCluster, set: Option<Arc<StatefulSet>>, all: impl IntoIterator<Item = &'a Pod>) -> Self {
        let owner = cluster.uid().unwrap_or_default();
        let ours =
            |set: &Arc<StatefulSet>| is_owned(&set.metadata, &owner) || is_orphan(&set.metadata, &cluster.name_any());
        let set = set.filter(ours);
        let all: Vec<_> = all.into_iter().collect();
        let stuck = all.iter().find_map(|pod| {
            let why = pods::why_it_cannot_run(pod.status.as_ref()?)?;
            Some(format!("Pod {}: {why}", pod.name_any()))
        });
        Self { set, pods: pods::gateways(all, &names::gateway(&cluster.name_any())), stuck }
    }

    /// The `StatefulSet` as decisions need it.
    pub(super) fn live(&self) -> Option<LiveSet> {
        let set = self.set.as_ref()?;
        let status = set.status.as_ref();
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        Some(LiveSet {
            replicas: u16::try_from(wanted).unwrap_or(u16::MAX),
            observed: status.and_then(|status| status.observed_generation) >= set.metadata.generation,
            update_revision: status.and_then(|status| status.update_revision.clone()).unwrap_or_default(),
        })
    }
}

fn selected(pod: &Pod, cluster: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    names::selector(cluster).iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}
