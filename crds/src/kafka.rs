//! Kafka, and the topics in it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Key names of a client's certificate and private key in a Secret: cert-manager's, then those of a Strimzi `KafkaUser`.
pub const CERTIFICATE_KEYS: [(&str, &str); 2] = [("tls.crt", "tls.key"), ("user.crt", "user.key")];

/// Milliseconds that topics keep records, if the resource does not say: clients of a server that was away longer pull.
pub const RETENTION_MS: &str = "600000";

/// Kafka, which carries messages between gateways.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Brokers to begin with, HOST:PORT with commas between them. A host without a dot is a Service in this namespace:
    /// `kafka` means `kafka.NAMESPACE.svc`.
    #[schemars(
        length(max = 2048),
        regex(
            pattern = r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(,([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})*$"
        )
    )]
    pub bootstrap_servers: String,

    /// Talk TLS with the brokers. `{}` trusts the authorities that the image trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// Sign in to the brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,

    /// The topics: one per server id, called prefix and number.
    pub topics: Topics,
}

/// Whom to trust, and who we are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Authorities to trust, as PEM. Without it those that the image trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretKey>,

    /// Secret with our certificate and its private key, if the brokers ask for one: `tls.crt` and `tls.key`, as cert-manager
    /// names them, or `user.crt` and `user.key`, as Strimzi does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_ref: Option<crate::access::SecretName>,
}

/// A key of a Secret with authorities to trust.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct CaSecretKey {
    /// Name of the Secret, in this namespace.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub name: String,

    /// Key in the Secret.
    #[serde(default = "ca_key")]
    #[schemars(schema_with = "crate::schema::secret_key")]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

/// How to sign in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sasl {
    /// How the password is proved.
    #[serde(default)]
    pub mechanism: SaslMechanism,

    /// Secret with user and password.
    pub secret_ref: LoginSecret,
}

/// How a password is proved.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SaslMechanism {
    /// Sent as it is: only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A Secret with user and password.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LoginSecret {
    /// Name of the Secret, in this namespace.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub name: String,

    /// Key of the user. A Secret without this key is named after the user, as a Strimzi KafkaUser's is.
    #[serde(default = "username_key")]
    #[schemars(schema_with = "crate::schema::secret_key")]
    pub username_key: String,

    /// Key of the password.
    #[serde(default = "password_key")]
    #[schemars(schema_with = "crate::schema::secret_key")]
    pub password_key: String,
}

fn username_key() -> String {
    "username".to_owned()
}

fn password_key() -> String {
    "password".to_owned()
}

/// The topics: one per server id.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.prefix) == has(oldSelf.prefix) && (!has(self.prefix) || self.prefix == oldSelf.prefix)")
        .message("prefix cannot change, be added or be removed: gateways would lose what is under way in the topics of the old prefix; make a new ImCluster with the new prefix")
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new("!has(self.config) || !('min.insync.replicas' in self.config) || (self.config['min.insync.replicas'].matches('^[0-9]{1,5}$') && int(self.config['min.insync.replicas']) >= 1 && int(self.config['min.insync.replicas']) <= self.replicationFactor)")
        .message("config[min.insync.replicas] must be a number from 1 to replicationFactor: with more, no record could ever be written")
)]
pub struct Topics {
    /// What the names of the topics begin with. Without it: namespace and name of this resource, with a dot behind each. It
    /// cannot change later. Two ImClusters on one Kafka cannot have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub prefix: Option<String>,

    /// Copies of each topic. It counts when a topic is created; for one that exists it can be changed in Kafka only.
    #[serde(default = "replication_factor")]
    #[schemars(range(min = 1, max = 32_767))]
    pub replication_factor: u16,

    /// Settings of the topics, as Kafka names them. They are kept as they stand here; others are left alone.
    /// `retention.ms` is 600000 where it is not set.
    #[serde(default = "topic_config")]
    #[schemars(schema_with = "crate::schema::texts::<32, 1024>")]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[a-z]+(\\\\.[a-z]+)*$'))")
            .message("names of topic settings are lower-case words with dots, as Kafka has them: retention.ms"),
        validation = Rule::new("!('cleanup.policy' in self) || self['cleanup.policy'] == 'delete'")
            .message("cleanup.policy must be delete: compaction drops messages that are under way; leave it out"),
        validation = Rule::new("!('retention.ms' in self) || (self['retention.ms'].matches('^[0-9]{5,15}$') && int(self['retention.ms']) >= 60000)")
            .message("retention.ms must be a number of milliseconds, at least 60000: a gateway that starts again reads what came meanwhile")
    )]
    pub config: BTreeMap<String, String>,

    /// What becomes of the topics of server ids that are gone, and of all when this resource is deleted.
    #[serde(default)]
    pub policy: TopicPolicy,
}

fn replication_factor() -> u16 {
    3
}

fn topic_config() -> BTreeMap<String, String> {
    BTreeMap::from([("retention.ms".to_owned(), RETENTION_MS.to_owned())])
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            prefix: None,
            replication_factor: replication_factor(),
            config: topic_config(),
            policy: TopicPolicy::default(),
        }
    }
}

/// Who makes and removes topics.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicPolicy {
    /// The operator makes topics, and deletes those that it made.
    #[default]
    Delete,
    /// The operator makes topics, and deletes none.
    Retain,
    /// The operator touches no topic: somebody else makes them before the gateways need them.
    Unmanaged,
}
