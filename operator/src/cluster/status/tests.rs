//! What is said in which situation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imcluster_crds::{TopicOrigin, TopicStatus};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::*;
use crate::cluster::build::Kind;
use crate::cluster::validate::samples::{cluster, merged, secrets, secrets_with};
use crate::cluster::validate::{self, References, Refusal, Secrets};
use crate::cluster::{apply, conflict};
use crate::drain::GatewayPod;
use crate::topics::Trouble;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What there is of three gateways that should be; everybody is well.
struct Scene {
    cluster: ImCluster,
    look: Look,
    servers: Vec<ServerStatus>,
    topics: Option<Report>,
    accepted: Verdict,
    update_available: Option<bool>,
    blocked: Option<Verdict>,
    template_changes: bool,
}

fn serving() -> Scene {
    let topics = (0..3).map(|id| (format!("im.chat.{id}"), Seen::Present { as_wished: true })).collect();
    Scene {
        cluster: cluster(&json!({ "metadata": { "generation": 7 } })),
        look: Look { set: Some(set(3)), pods: pods(3), stuck: None },
        servers: (0..3).map(|id| entry(id, ServerPhase::Serving)).collect(),
        topics: Some(Report { topics, ..Report::default() }),
        accepted: Verdict::yes(Reason::Valid, ""),
        update_available: Some(false),
        blocked: None,
        template_changes: false,
    }
}

fn set(replicas: u16) -> Arc<StatefulSet> {
    set_seen(replicas, 1)
}

/// Its controller has seen this generation, of which there was only one.
fn set_seen(replicas: u16, observed: u16) -> Arc<StatefulSet> {
    let set = json!({
        "metadata": { "name": "chat-gateway", "generation": 1 },
        "spec": { "replicas": replicas, "selector": {}, "template": {} },
        "status": { "observedGeneration": observed, "replicas": replicas, "updateRevision": "r" },
    });
    Arc::new(serde_json::from_value(set).unwrap())
}

fn pods(ready: u16) -> BTreeMap<ServerId, GatewayPod> {
    let pod = |id: u16| GatewayPod {
        uid: format!("uid-{id}"),
        ip: None,
        ready: true,
        deletion_time: None,
        cannot_run: false,
        revision: "r".to_owned(),
    };
    (0..ready).map(|id| (ServerId(id), pod(id))).collect()
}

fn entry(id: u16, phase: ServerPhase) -> ServerStatus {
    let topic = TopicStatus { name: format!("im.chat.{id}"), origin: TopicOrigin::Created };
    ServerStatus { id: ServerId(id), phase, pod_uid: None, drain_start_time: None, topic: Some(topic) }
}

impl Scene {
    fn spec(mut self, patch: &Value) -> Self {
        let before = self.cluster.status.take();
        self.cluster = cluster(&merged(&json!({ "metadata": { "generation": 8 } }), patch));
        self.cluster.status = before;
        self
    }

    fn trouble(mut self, reason: Reason) -> Self {
        let trouble = Trouble { reason, message: "something".to_owned() };
        self.topics.get_or_insert_default().troubles.push(trouble);
        self
    }

    fn topic(mut self, id: u16, seen: Seen) -> Self {
        self.topics.get_or_insert_default().topics.insert(format!("im.chat.{id}"), seen);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn outcome(&self) -> Outcome<'_> {
        Outcome {
            accepted: self.accepted.clone(),
            look: &self.look,
            servers: &self.servers,
            topics: self.topics.as_ref(),
            image: Some("im-server:1".to_owned()),
            update_available: self.update_available,
            blocked: self.blocked.clone(),
            template_changes: self.template_changes,
            connections: Some(5),
        }
    }

    fn status(&self) -> ImClusterStatus {
        of(&self.cluster, &self.outcome(), at(5))
    }

    /// What was said before is what it says now.
    fn said(mut self) -> Self {
        self.cluster.status = Some(self.status());
        self
    }
}

