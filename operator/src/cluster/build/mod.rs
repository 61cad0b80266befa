//! Makes the objects of an `ImCluster`, without asking anybody; it cannot fail.
//!
//! It has two halves, because between them stands the decision what may change now: [`plan`] says what the pods should be, the
//! drain decides whether they may become it already, and [`Plan::objects`] makes all of it.

mod config;
mod live;
pub(crate) mod merge;
mod network;
mod object;
mod plan;
pub(crate) mod template;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

pub use object::{Desired, Kind};
pub use plan::{Inputs, Plan, Release, RollReason, plan};
pub use template::TemplateVersion;

use self::live::Live;
use self::object::Owner;
use self::plan::Template;
use super::names::{self, TEMPLATE, TEMPLATE_VERSION, TOKEN_KEY, selector};
use super::validate::References;

/// Seconds that a gateway is ready before the next one is replaced: its predecessor's clients come back within 3 s and spread
/// over all gateways, and balancers have seen it by then.
const MIN_READY_SECONDS: u32 = 15;

/// What may change now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Gateways that the `StatefulSet` should have.
    pub replicas: u16,
    /// The pod template may change. Where none was applied yet it comes in any case.
    pub change_template: bool,
    /// Gateway pods that there are.
    pub current: u16,
}

impl Plan<'_> {
    /// The objects that should be there, in the order of their kinds. What is not named should not be there.
    pub fn objects(&self, decision: &Decision) -> Vec<Desired> {
        let cluster = self.valid.cluster();
        let spec = &cluster.spec;
        let owner = Owner::of(cluster);
        let gateway = names::gateway(owner.name);
        let held = self.live.as_ref().filter(|_| self.template_changes && !decision.change_template);
        let template = held.map(Live::as_template).or_else(|| self.template.clone());
        // A pod that starts again while a change waits must find the settings that go with its template and its image.
        let settings = match self.valid.references() {
            References::Resolved(resolved) if held.is_none() => Some(config::settings(cluster, &resolved.layout)),
            _ => None,
        };
        let of = |kind, name: &str, object| Desired { kind, name: name.to_owned(), object };
        let made = |kind, object| of(kind, &gateway, Some(object));

        let mut objects = vec![
            made(Kind::ServiceAccount, service_account(&owner)),
            of(Kind::ConfigMap, &gateway, settings.map(|settings| config_map(&owner, &config::file(&settings)))),
            of(Kind::Secret, &names::management(owner.name), Some(management_secret(&owner, self.inputs.token))),
            of(Kind::Service, &names::pods(owner.name), Some(network::headless_service(&owner))),
            made(Kind::Service, network::client_service(&owner, &spec.gateways.service)),
        ];
        if spec.network_policy.enabled {
            let policy = network::network_policy(&owner, &spec.network_policy, self.inputs.operator_namespace);
            objects.push(made(Kind::NetworkPolicy, policy));
        }
        if let Some(ingress) = &spec.ingress {
            objects.push(made(Kind::Ingress, network::ingress(&owner, ingress)));
        }
        let budget = disruption_budget(&owner, spec.gateways.replicas.min(decision.current));
        objects.push(made(Kind::PodDisruptionBudget, budget));
        let set = template.map(|template| stateful_set(&owner, &template, decision.replicas));
        objects.push(of(Kind::StatefulSet, &gateway, set));
        objects
    }
}

/// An account that may do nothing: gateways do not talk to Kubernetes.
fn service_account(owner: &Owner<'_>) -> Value {
    owner.object(&json!({
        "apiVersion": "v1",
        "automountServiceAccountToken": false,
        "kind": "ServiceAccount",
        "metadata": { "name": names::gateway(owner.name) },
    }))
}

fn management_secret(owner: &Owner<'_>, token: &str) -> Value {
    owner.object(&json!({
        "apiVersion": "v1",
        "data": { TOKEN_KEY: ByteString(token.as_bytes().to_vec()) },
        "kind": "Secret",
        "metadata": { "name": names::management(owner.name) },
        "type": "Opaque",
    }))
}

fn config_map(owner: &Owner<'_>, file: &str) -> Value {
    owner.object(&json!({
        "apiVersion": "v1",
        "data": { config::FILE: file },
        "kind": "ConfigMap",
        "metadata": { "name": names::gateway(owner.name) },
    }))
}

/// All but one of the gateways may be needed. `gateways` are those that there should be and are: with more, a drain of several
/// would stand in the way of every eviction. One that is not ready may always go.
fn disruption_budget(owner: &Owner<'_>, gateways: u16) -> Value {
    owner.object(&json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": names::gateway(owner.name) },
        "spec": {
            "minAvailable": gateways.saturating_sub(1),
            "selector": { "matchLabels": selector(owner.name) },
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }))
}

fn stateful_set(owner: &Owner<'_>, template: &Template, replicas: u16) -> Value {
    let mut set = owner.object(&json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": names::gateway(owner.name) },
        "spec": {
            "minReadySeconds": MIN_READY_SECONDS,
            "podManagementPolicy": "Parallel",
            "replicas": replicas,
            "selector": { "matchLabels": selector(owner.name) },
            "serviceName": names::pods(owner.name),
            "template": template.body,
            // One at a time: several at once would send their clients to each other.
            "updateStrategy": { "type": "RollingUpdate" },
        },
    }));
    set["metadata"]["annotations"] = json!({ TEMPLATE: template.body.to_string(), TEMPLATE_VERSION: template.version });
    set
}

#[cfg(test)]
mod tests;
