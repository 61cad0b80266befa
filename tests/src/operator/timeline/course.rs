//! What happened, to be asked about.

use std::collections::BTreeSet;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::rules::{self, Breach};
use super::{Moment, Object};

/// Everything that was seen, in its order.
#[derive(Clone, Debug)]
pub struct Course(Vec<Moment>);

impl Course {
    pub(super) fn of(mut moments: Vec<Moment>) -> Self {
        moments.sort_by_key(|moment| moment.version);
        Self(moments)
    }

    /// The versions of the `ImCluster`s, each with its moment.
    pub fn clusters(&self) -> impl Iterator<Item = (&Moment, &ImCluster)> {
        self.0.iter().filter_map(|moment| match &moment.object {
            Object::Cluster(it) => Some((moment, &**it)),
            _ => None,
        })
    }

    /// The versions of the `StatefulSet`s, each with its moment.
    pub fn sets(&self) -> impl Iterator<Item = (&Moment, &StatefulSet)> {
        self.0.iter().filter_map(|moment| match &moment.object {
            Object::Set(it) => Some((moment, &**it)),
            _ => None,
        })
    }

    /// The versions of the pods of a name, each with its moment.
    pub fn pods<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Moment, &'a Pod)> {
        self.0.iter().filter_map(move |moment| match &moment.object {
            Object::Pod(it) if it.metadata.name.as_deref() == Some(name) => Some((moment, &**it)),
            _ => None,
        })
    }

    /// How many pods of a name there were.
    pub fn lives(&self, pod: &str) -> usize {
        self.pods(pod).filter_map(|(_, pod)| pod.uid()).collect::<BTreeSet<_>>().len()
    }

    /// How many pod templates the pods of a name were of, one after the other. Not all of their lives count: kwok deletes a
    /// pod by its name, and now and then once more, which hits the next of that name.
    pub fn revisions(&self, pod: &str) -> usize {
        const REVISION: &str = "controller-revision-hash";
        let mut revisions: Vec<_> = self.pods(pod).map(|(_, pod)| pod.labels().get(REVISION).cloned()).collect();
        revisions.dedup();
        revisions.len()
    }

    /// The values that `spec.replicas` of the `StatefulSet`s had, one after the other.
    pub fn replicas(&self) -> Vec<i32> {
        let mut replicas: Vec<_> = self.sets().filter_map(|(_, set)| set.spec.as_ref()?.replicas).collect();
        replicas.dedup();
        replicas
    }

    /// How many pod templates the `StatefulSet`s had, one after the other.
    pub fn templates(&self) -> usize {
        let mut templates: Vec<_> =
            self.sets().filter_map(|(_, set)| Some(set.spec.as_ref()?.template.clone())).collect();
        templates.dedup();
        templates.len()
    }

    /// The reasons that a condition had, one after the other.
    pub fn reasons(&self, kind: ConditionType) -> Vec<&str> {
        let conditions = self.clusters().filter_map(|(_, it)| rules::condition(it, kind));
        let mut reasons: Vec<_> = conditions.map(|condition| condition.reason.as_str()).collect();
        reasons.dedup();
        reasons
    }

    /// Whether each `ImCluster` stayed Ready from when it was first.
    pub fn stayed_ready(&self) -> bool {
        let mut ready = self.clusters().map(|(_, cluster)| {
            rules::condition(cluster, ConditionType::Ready).is_some_and(|condition| condition.status == "True")
        });
        ready.by_ref().any(|ready| ready) && ready.all(|ready| ready)
    }

    /// What must never happen, and did.
    pub fn breaches(&self) -> Vec<Breach> {
        rules::breaches(&self.0)
    }
}