fn condition(status: &ImClusterStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// `Type=Status/Reason`, where the condition is there.
fn says(status: &ImClusterStatus, kind: ConditionType) -> String {
    condition(status, kind).map_or_else(String::new, |it| format!("{}={}/{}", it.type_, it.status, it.reason))
}

/// How validation refuses it, or what it refers to.
fn refusal(patch: &Value, secrets: &Secrets) -> Verdict {
    let refusal: Refusal = match validate::validate(&cluster(patch), secrets) {
        Err(refusal) => refusal,
        Ok(valid) => match valid.references() {
            References::Unresolved(refusal) => refusal.clone(),
            References::Resolved(_) => panic!("{patch} is accepted"),
        },
    };
    Verdict::no(refusal.reason(), refusal.to_string())
}

fn situations() -> Vec<Scene> {
    let restarts = json!({ "spec": { "gateways": { "podTemplate": { "spec": { "restartPolicy": "Never" } } } } });
    let refused = |accepted| serving().with(|it| it.accepted = accepted);
    let not_ours = apply::ApplyError::NotOurs { kind: Kind::Service, name: "chat-gateway".to_owned() };
    let said = json!({ "status": "Failure", "message": "no", "reason": "Invalid", "code": 422 });
    let no = apply::ApplyError::Api {
        kind: Kind::Service,
        name: "chat-gateway".to_owned(),
        source: Box::new(kube::Error::Api(Box::new(serde_json::from_value(said).unwrap()))),
    };
    let blocked = |error: &apply::ApplyError| serving().with(|it| it.blocked = error.verdict());
    vec![
        serving(),
        serving().with(|it| it.topics = None),
        refused(refusal(&restarts, &secrets())),
        refused(refusal(&json!({}), &secrets_with("redis", "url", None))),
        refused(refusal(&json!({}), &secrets_with("redis", "url", Some(b"nonsense")))),
        refused(conflict::refusal(&cluster(&json!({})), &cluster(&json!({ "metadata": { "uid": "old" } })))),
        serving().topic(1, Seen::Absent),
        serving().topic(1, Seen::Absent).spec(&json!({ "spec": { "kafka": { "topics": { "policy": "Unmanaged" } } } })),
        serving().trouble(Reason::NotSupported),
        serving().trouble(Reason::TopicRejected),
        serving().trouble(Reason::KafkaDenied),
        serving().trouble(Reason::KafkaUnavailable),
        serving().spec(&json!({ "spec": { "gateways": { "replicas": 0 } } })).with(|it| it.look.pods.clear()),
        serving().with(|it| drop(it.look.pods.remove(&ServerId(2)))),
        serving().with(|it| it.template_changes = true),
        serving().with(|it| it.servers.push(entry(3, ServerPhase::Draining))),
        serving().with(|it| it.look.stuck = Some("Pod chat-gateway-2: no node takes it".to_owned())),
        serving().with(|it| it.look = Look { set: None, pods: BTreeMap::new(), stuck: None }),
        blocked(&not_ours),
        blocked(&no),
        serving().spec(&json!({ "spec": { "paused": true } })),
        serving().with(|it| it.update_available = Some(true)),
    ]
}

#[test]
fn every_reason_comes_about() {
    let mut statuses: Vec<_> = situations().iter().map(Scene::status).collect();
    statuses.push(deleting(&serving().cluster, &[], at(9)));
    let said: BTreeSet<String> =
        statuses.into_iter().flat_map(|status| status.conditions).map(|condition| condition.reason).collect();
    let known: BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(said, known);
}

#[test]
fn a_status_is_about_the_newest_spec_in_every_condition() {
    for scene in situations() {
        let status = scene.status();
        assert_eq!(status.observed_generation, scene.cluster.metadata.generation);
        assert!(status.conditions.iter().all(|it| it.observed_generation == status.observed_generation));
    }
}

#[test]
fn ready_says_which_condition_keeps_it_from_being_true_and_in_the_same_words() {
    for scene in situations() {
        let status = scene.status();
        let ready = condition(&status, ConditionType::Ready).unwrap();
        let parts = [
            (ConditionType::Accepted, Reason::NotAccepted),
            (ConditionType::TopicsReady, Reason::TopicsNotReady),
            (ConditionType::GatewaysReady, Reason::GatewaysNotReady),
        ];
        let first = parts.into_iter().find(|(kind, _)| condition(&status, *kind).unwrap().status != "True");
        match first {
            None => assert_eq!(says(&status, ConditionType::Ready), "Ready=True/Serving"),
            Some((kind, reason)) => {
                let part = condition(&status, kind).unwrap();
                assert_eq!((&*ready.reason, &ready.message), (reason.as_str(), &part.message));
                assert_eq!(ready.status, part.status);
            }
        }
    }
}

#[test]
fn reconciling_and_stalled_are_there_only_while_they_are_true() {
    for scene in situations() {
        let status = scene.status();
        for kind in [ConditionType::Reconciling, ConditionType::Stalled] {
            assert!(condition(&status, kind).is_none_or(|condition| condition.status == "True"), "{status:?}");
        }
    }
    let well = serving().status();
    assert!(
        condition(&well, ConditionType::Reconciling).is_none() && condition(&well, ConditionType::Stalled).is_none()
    );
}

#[test]
fn who_is_paused_or_refused_is_not_on_the_way() {
    let draining = || serving().with(|it| it.servers.push(entry(3, ServerPhase::Draining)));
    assert_eq!(says(&draining().status(), ConditionType::Reconciling), "Reconciling=True/Draining");
    let paused = draining().spec(&json!({ "spec": { "paused": true } })).status();
    assert_eq!(says(&paused, ConditionType::Reconciling), "");
    let refused = draining().with(|it| it.accepted = Verdict::no(Reason::InvalidSpec, "no")).status();
    assert_eq!(says(&refused, ConditionType::Reconciling), "");
    assert_eq!(says(&refused, ConditionType::Stalled), "Stalled=True/InvalidSpec");
}

#[test]
fn what_is_not_looked_at_while_nothing_is_changed_stays_as_it_was_said() {
    let before = serving().trouble(Reason::KafkaUnavailable).with(|it| it.update_available = Some(true)).said();
    let resting =
        before.with(|it| (it.topics, it.update_available) = (None, None)).spec(&json!({ "spec": { "paused": true } }));
    let status = of(&resting.cluster, &Outcome { image: None, connections: None, ..resting.outcome() }, at(9));
    assert_eq!(says(&status, ConditionType::TopicsReady), "TopicsReady=False/KafkaUnavailable");
    assert_eq!(says(&status, ConditionType::UpdateAvailable), "UpdateAvailable=True/NewerRelease");
    assert_eq!(says(&status, ConditionType::Paused), "Paused=True/PausedInSpec");
    assert_eq!((status.image.as_deref(), status.connections), (Some("im-server:1"), Some(5)));
}

#[test]
fn the_prefix_is_told_once_topics_may_have_it_and_stays() {
    let refused = serving().with(|it| it.accepted = Verdict::no(Reason::ReferenceNotFound, "no"));
    assert_eq!(refused.status().topic_prefix, None);
    let accepted = serving().said();
    assert_eq!(accepted.cluster.status.as_ref().and_then(|it| it.topic_prefix.as_deref()), Some("im.chat."));
    let refused = accepted.with(|it| it.accepted = Verdict::no(Reason::InvalidSpec, "no"));
    assert_eq!(refused.status().topic_prefix.as_deref(), Some("im.chat."));
}

#[test]
fn gateways_that_run_without_what_the_spec_refers_to_are_ready_and_the_whole_is_not() {
    let gone = serving().with(|it| it.accepted = refusal(&json!({}), &secrets_with("redis", "url", None)));
    let status = gone.status();
    assert_eq!(says(&status, ConditionType::GatewaysReady), "GatewaysReady=True/GatewaysInPlace");
    assert_eq!(says(&status, ConditionType::Ready), "Ready=False/NotAccepted");
    assert_eq!(says(&status, ConditionType::Stalled), "Stalled=True/ReferenceNotFound");
}

#[test]
fn a_topic_that_somebody_else_has_to_make_is_named() {
    let unmanaged = json!({ "spec": { "kafka": { "topics": { "policy": "Unmanaged" } } } });
    let status = serving().topic(1, Seen::Absent).topic(2, Seen::Absent).spec(&unmanaged).status();
    let topics = condition(&status, ConditionType::TopicsReady).unwrap();
    assert_eq!(topics.reason, "TopicsMissing");
    assert!(topics.message.contains("im.chat.1") && !topics.message.contains("im.chat.2"), "{}", topics.message);
}

#[test]
fn a_topic_that_nobody_wants_any_more_does_not_count() {
    let status = serving().spec(&json!({ "spec": { "gateways": { "replicas": 2 } } })).topic(2, Seen::Absent).status();
    assert_eq!(says(&status, ConditionType::TopicsReady), "TopicsReady=True/TopicsInPlace");
}

#[test]
fn pods_above_what_is_wanted_count_but_do_not_make_the_others_ready() {
    let two = serving().spec(&json!({ "spec": { "gateways": { "replicas": 2 } } }));
    let status = two.with(|it| drop(it.look.pods.remove(&ServerId(1)))).status();
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
    assert_eq!(says(&status, ConditionType::GatewaysReady), "GatewaysReady=False/Starting");
}

#[test]
fn another_number_of_gateways_is_no_roll_and_those_that_are_missing_count() {
    let grows = serving().with(|it| {
        it.look.set = Some(set_seen(3, 0));
        it.look.pods.remove(&ServerId(2));
    });
    assert_eq!(says(&grows.status(), ConditionType::GatewaysReady), "GatewaysReady=False/Starting");
    let shrank = serving().with(|it| it.look.set = Some(set_seen(3, 0)));
    assert_eq!(says(&shrank.status(), ConditionType::GatewaysReady), "GatewaysReady=True/GatewaysInPlace");
}

#[test]
fn a_roll_that_has_begun_goes_on_while_the_controller_has_not_seen_it() {
    let applied = serving().with(|it| it.template_changes = true).said();
    let unseen = applied.with(|it| (it.template_changes, it.look.set) = (false, Some(set_seen(3, 0))));
    assert_eq!(says(&unseen.status(), ConditionType::GatewaysReady), "GatewaysReady=True/Rolling");
}

#[test]
fn one_that_cannot_be_read_says_so_and_keeps_what_stood_there() {
    let before = serving().said().cluster.status.unwrap();
    let status = refused(&before, &Verdict::no(Reason::InvalidSpec, "spec.gateways: no"), Some(9), at(9));
    assert_eq!(says(&status, ConditionType::Accepted), "Accepted=False/InvalidSpec");
    assert_eq!(says(&status, ConditionType::Ready), "Ready=False/NotAccepted");
    assert_eq!(says(&status, ConditionType::GatewaysReady), "GatewaysReady=True/GatewaysInPlace");
    assert_eq!((status.servers, status.observed_generation), (before.servers, Some(9)));
    let first = refused(&ImClusterStatus::default(), &Verdict::no(Reason::InvalidSpec, "no"), Some(1), at(9));
    assert_eq!(says(&first, ConditionType::TopicsReady), "TopicsReady=Unknown/Pending");
}

#[test]
fn one_that_is_deleted_says_so_and_that_it_is_under_way() {
    let before = serving().trouble(Reason::NotSupported).said().cluster;
    let status = deleting(&before, &[], at(9));
    assert_eq!(says(&status, ConditionType::Ready), "Ready=False/Deleting");
    assert_eq!(says(&status, ConditionType::Reconciling), "Reconciling=True/Deleting");
    assert_eq!(says(&status, ConditionType::TopicsReady), "TopicsReady=False/NotSupported");
    assert!(status.servers.is_empty());
}
