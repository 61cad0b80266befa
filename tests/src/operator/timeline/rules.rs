//! What must never happen, whatever a test does: pure, over what was seen.

use std::collections::BTreeMap;

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase, ServerStatus, TopicOrigin};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::{Moment, Object};

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A pod was made while the topic of its id was not recorded as being there.
    PodBeforeTopic(String),
    /// A pod was left out of the `StatefulSet` although its id was not draining.
    LeftOutUndrained(String),
    /// The template and the number of pods changed at once.
    TemplateWithReplicas(String),
    /// The template changed while clients were moved off a pod that runs.
    TemplateWhileDraining(String),
    /// The template changed while a pod was about to go.
    TemplateWhileTerminating(String),
}

/// Which of it did.
pub(super) fn breaches(moments: &[Moment]) -> Vec<Breach> {
    let mut now = Now::default();
    let mut breaches = Vec::new();
    for moment in moments {
        if !moment.gone {
            match &moment.object {
                Object::Pod(pod) => breaches.extend(now.made(pod)),
                Object::Set(set) => breaches.extend(now.changed(set)),
                Object::Cluster(_) => {}
            }
        }
        now.follow(moment);
    }
    breaches
}

/// A condition.
pub(super) fn condition(cluster: &ImCluster, kind: ConditionType) -> Option<&Condition> {
    let mut conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == kind.as_str())
}

/// What there is at a moment, by name.
#[derive(Default)]
struct Now<'a> {
    clusters: BTreeMap<String, &'a ImCluster>,
    sets: BTreeMap<String, &'a StatefulSet>,
    pods: BTreeMap<String, &'a Pod>,
}

impl<'a> Now<'a> {
    fn follow(&mut self, moment: &'a Moment) {
        fn note<'a, K: ResourceExt>(all: &mut BTreeMap<String, &'a K>, it: &'a K, gone: bool) {
            if gone {
                all.remove(&it.name_any());
            } else {
                all.insert(it.name_any(), it);
            }
        }
        match &moment.object {
            Object::Cluster(it) => note(&mut self.clusters, it, moment.gone),
            Object::Set(it) => note(&mut self.sets, it, moment.gone),
            Object::Pod(it) => note(&mut self.pods, it, moment.gone),
        }
    }

    fn made(&self, pod: &Pod) -> Option<Breach> {
        let name = pod.name_any();
        if self.pods.contains_key(&name) {
            return None;
        }
        let topic = entry(self.owner(&name)?, &name).and_then(|entry| entry.topic.as_ref());
        let is_there = topic.is_some_and(|topic| topic.origin != TopicOrigin::Creating);
        (!is_there).then_some(Breach::PodBeforeTopic(name))
    }

    fn changed(&self, set: &StatefulSet) -> Vec<Breach> {
        let name = set.name_any();
        let Some(before) = self.sets.get(&name).and_then(|before| before.spec.as_ref()) else { return Vec::new() };
        let Some(after) = set.spec.as_ref() else { return Vec::new() };
        let number = |replicas: Option<i32>| replicas.unwrap_or(1);
        let mut breaches = Vec::new();
        for id in number(after.replicas)..number(before.replicas) {
            let pod = format!("{name}-{id}");
            if self.owner(&pod).is_some_and(|cluster| !drains(cluster, &pod)) {
                breaches.push(Breach::LeftOutUndrained(pod));
            }
        }
        if before.template == after.template {
            return breaches;
        }
        if before.replicas != after.replicas {
            breaches.push(Breach::TemplateWithReplicas(name.clone()));
        }
        for (pod, it) in self.pods.iter().filter(|(pod, it)| set_of(pod) == Some(&name) && runs(it)) {
            if self.owner(pod).is_some_and(|cluster| drains(cluster, pod)) {
                breaches.push(Breach::TemplateWhileDraining(pod.clone()));
            } else if it.metadata.deletion_timestamp.is_some() {
                breaches.push(Breach::TemplateWhileTerminating(pod.clone()));
            }
        }
        breaches
    }

    /// Whose a pod is; `None`: nobody's, or of one that goes.
    fn owner(&self, pod: &str) -> Option<&'a ImCluster> {
        let cluster = self.clusters.get(set_of(pod)?.strip_suffix("-gateway")?)?;
        cluster.metadata.deletion_timestamp.is_none().then_some(*cluster)
    }
}

/// What is recorded of the id of a pod.
fn entry<'a>(cluster: &'a ImCluster, pod: &str) -> Option<&'a ServerStatus> {
    let id: u16 = pod.rsplit_once('-')?.1.parse().ok()?;
    let mut servers = cluster.status.iter().flat_map(|status| &status.servers);
    servers.find(|entry| entry.id.0 == id)
}

