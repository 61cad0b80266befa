//! The pod template of gateways.
//!
//! It is versioned, so that a newer operator can make another one without rolling what runs: see [`TemplateVersion`].

use std::collections::BTreeMap;

use imcluster_crds::ImCluster;
use imcluster_crds::MAX_DRAIN_SECONDS;
use imcluster_crds::names::{CONTAINER, RESTARTED_AT};
use serde_json::{Map, Value, json};

use super::config;
use super::merge::merge;
use crate::cluster::names::{
    CONFIG_HASH, HTTP_PORT, MANAGEMENT_PORT, POD_INDEX, SECRETS_HASH, TCP_PORT, TOKEN_KEY, gateway, labels, management,
    selector,
};
use crate::cluster::validate::Layout;

/// A version of the template. What a version makes of a resource never changes: for anything else there is a new version, and
/// the old one stays here for those that run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemplateVersion {
    /// The first.
    V1,
}

impl TemplateVersion {
    /// What this operator makes of a new `ImCluster`.
    pub const LATEST: Self = Self::V1;

    /// As it stands in the annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1",
        }
    }

    /// Of an annotation; `None`: a version of a newer operator.
    pub fn of(text: &str) -> Option<Self> {
        (text == Self::V1.as_str()).then_some(Self::V1)
    }
}

/// Below this the operator mounts what gateways read.
pub(crate) const FOLDER: &str = "/etc/im-server";
const CONFIG_FOLDER: &str = "/etc/im-server/config";
const SECRETS_FOLDER: &str = "/etc/im-server/secrets";
/// Where the keys of tokens are: the whole Secret, which gateways read again when it changes.
pub(super) const KEYS_FOLDER: &str = "/etc/im-server/keys";

const CONFIG: &str = "im-server-config";
const SECRETS: &str = "im-server-secrets";
const KEYS: &str = "im-server-keys";
/// Names of the volumes.
pub(crate) const VOLUMES: [&str; 3] = [CONFIG, SECRETS, KEYS];

/// Seconds between two looks of the kubelet whether a gateway is ready. Gateways know it: one that drains goes on taking
/// connections until it has been seen.
pub(super) const PROBE_SECONDS: u32 = 5;

/// A probe without an answer after so many seconds has failed: an answer takes microseconds, and a node under load some more.
const PROBE_TIMEOUT_SECONDS: u32 = 2;

/// Seconds that a pod may take to end: the longest drain, 15 s that im-server adds, and as much again for the kubelet. It does
/// not follow the deadline in the spec, so that another deadline rolls nothing.
const GRACE_SECONDS: u32 = MAX_DRAIN_SECONDS + 30;

/// An account of no one, as images without a distribution have it.
const NOBODY: u32 = 65_532;

/// Secrets as files, below one folder.
#[derive(Clone, Copy, Debug)]
pub(super) enum SecretFile {
    ManagementToken,
    Database,
    Redis,
    KafkaCa,
    KafkaCertificate,
    KafkaKey,
    KafkaPassword,
}

impl SecretFile {
    const fn name(self) -> &'static str {
        match self {
            Self::ManagementToken => "management-token",
            Self::Database => "database-url",
            Self::Redis => "redis-url",
            Self::KafkaCa => "kafka-ca.crt",
            Self::KafkaCertificate => "kafka.crt",
            Self::KafkaKey => "kafka.key",
            Self::KafkaPassword => "kafka-password",
        }
    }

    pub(super) fn path(self) -> String {
        format!("{SECRETS_FOLDER}/{}", self.name())
    }

    /// A key of a Secret as this file.
    fn of(self, secret: &str, key: &str) -> Value {
        json!({ "secret": { "name": secret, "items": [{ "key": key, "path": self.name() }] } })
    }
}

/// What a template has beside the spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    /// The image.
    pub(crate) image: &'a str,
    /// Hash of what the Secrets hold.
    pub(crate) secrets_hash: &'a str,
    /// When somebody asked for a restart last.
    pub(crate) restarted_at: Option<&'a str>,
}

/// The pod template, version 1, with the spec's own merged into it. It has no content of a Secret.
pub(crate) fn pod_template(cluster: &ImCluster, layout: &Layout, stamp: &Stamp<'_>) -> Value {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let own = &cluster.spec.gateways.pod_template;

    let mut all_labels = own.metadata.labels.clone();
    all_labels.extend(labels(name));

    let config_hash = config::hash(&config::settings(cluster, layout));
    let mut annotations =
        BTreeMap::from([("kubectl.kubernetes.io/default-container".to_owned(), CONTAINER.to_owned())]);
    annotations.extend(own.metadata.annotations.clone());
    annotations.insert(CONFIG_HASH.to_owned(), config_hash);
    annotations.insert(SECRETS_HASH.to_owned(), stamp.secrets_hash.to_owned());
    annotations.extend(stamp.restarted_at.map(|at| (RESTARTED_AT.to_owned(), at.to_owned())));

    let spread = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(|key| {
        json!({
            "labelSelector": { "matchLabels": selector(name) },
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
        })
    });
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "containers": [container(cluster, layout, stamp.image)],
        // Variables named after every Service of the namespace could be read as settings.
        "enableServiceLinks": false,
        "securityContext": {
            "fsGroup": NOBODY,
            "runAsGroup": NOBODY,
            "runAsNonRoot": true,
            "runAsUser": NOBODY,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "serviceAccountName": gateway(name),
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "topologySpreadConstraints": spread,
        "volumes": volumes(cluster, layout),
    });
    merge(&mut spec, &Value::Object(own.spec.clone()));
    json!({ "metadata": { "annotations": annotations, "labels": all_labels }, "spec": spec })
}

