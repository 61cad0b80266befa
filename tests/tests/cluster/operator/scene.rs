//! An `ImCluster` called chat with its operator, and all that becomes of it.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase};
use imcluster_tests::gateway::Handle;
use imcluster_tests::operator::timeline::{Course, Timeline};
use imcluster_tests::operator::{Operator, Tenant, World};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{change, ids, until_gone};

/// Longest wait for what no watch tells of.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// The whole. The operator ends before the namespace does.
pub(super) struct Scene {
    pub(super) operator: Operator,
    pub(super) timeline: Timeline,
    pub(super) tenant: Tenant,
    pub(super) world: &'static World,
}

impl Deref for Scene {
    type Target = Tenant;

    fn deref(&self) -> &Tenant {
        &self.tenant
    }
}

impl Scene {
    /// An operator that has nothing to do yet.
    pub(super) async fn empty(test: &str) -> Self {
        Self::with(test, |world, tenant| Operator::start(world, tenant).unwrap()).await
    }

    /// The same with an operator of the test's own.
    pub(super) async fn with(test: &str, operator: impl FnOnce(&World, &Tenant) -> Operator) -> Self {
        let world = World::shared().await;
        let tenant = world.tenant(test).await;
        let timeline = Timeline::of(&tenant).await.unwrap();
        let operator = operator(world, &tenant);
        Self { operator, timeline, tenant, world }
    }

    /// The same place with another operator, which begins when the one before has ended.
    pub(super) async fn followed_by(self, operator: impl FnOnce(&World, &Tenant) -> Operator) -> Self {
        let Self { operator: before, timeline, tenant, world } = self;
        before.stop().await.unwrap();
        let operator = operator(world, &tenant);
        Self { operator, timeline, tenant, world }
    }

    /// One of two gateways, with changes to its manifest, that is Ready.
    pub(super) async fn ready(test: &str, changes: &Value) -> Self {
        let scene = Self::empty(test).await;
        scene.make(changes).await;
        scene
    }

    /// Makes the `ImCluster`, with changes to its manifest, and waits until it is Ready.
    pub(super) async fn make(&self, changes: &Value) {
        self.apply::<ImCluster>(&self.im_cluster("chat", changes)).await.unwrap();
        self.settled().await;
    }

    /// Changes the `ImCluster` by a merge patch.
    pub(super) async fn change(&self, to: &Value) {
        change(&self.tenant, to).await;
    }

    /// Scales it as a person does.
    pub(super) fn scale(&self, replicas: u16) {
        self.kubectl().run(&["scale", "imc/chat", &format!("--replicas={replicas}")]);
    }

    /// Waits until the `ImCluster` is so.
    pub(super) async fn until_it(&self, what: &str, mut holds: impl FnMut(&ImCluster) -> bool) -> ImCluster {
        self.until("chat", what, |it| it.is_some_and(&mut holds)).await.expect("it is there")
    }

    /// Waits until these ids are recorded, in these phases.
    pub(super) async fn until_ids(&self, expected: &[(u16, ServerPhase)]) -> ImCluster {
        self.until_it(&format!("its ids are {expected:?}"), |it| ids(it) == expected).await
    }

    /// Waits until it is Ready and nothing is under way, the newest spec being what it is about.
    pub(super) async fn settled(&self) -> ImCluster {
        self.until_it("it is Ready and nothing is under way", |it| {
            let told = |kind| verdict(it, kind).map(|(status, _)| status);
            observed(it) && told(ConditionType::Ready) == Some("True") && told(ConditionType::Reconciling).is_none()
        })
        .await
    }

    /// Waits until the `StatefulSet` is so.
    pub(super) async fn until_set(&self, what: &str, mut holds: impl FnMut(&StatefulSet) -> bool) -> StatefulSet {
        self.until("chat-gateway", what, |it| it.is_some_and(&mut holds)).await.expect("it is there")
    }

    /// Waits until the `StatefulSet` has so many replicas.
    pub(super) async fn until_replicas(&self, replicas: i32) -> StatefulSet {
        let what = format!("the StatefulSet has {replicas} replicas");
        self.until_set(&what, |set| set.spec.as_ref().is_some_and(|spec| spec.replicas == Some(replicas))).await
    }

