//! Names of what belongs to an `ImCluster`: objects, labels, annotations, ports.
//!
//! Objects of one kind have names that end differently where there are several, so that whatever two `ImCluster`s in a
//! namespace are called, they never mean the same object.

use std::collections::BTreeMap;

use imcluster_crds::names::LABELS;

/// Who manages the objects: the value of `app.kubernetes.io/managed-by`, and the `app.kubernetes.io/name` of the operator's
/// own pods, by which a `NetworkPolicy` lets them in.
pub const OPERATOR: &str = "imcluster-operator";

/// What `app.kubernetes.io/name` says of gateways.
pub const APPLICATION: &str = "imcluster";

/// What `app.kubernetes.io/component` says of gateways.
pub const GATEWAY: &str = "gateway";

/// Annotation of all that the operator makes: hash of what was applied last. A process that begins sees by it what it need not
/// apply again.
pub const APPLIED_HASH: &str = "imcluster.dev/applied-hash";

/// Annotation of a `StatefulSet`: the pod template that was applied last, as JSON.
pub const TEMPLATE: &str = "imcluster.dev/template";

/// Annotation of a `StatefulSet`: the version of the template that `imcluster.dev/template` holds.
pub const TEMPLATE_VERSION: &str = "imcluster.dev/template-version";

/// Annotation of pods: hash of the settings that im-server reads at its start.
pub const CONFIG_HASH: &str = "imcluster.dev/config-hash";

/// Annotation of pods: hash of the content of the Secrets that im-server reads at its start.
pub const SECRETS_HASH: &str = "imcluster.dev/secrets-hash";

/// Label that a `StatefulSet` puts on each pod: its number.
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Key of the management token in its Secret.
pub const TOKEN_KEY: &str = "token";

/// Port of HTTP and WebSocket, of pods and of the Service.
pub const HTTP_PORT: u16 = 8080;

/// Port of the TCP framing, of pods and of the Service.
pub const TCP_PORT: u16 = 8090;

/// Port of probes, metrics, status and drain, of pods.
pub const MANAGEMENT_PORT: u16 = 9090;

/// The `StatefulSet`, and with it the pods (`<name>-gateway-3`), the Service for clients, the `ServiceAccount`, the
/// `ConfigMap`, the `PodDisruptionBudget`, the `NetworkPolicy` and the Ingress. At most 48 characters, so that the
/// `StatefulSet` can label its pods with a revision named after it.
pub fn gateway(cluster: &str) -> String {
    format!("{cluster}-gateway")
}

/// The headless Service that gives each pod a name in the DNS.
pub fn pods(cluster: &str) -> String {
    format!("{cluster}-pods")
}

/// The Secret with the management token.
pub fn management(cluster: &str) -> String {
    format!("{cluster}-management")
}

/// Labels that select the gateway pods of an `ImCluster`. They can never change: a `StatefulSet` keeps its selector.
pub fn selector(cluster: &str) -> BTreeMap<String, String> {
    let [name, instance, component, _] = LABELS;
    [(name, APPLICATION), (instance, cluster), (component, GATEWAY)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// The selector of the gateway pods as text, as `status.selector` has it.
pub fn selector_text(cluster: &str) -> String {
    selector(cluster).iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}

/// Selects all that the operator made, as text.
pub fn managed() -> String {
    format!("{}={OPERATOR}", LABELS[3])
}

/// Labels on all that the operator makes.
pub fn labels(cluster: &str) -> BTreeMap<String, String> {
    let mut labels = selector(cluster);
    labels.insert(LABELS[3].to_owned(), OPERATOR.to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use imcluster_crds::MAX_REPLICAS;

    use super::*;

    #[test]
    fn the_longest_name_of_an_imcluster_leaves_room_for_all_that_is_named_after_it() {
        let longest = "a".repeat(40);
        let pod = format!("{}-{}", gateway(&longest), MAX_REPLICAS - 1);
        let revision = format!("{}-{}", gateway(&longest), "0".repeat(10));
        for name in [pod, revision, pods(&longest), management(&longest)] {
            assert!(name.len() <= 63, "{name}");
        }
    }

    #[test]
    fn no_two_imclusters_name_the_same_service() {
        for one in ["chat", "chat-gateway", "chat-pods", "chat-pods-gateway", "chat-gateway-pods"] {
            for other in ["chat", "chat-gateway", "chat-pods", "chat-pods-gateway", "chat-gateway-pods"] {
                assert_ne!(gateway(one), pods(other));
            }
        }
    }

    #[test]
    fn the_selector_is_the_part_of_the_labels_that_tells_gateways_of_one_imcluster_from_all_others() {
        assert_eq!(
            selector_text("chat"),
            "app.kubernetes.io/component=gateway,app.kubernetes.io/instance=chat,app.kubernetes.io/name=imcluster"
        );
        assert!(selector("chat").iter().all(|entry| labels("chat").get(entry.0) == Some(entry.1)));
        assert!(LABELS.iter().all(|label| labels("chat").contains_key(*label)));
    }
}
