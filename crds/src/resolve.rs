//! What a resource means where it is silent. Pure: the same resource gives the same answer, everywhere.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::gateways::Resources;
use crate::kafka::{RETENTION_MS, Topics};
use crate::{ImCluster, ServerId};

impl ImCluster {
    /// Its namespace, and its name. One that has never been in a cluster counts as in the namespace `default`.
    fn place(&self) -> (&str, &str) {
        let metadata = &self.metadata;
        (metadata.namespace.as_deref().unwrap_or("default"), metadata.name.as_deref().unwrap_or_default())
    }

    /// What the names of its topics begin with: the spec's, or `<namespace>.<name>.`.
    pub fn topic_prefix(&self) -> String {
        let (namespace, name) = self.place();
        self.spec.kafka.topics.prefix.clone().unwrap_or_else(|| format!("{namespace}.{name}."))
    }

    /// The topic of a server id: prefix and number.
    pub fn topic_name(&self, id: ServerId) -> String {
        format!("{}{id}", self.topic_prefix())
    }

    /// What keys in Redis begin with: the setting's, or `im:<namespace>.<name>:`, so that installations can share a Redis.
    pub fn redis_prefix(&self) -> String {
        let (namespace, name) = self.place();
        self.spec.config.redis_prefix.clone().unwrap_or_else(|| format!("im:{namespace}.{name}:"))
    }

    /// The brokers to begin with, each a host and port that the operator and the pods reach by the same name: a host without
    /// a dot is a Service in the namespace of the resource.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        let (namespace, _) = self.place();
        let whole = |server: &str| match server.rsplit_once(':') {
            Some((host, port)) if !host.contains(['.', '[']) => format!("{host}.{namespace}.svc:{port}"),
            _ => server.to_owned(),
        };
        self.spec.kafka.bootstrap_servers.split(',').map(whole).collect()
    }
}

impl Topics {
    /// The settings that its topics must have.
    pub fn resolved_config(&self) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        config.entry("retention.ms".to_owned()).or_insert_with(|| RETENTION_MS.to_owned());
        config
    }
}

impl Resources {
    /// The requests, with defaults for what has neither a request nor a limit: of a limit alone Kubernetes makes the request.
    pub fn resolved_requests(&self) -> BTreeMap<String, Quantity> {
        let mut requests = self.requests.clone();
        for (resource, default) in [("cpu", "250m"), ("memory", "512Mi")] {
            if !self.limits.contains_key(resource) {
                requests.entry(resource.to_owned()).or_insert_with(|| Quantity(default.to_owned()));
            }
        }
        requests
    }
}
