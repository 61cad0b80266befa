//! The `ImCluster` resource: what a person writes into one, what the operator answers in its status, and the
//! `CustomResourceDefinition` with its rules, which is made from these types.
//!
//! Nothing here talks to a cluster. What a field means stands in its doc comment, which is what `kubectl explain` shows.

#![allow(clippy::doc_markdown, reason = "fields are read as plain text, by `kubectl explain`")]
#![allow(unreachable_pub, reason = "the derived schema of a type is a public twin of it, in its module")]

pub mod conditions;
pub mod names;
pub mod settings;

mod access;
mod gateways;
mod kafka;
mod manifest;
mod resolve;
mod schema;
mod spec;
mod status;

pub use access::{Auth, Ingress, JwtKeys, NetworkPolicy, SecretName, UrlSecretKey, UrlSource};
pub use gateways::{
    Drain, ExternalTrafficPolicy, Gateways, MAX_DRAIN_SECONDS, MAX_REPLICAS, PodMetadata, PodTemplate, Resources,
    Service, ServiceType,
};
pub use kafka::{
    CERTIFICATE_KEYS, CaSecretKey, Kafka, LoginSecret, RETENTION_MS, Sasl, SaslMechanism, Tls, TopicPolicy, Topics,
};
pub use manifest::manifest;
pub use settings::Settings;
pub use spec::{ImCluster, ImClusterSpec, UpdatePolicy};
pub use status::{ImClusterStatus, ServerId, ServerPhase, ServerStatus, TopicOrigin, TopicStatus};