    /// The `StatefulSet`.
    pub(super) async fn set(&self) -> StatefulSet {
        self.api().get("chat-gateway").await.unwrap()
    }

    /// The pod of an id.
    pub(super) async fn pod(&self, id: u16) -> Pod {
        self.api().get(&pod(id)).await.unwrap()
    }

    /// The gateway of an id, with so many connections.
    pub(super) async fn held(&self, id: u16, connections: u64) -> Handle {
        let gateway = self.gateway(&pod(id)).await.unwrap();
        gateway.hold(connections).await.unwrap();
        gateway
    }

    /// Keeps the pod of an id from going, or lets it go, by a finalizer.
    pub(super) async fn keep_pod(&self, id: u16, kept: bool) {
        let finalizers = if kept { json!(["example.com/kept"]) } else { Value::Null };
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        self.api::<Pod>().patch(&pod(id), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Tells the `ImCluster` to go.
    pub(super) async fn delete(&self) {
        self.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    }

    /// Waits until it is gone, and with it all that there was: objects, pods, topics.
    pub(super) async fn until_nothing_is_left(&self) {
        until_gone(&self.tenant).await;
        let left = || async {
            let kinds = "all,serviceaccounts,configmaps,secrets,poddisruptionbudgets,networkpolicies,ingresses";
            let labels = "--selector=app.kubernetes.io/managed-by=imcluster-operator";
            let left = self.kubectl().run(&["get", kinds, labels, "--output=name"]);
            left.is_empty()
        };
        self.eventually("nothing is left of it", left).await;
        assert!(self.topics("chat").await.unwrap().is_empty(), "its topics are deleted");
    }

    /// Waits until something holds that no watch tells of.
    pub(super) async fn eventually<F: Future<Output = bool>>(&self, what: &str, mut holds: impl FnMut() -> F) {
        let reached = async {
            while !holds().await {
                tokio::time::sleep(LOOK).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "waited {PATIENCE:?} in vain until {what}\n{}", self.report().await);
    }

    /// Waits until an event of this reason was told.
    pub(super) async fn until_told(&self, reason: &str) {
        let told = || async {
            let events = self.kubectl().get(&["events.events.k8s.io"]);
            let mut events = events["items"].as_array().into_iter().flatten();
            events.any(|event| event["reason"] == reason)
        };
        self.eventually(&format!("an event tells of {reason}"), told).await;
    }

    /// What became of it, in which nothing is that must never be.
    pub(super) async fn course(&self) -> Course {
        let course = self.timeline.so_far().await.unwrap();
        assert_eq!(course.breaches(), [], "{}", self.report().await);
        course
    }
}

/// The name of the pod of an id.
pub(super) fn pod(id: u16) -> String {
    format!("chat-gateway-{id}")
}

/// The status and the reason of a condition.
pub(super) fn verdict(it: &ImCluster, kind: ConditionType) -> Option<(&str, &str)> {
    let mut conditions = it.status.iter().flat_map(|status| &status.conditions);
    let condition = conditions.find(|condition| condition.type_ == kind.as_str())?;
    Some((&condition.status, &condition.reason))
}

/// What the status says is about the newest spec.
pub(super) fn observed(it: &ImCluster) -> bool {
    it.status.as_ref().is_some_and(|status| status.observed_generation == it.metadata.generation)
}

/// The UIDs of the pods.
pub(super) async fn uids(scene: &Scene) -> Vec<Option<String>> {
    scene.pods().await.unwrap().iter().map(ResourceExt::uid).collect()
}

/// Connections of which nobody sees the end at the rate of [`slow_drain`].
pub(super) const MANY: u64 = 300;

/// `gateways` with so many, and a drain of one connection in a second: it ends when a test wants it to.
pub(super) fn slow_drain(replicas: u16) -> Value {
    json!({ "spec": { "gateways": {
        "replicas": replicas, "maxConnections": MANY, "drain": { "deadlineSeconds": 300, "connectionsPerSecond": 1 },
    } } })
}
