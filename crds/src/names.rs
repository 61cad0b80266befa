//! Names that people meet: labels, annotations, the container.

use std::fmt::Write;

use kube::core::{Message, Reason, Rule};

/// What labels, annotations and finalizers of ImCluster begin with.
pub const DOMAIN: &str = "imcluster.dev/";

/// Annotation on an ImCluster: another value (by custom the time) rolls the gateways, as `kubectl rollout restart` does.
pub const RESTARTED_AT: &str = "imcluster.dev/restartedAt";

/// The container of a gateway: what `gateways.podTemplate` changes, it names so.
pub const CONTAINER: &str = "im-server";

/// Labels on all that the operator makes; selectors use them, so nobody else may set them on pods.
pub const LABELS: [&str; 4] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
];

/// Labels of `gateways.podTemplate` leave those alone that selectors use.
pub(crate) fn labels_are_not_ours() -> Rule {
    let mut rule = format!("self.all(name, !name.startsWith('{DOMAIN}'))");
    for label in LABELS {
        write!(rule, " && !('{label}' in self)").expect("a string takes everything");
    }
    let ours = LABELS.join(", ");
    Rule::new(rule)
        .message(Message::Message(format!("the operator sets {ours} and all of {DOMAIN} itself: choose other labels")))
        .reason(Reason::FieldValueForbidden)
}

/// Annotations of `gateways.podTemplate` leave those alone that the operator keeps its hashes in.
pub(crate) fn annotations_are_not_ours() -> Rule {
    Rule::new(format!("self.all(name, !name.startsWith('{DOMAIN}'))"))
        .message(Message::Message(format!("the operator sets all of {DOMAIN} itself: choose other annotations")))
        .reason(Reason::FieldValueForbidden)
}