/// The image of the gateway in a template.
pub(super) fn image(template: &Value) -> Option<&str> {
    let containers = template["spec"]["containers"].as_array()?;
    containers.iter().find(|container| container["name"] == CONTAINER)?["image"].as_str()
}

fn container(cluster: &ImCluster, layout: &Layout, image: &str) -> Value {
    let resources = &cluster.spec.gateways.resources;
    let port = |name: &str, number: u16| json!({ "containerPort": number, "name": name, "protocol": "TCP" });
    let mut mounts = vec![mount(CONFIG, CONFIG_FOLDER), mount(SECRETS, SECRETS_FOLDER)];
    if cluster.spec.auth.jwt.is_some() {
        mounts.push(mount(KEYS, KEYS_FOLDER));
    }
    let mut requirements = Map::from_iter([("requests".to_owned(), json!(resources.resolved_requests()))]);
    if !resources.limits.is_empty() {
        requirements.insert("limits".to_owned(), json!(resources.limits));
    }
    json!({
        "args": ["serve", "--config", format!("{CONFIG_FOLDER}/{}", config::FILE)],
        "env": environment(cluster, layout),
        "image": image,
        // A minute without an answer: an outage of what a gateway depends on never ends it.
        "livenessProbe": probe("/livez", 10, 6),
        "name": CONTAINER,
        "ports": [port("http", HTTP_PORT), port("tcp", TCP_PORT), port("management", MANAGEMENT_PORT)],
        "readinessProbe": probe("/readyz", PROBE_SECONDS, 2),
        "resources": requirements,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        // The management port is there before anything that a start can wait for.
        "startupProbe": probe("/livez", 2, 30),
        // Why a gateway does not start, it says on its last lines.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    })
}

fn mount(volume: &str, path: &str) -> Value {
    json!({ "mountPath": path, "name": volume, "readOnly": true })
}

fn probe(path: &str, period_seconds: u32, failures: u32) -> Value {
    json!({
        "failureThreshold": failures,
        "httpGet": { "path": path, "port": "management" },
        "periodSeconds": period_seconds,
        "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
    })
}

fn environment(cluster: &ImCluster, layout: &Layout) -> Vec<Value> {
    let index = format!("metadata.labels['{POD_INDEX}']");
    let mut variables = vec![json!({ "name": "IM_SERVER_ID", "valueFrom": { "fieldRef": { "fieldPath": index } } })];
    // The one thing from a Secret that im-server takes from no file; it is no secret by itself.
    if let Some(sasl) = cluster.spec.kafka.sasl.as_ref().filter(|_| layout.user_has_key) {
        let source = json!({ "key": sasl.secret_ref.username_key, "name": sasl.secret_ref.name });
        variables.push(json!({ "name": "IM_KAFKA_SASL_USER", "valueFrom": { "secretKeyRef": source } }));
    }
    variables
}

fn volumes(cluster: &ImCluster, layout: &Layout) -> Vec<Value> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let spec = &cluster.spec;
    let redis = &spec.redis.url_secret_ref;
    let database = &spec.database.url_secret_ref;
    let mut sources = vec![
        SecretFile::ManagementToken.of(&management(name), TOKEN_KEY),
        SecretFile::Database.of(&database.name, &database.key),
        SecretFile::Redis.of(&redis.name, &redis.key),
    ];
    let tls = spec.kafka.tls.as_ref();
    if let Some(ca) = tls.and_then(|tls| tls.ca_secret_ref.as_ref()) {
        sources.push(SecretFile::KafkaCa.of(&ca.name, &ca.key));
    }
    if let Some(secret) = tls.and_then(|tls| tls.certificate_secret_ref.as_ref())
        && let Some((certificate, key)) = layout.certificate
    {
        sources.push(SecretFile::KafkaCertificate.of(&secret.name, certificate));
        sources.push(SecretFile::KafkaKey.of(&secret.name, key));
    }
    if let Some(sasl) = &spec.kafka.sasl {
        sources.push(SecretFile::KafkaPassword.of(&sasl.secret_ref.name, &sasl.secret_ref.password_key));
    }
    // Octal: for the group of the pod to read, and for nobody else.
    let mode = 0o440;
    let mut volumes = vec![
        json!({ "configMap": { "name": gateway(name) }, "name": CONFIG }),
        json!({ "name": SECRETS, "projected": { "defaultMode": mode, "sources": sources } }),
    ];
    if let Some(jwt) = &spec.auth.jwt {
        let secret = json!({ "defaultMode": mode, "secretName": jwt.keys_secret_ref.name });
        volumes.push(json!({ "name": KEYS, "secret": secret }));
    }
    volumes
}
