//! What leads into and out of an installation: Secrets, tokens, the Ingress, the network.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Secret, in the namespace of the resource.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretName {
    /// Name of the Secret, in this namespace.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub name: String,
}

/// A service that is reached by a URL.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UrlSource {
    /// Where its URL is, which has the password in it. The forms are those of im-server, see docs/configuration.md.
    pub url_secret_ref: UrlSecretKey,
}

/// A key of a Secret with a URL.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct UrlSecretKey {
    /// Name of the Secret, in this namespace.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub name: String,

    /// Key in the Secret.
    #[serde(default = "url_key")]
    #[schemars(schema_with = "crate::schema::secret_key")]
    pub key: String,
}

fn url_key() -> String {
    "url".to_owned()
}

/// How the tokens of clients are verified: one of the two.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.jwt) != has(self.jwksUrl)")
        .message("exactly one of jwt and jwksUrl must be set: jwt for tokens of ImCluster's own, jwksUrl for those of an identity provider")
)]
pub struct Auth {
    /// Tokens of ImCluster's own, signed with a key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtKeys>,

    /// Where an identity provider publishes its keys, by HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\s/?#@]+([/?]\S*)?$"))]
    pub jwks_url: Option<String>,
}

/// Keys that sign and verify.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JwtKeys {
    /// Secret with the keys, each at least 32 characters. The name of a key is the `kid` of the tokens that it signs. Every
    /// key verifies, so that keys can be exchanged: add one, sign with it, and remove the old one when its tokens have
    /// expired. Gateways read changes without a restart.
    pub keys_secret_ref: SecretName,

    /// The key that signs.
    #[schemars(schema_with = "crate::schema::secret_key")]
    pub signing_key: String,
}

/// An Ingress for HTTP and WebSocket.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tlsSecretName) || has(self.host)")
        .message("tlsSecretName needs host: the certificate is for a name")
)]
pub struct Ingress {
    /// Class of the Ingress. Without it the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::object_name")]
    pub class_name: Option<String>,

    /// Name that clients use, as `chat.example.com`, or `*.example.com`. Without it every name that nothing else claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub host: Option<String>,

    /// Secret with the certificate of `host`. Without it the Ingress speaks plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::object_name")]
    pub tls_secret_name: Option<String>,

    /// Annotations of the Ingress, for instance those of its controller or of cert-manager.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts::<64, 65536>")]
    pub annotations: BTreeMap<String, String>,
}

/// Who may reach the pods. It is about what comes in, never about what goes out.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Make a NetworkPolicy: everybody may reach the ports of clients; the operator, and who is named below, the management
    /// port.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Who else may reach the management port, for its metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::peers")]
    #[x_kube(
        validation = Rule::new("self.all(peer, has(peer.ipBlock) != (has(peer.podSelector) || has(peer.namespaceSelector)))")
            .message("each entry of metricsFrom must have either an ipBlock, or a podSelector, a namespaceSelector or both")
    )]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

fn yes() -> bool {
    true
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: yes(), metrics_from: Vec::new() }
    }
}
