//! The gateways: how many, how large, and how clients reach them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::names;

/// Gateways of one installation at most. Each has a topic, and each keeps a connection to every broker.
pub const MAX_REPLICAS: u16 = 500;

/// Seconds that a drain may take at most. The grace period of pods is fixed above it, so that another deadline rolls nothing.
pub const MAX_DRAIN_SECONDS: u32 = 3_600;

/// The gateways: how many, how large, and how clients reach them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateways {
    /// How many there should be. Each has the number of its pod as its server id, and a topic. `kubectl scale` and
    /// autoscalers set it by the scale subresource; leave it out of what you apply beside an autoscaler.
    #[schemars(range(min = 0, max = MAX_REPLICAS))]
    pub replicas: u16,

    /// Connections that one gateway takes; more are sent to another.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,

    /// How clients are moved to other gateways before a gateway stops.
    pub drain: Drain,

    /// What a gateway's container requests, and may take.
    pub resources: Resources,

    /// Merged into the pod template of the gateways, last, by the rules of a strategic merge patch: for affinity,
    /// tolerations, environment variables from Secrets, sidecars. The container of the gateway is called `im-server`. Names,
    /// the selector, the server id and the management port cannot be changed.
    pub pod_template: PodTemplate,

    /// The Service that clients reach, directly by TCP or through an Ingress by HTTP and WebSocket.
    pub service: Service,
}

impl Default for Gateways {
    fn default() -> Self {
        Self {
            replicas: 3,
            max_connections: 20_000,
            drain: Drain::default(),
            resources: Resources::default(),
            pod_template: PodTemplate::default(),
            service: Service::default(),
        }
    }
}

/// How clients are moved to other gateways before a gateway stops.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// Seconds until every client has been sent away. Times `connectionsPerSecond` it is at least `maxConnections`.
    #[schemars(range(min = 1, max = MAX_DRAIN_SECONDS))]
    pub deadline_seconds: u32,

    /// Clients that are sent away per second. The other gateways have to take them as fast.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections_per_second: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline_seconds: 300, connections_per_second: 200 }
    }
}

/// What a container requests, and may take.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = request_within_limit("cpu"),
    validation = request_within_limit("memory")
)]
pub struct Resources {
    /// What is set aside for the container. Where neither a request nor a limit is set: 250m of cpu, and 512Mi of memory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,

    /// What the container may take. A limit of memory ends a gateway that goes above it, with all its connections.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Pods with a request above the limit are refused one by one, long after the resource was accepted.
fn request_within_limit(resource: &str) -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!has(self.requests) || !has(self.limits) || !('{resource}' in self.requests) || !('{resource}' in self.limits) || \
         quantity(string(self.requests['{resource}'])).compareTo(quantity(string(self.limits['{resource}']))) <= 0"
    ))
    .message(kube::core::Message::Message(format!(
        "requests.{resource} must not be above limits.{resource}: lower the request or raise the limit"
    )))
}

/// What is merged into the pod template.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(default, skip_serializing_if = "PodMetadata::is_empty")]
    pub metadata: PodMetadata,

    /// The spec of the pods, as in any pod template. A field that no pod has, or of another type, makes the resource
    /// `Accepted=False`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "crate::schema::anything")]
    pub spec: Map<String, Value>,
}

/// Labels and annotations of pods.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// More labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts::<32, 63>")]
    #[x_kube(validation = names::labels_are_not_ours())]
    pub labels: BTreeMap<String, String>,

    /// More annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts::<64, 65536>")]
    #[x_kube(validation = names::annotations_are_not_ours())]
    pub annotations: BTreeMap<String, String>,
}

impl PodMetadata {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// The Service that clients reach.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.loadBalancerClass) || self.type == 'LoadBalancer'")
        .message("loadBalancerClass is for type LoadBalancer: set the type, or leave the class out"),
    validation = Rule::new("!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'")
        .message("externalTrafficPolicy is for the types NodePort and LoadBalancer: set the type, or leave the policy out"),
    validation = Rule::new("self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))")
        .message("loadBalancerClass cannot change while the type is LoadBalancer: set another type first, then the type and the class together")
)]
pub struct Service {
    /// How far it reaches.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,

    /// Annotations of the Service, for instance those of a cloud's load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts::<64, 65536>")]
    pub annotations: BTreeMap<String, String>,

    /// Which load balancer makes it, of type LoadBalancer. It cannot change while the type is LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,

    /// Whether connections from outside may take the way over another node, of type NodePort or LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
}

/// How far a Service reaches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Inside the cluster; an Ingress reaches it.
    #[default]
    ClusterIP,
    /// A port of every node.
    NodePort,
    /// A load balancer of the cloud.
    LoadBalancer,
}

/// Which nodes take connections from outside.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalTrafficPolicy {
    /// Every node; the pods see the node's address instead of the client's.
    Cluster,
    /// Nodes with a gateway on them; the pods see the client's address.
    Local,
}
