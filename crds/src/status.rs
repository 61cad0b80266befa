//! What the operator answers.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions;
use crate::gateways::MAX_REPLICAS;

/// What there is.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::kubernetes)]
#[schemars(extend("default" = { "conditions": [conditions::not_seen_yet()] }))]
pub struct ImClusterStatus {
    /// The generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Accepted, TopicsReady, GatewaysReady, Ready, Paused and UpdateAvailable; Reconciling and Stalled only while they are
    /// true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema", extend("default" = [conditions::not_seen_yet()]))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Gateway pods, those that drain included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,

    /// Gateway pods that are ready and not about to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,

    /// Label selector of the gateway pods, as text. Autoscalers find them by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Image of the gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// What the names of the topics begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_prefix: Option<String>,

    /// Connections of clients to all gateways, about: written when it moved by more than 5 %, at most every 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub connections: Option<i64>,

    /// Server ids that have a pod or a topic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_REPLICAS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub servers: Vec<ServerStatus>,
}

/// A server id, and how far it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// The server id, which is the number of the pod.
    pub id: ServerId,

    /// How far it is.
    pub phase: ServerPhase,

    /// UID of its pod. A drain belongs to a pod: the next pod of the same id does not inherit it.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,

    /// When its drain began; the deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_start_time: Option<Time>,

    /// Its topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicStatus>,
}

/// A server id: the number of the pod in its `StatefulSet`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(transparent)]
pub struct ServerId(#[schemars(range(min = 0, max = MAX_REPLICAS - 1))] pub u16);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a server id is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerPhase {
    /// Its topic is made, then its pod.
    Provisioning,
    /// It takes clients.
    Serving,
    /// Its clients are moved to other gateways; then its pod goes.
    Draining,
    /// Its pod is gone; its topic goes when nobody can write to it any more.
    Retired,
}

/// A topic, and whose it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// Name in Kafka.
    pub name: String,

    /// Who made it. Only what the operator made does it delete.
    pub origin: TopicOrigin,
}

/// Who made a topic.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicOrigin {
    /// The operator is about to make it, or has, and does not know yet.
    Creating,
    /// The operator.
    Created,
    /// Somebody else: it was there before. It is never deleted.
    Adopted,
}