fn set_of(pod: &str) -> Option<&str> {
    pod.rsplit_once('-').map(|(set, _)| set)
}

fn drains(cluster: &ImCluster, pod: &str) -> bool {
    entry(cluster, pod).is_some_and(|entry| entry.phase == ServerPhase::Draining)
}

/// One that cannot has nobody to move.
fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    fn moment(object: Object) -> Moment {
        Moment { version: 0, heard: Instant::now(), object, gone: false }
    }

    fn cluster(servers: &[(u16, &str, &str)]) -> Moment {
        let entry = |(id, phase, origin): &(u16, &str, &str)| json!({ "id": id, "phase": phase, "topic": { "name": format!("im.{id}"), "origin": origin } });
        let it = json!({
            "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "metadata": { "name": "chat" },
            "spec": {
                "kafka": { "bootstrapServers": "kafka:9092", "topics": {} },
                "redis": { "urlSecretRef": { "name": "redis" } },
                "database": { "urlSecretRef": { "name": "database" } },
                "auth": { "jwt": { "keysSecretRef": { "name": "keys" }, "signingKey": "a" } },
            },
            "status": { "servers": servers.iter().map(entry).collect::<Vec<_>>() },
        });
        moment(Object::Cluster(serde_json::from_value(it).unwrap()))
    }

    fn set(replicas: i32, image: &str) -> Moment {
        let template = json!({ "spec": { "containers": [{ "name": "im-server", "image": image }] } });
        let spec = json!({ "replicas": replicas, "selector": {}, "serviceName": "chat-pods", "template": template });
        let it = json!({ "metadata": { "name": "chat-gateway" }, "spec": spec });
        moment(Object::Set(serde_json::from_value(it).unwrap()))
    }

    fn pod(id: u16, metadata: &Value, phase: &str) -> Moment {
        let mut it = json!({ "metadata": { "name": format!("chat-gateway-{id}") }, "status": { "phase": phase } });
        json_patch::merge(&mut it["metadata"], metadata);
        moment(Object::Pod(serde_json::from_value(it).unwrap()))
    }

    fn running(id: u16) -> Moment {
        pod(id, &json!({}), "Running")
    }

    const SERVING: (u16, &str, &str) = (0, "Serving", "Created");
    const DRAINING: (u16, &str, &str) = (1, "Draining", "Created");

    #[test]
    fn a_pod_comes_after_its_topic() {
        let early = [Breach::PodBeforeTopic("chat-gateway-1".to_owned())];
        assert_eq!(breaches(&[cluster(&[SERVING]), running(0), running(0)]), []);
        assert_eq!(breaches(&[cluster(&[SERVING]), running(1)]), early);
        assert_eq!(breaches(&[cluster(&[SERVING, (1, "Provisioning", "Creating")]), running(1)]), early);
    }

    #[test]
    fn a_pod_is_left_out_that_drains_and_no_other() {
        let undrained = Breach::LeftOutUndrained("chat-gateway-1".to_owned());
        assert_eq!(breaches(&[cluster(&[SERVING, DRAINING]), set(2, "a"), set(1, "a")]), []);
        assert_eq!(breaches(&[cluster(&[SERVING, (1, "Serving", "Created")]), set(2, "a"), set(1, "a")]), [undrained]);
    }

    #[test]
    fn whose_resource_is_deleted_is_not_drained() {
        let mut deleted = cluster(&[SERVING]);
        let Object::Cluster(it) = &mut deleted.object else { unreachable!() };
        it.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(breaches(&[deleted, set(1, "a"), set(0, "a")]), []);
    }

    #[test]
    fn the_template_changes_alone() {
        let together = Breach::TemplateWithReplicas("chat-gateway".to_owned());
        assert_eq!(breaches(&[cluster(&[]), set(1, "a"), set(1, "b"), set(2, "b")]), []);
        assert_eq!(breaches(&[cluster(&[]), set(1, "a"), set(2, "b")]), [together]);
    }

    #[test]
    fn the_template_waits_for_who_drains_and_for_who_goes_unless_it_cannot_run() {
        let begun = [cluster(&[SERVING, DRAINING]), set(2, "a"), running(0)];
        let with = |moment: Moment| breaches(&[&begun[..], &[moment, set(2, "b")]].concat());
        assert_eq!(with(running(1)), [Breach::TemplateWhileDraining("chat-gateway-1".to_owned())]);
        assert_eq!(with(pod(1, &json!({}), "Pending")), []);
        let going = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        assert_eq!(with(pod(0, &going, "Running")), [Breach::TemplateWhileTerminating("chat-gateway-0".to_owned())]);
        assert_eq!(with(pod(0, &going, "Pending")), []);
        let mut gone = pod(0, &going, "Running");
        gone.gone = true;
        assert_eq!(with(gone), []);
    }
}
