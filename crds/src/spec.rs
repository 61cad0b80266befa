//! The resource and its top level.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Auth, Ingress, NetworkPolicy, UrlSource};
use crate::gateways::Gateways;
use crate::kafka::Kafka;
use crate::settings::{self, Settings};
use crate::status::ImClusterStatus;

/// What the installation should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "imcluster.dev",
    version = "v1alpha1",
    kind = "ImCluster",
    plural = "imclusters",
    shortname = "imc",
    namespaced,
    status = "ImClusterStatus",
    derive = "PartialEq",
    doc = "An installation of ImCluster: gateways that hold the connections of clients, each with a stable server id, and one Kafka topic per server id.",
    scale(
        spec_replicas_path = ".spec.gateways.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.gateways.replicas",
        description = "Gateways that should be there."
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Gateways that take connections."
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.connections",
        description = "Connections of clients, about."
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Reason of the condition Ready."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        description = "Image of the gateways.",
        priority = 1
    ),
    printcolumn(
        name = "Topics",
        type_ = "string",
        json_path = ".status.topicPrefix",
        description = "What the names of the topics begin with.",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters: lower-case letters, digits and dashes, beginning with a letter and ending with a letter or digit, because Services and pods are named after it")
        .reason(Reason::FieldValueInvalid)
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::kubernetes)]
pub struct ImClusterSpec {
    /// Image of im-server. Without it: the image that runs already, else that of the operator's release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^\S+$"))]
    pub image: Option<String>,

    /// When gateways move to the image and the pod template of a newer operator. It does not matter while an image is set.
    #[serde(default)]
    pub update_policy: UpdatePolicy,

    /// The gateways: how many, how large, and how clients reach them.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.drain.connectionsPerSecond * self.drain.deadlineSeconds >= self.maxConnections")
            .message("drain.connectionsPerSecond times drain.deadlineSeconds must be at least maxConnections, or a full gateway is stopped with clients on it: raise the rate or the deadline, or lower maxConnections")
    )]
    pub gateways: Gateways,

    /// Kafka, which carries messages between gateways.
    pub kafka: Kafka,

    /// Redis, which knows where connections are: single, Sentinel or Cluster.
    pub redis: UrlSource,

    /// PostgreSQL, which keeps everything.
    pub database: UrlSource,

    /// How the tokens of clients are verified.
    pub auth: Auth,

    /// An Ingress for HTTP and WebSocket. Without it there is none. TCP is reached by the Service of the gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,

    /// Who may reach the pods.
    #[serde(default)]
    pub network_policy: NetworkPolicy,

    /// Settings of im-server. What is left out has the default of im-server, see docs/configuration.md.
    #[serde(default)]
    pub config: Settings,

    /// Settings of im-server that `config` does not know, for instance those of a newer image: the name as it stands in its
    /// configuration file, and the value as text. No secrets: set those in `gateways.podTemplate` as environment variables
    /// from a Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts::<64, 4096>")]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[a-z0-9]+(-[a-z0-9]+)*$'))")
            .message("names of settings are lower-case words with dashes, as in im-server's configuration file: some-setting"),
        validation = settings::operators_own(),
        validation = settings::secrets(),
        validation = settings::typed()
    )]
    pub extra_config: BTreeMap<String, String>,

    /// The operator leaves everything as it is until this is false again. Deleting the resource works all the same.
    #[serde(default)]
    pub paused: bool,
}

/// When gateways follow the operator's release.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// With the next roll that somebody caused: a change in the spec, or the annotation `imcluster.dev/restartedAt`. The
    /// condition UpdateAvailable tells that there is something newer.
    #[default]
    Manual,
    /// As soon as a newer operator runs: it rolls the gateways, one at a time.
    WithOperator,
}
