//! Decides which pod template an `ImCluster` should have, and why it changes.

use imcluster_crds::UpdatePolicy;
use imcluster_crds::names::RESTARTED_AT;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use super::live::Live;
use super::template::{Stamp, TemplateVersion, image, pod_template};
use crate::cluster::names::SECRETS_HASH;
use crate::cluster::validate::{References, Resolved, Valid};

/// What objects are built of, beside the resource. Without `Debug`: the token is a secret.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The live `StatefulSet`, if there is one.
    pub live: Option<&'a StatefulSet>,
    /// What the operator brings along.
    pub release: &'a Release,
    /// Where the operator's pods are.
    pub operator_namespace: &'a str,
    /// Opens `/status` and `/drain` of the gateways, and salts the hash of what the Secrets hold: with another token gateways
    /// roll, as they have to.
    pub token: &'a str,
}

/// What an operator brings along, beside the pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Image of the gateways.
    pub image: String,
}

/// Why gateways roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollReason {
    /// The spec says something else of the pods.
    Spec,
    /// What the Secrets hold, or the management token, is another.
    Secrets,
    /// Somebody asked for it by the annotation `imcluster.dev/restartedAt`.
    RestartedAt,
    /// The operator's release has another image or template, and the spec follows it.
    Release,
}

impl RollReason {
    /// In a sentence, for an event.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Spec => "The spec has changed: gateways are replaced one at a time",
            Self::Secrets => "The content of Secrets has changed: gateways are replaced one at a time",
            Self::RestartedAt => {
                "A restart was asked for by imcluster.dev/restartedAt: gateways are replaced one at a time"
            }
            Self::Release => "The operator has another release of the gateways: they are replaced one at a time",
        }
    }
}

/// A pod template, and the version that it was made by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    pub(super) version: String,
    pub(super) body: Value,
}

/// What the pods should be.
pub struct Plan<'a> {
    pub(super) valid: &'a Valid,
    pub(super) inputs: Inputs<'a>,
    pub(super) live: Option<Live>,
    /// `None`: it can neither be made nor is it known; what there is stays as it is.
    pub(super) template: Option<Template>,
    /// The template differs from the one that was applied last.
    pub template_changes: bool,
    /// Why it changes. `None`: it does not, or nothing was applied yet.
    pub roll: Option<RollReason>,
    /// The gateways would have another image or template, if they were made today.
    pub update_available: bool,
    /// The image that gateways have, or will have with the change.
    pub image: Option<String>,
}

/// Decides which template the pods should have.
///
/// What runs changes only when the user caused it: by the spec, by the content of Secrets, or by asking for a restart. Then it
/// moves to the operator's release as well. Until then it stays what it is, image and template version included. While a
/// reference does not resolve it stays in any case.
pub fn plan<'a>(valid: &'a Valid, inputs: Inputs<'a>) -> Plan<'a> {
    let live = inputs.live.and_then(Live::read);
    let (template, roll) = match (valid.references(), &live) {
        (References::Unresolved(_), live) => (live.as_ref().map(Live::as_template), None),
        (References::Resolved(resolved), None) => (Some(Maker { valid, inputs, resolved, live: None }.today()), None),
        (References::Resolved(resolved), Some(live)) => {
            let (template, roll) = Maker { valid, inputs, resolved, live: Some(live) }.next(live);
            (Some(template), roll)
        }
    };
    let image = template.as_ref().and_then(|template| image(&template.body)).map(str::to_owned);
    let follows_release = valid.cluster().spec.image.is_none();
    let update_available = (follows_release && image.as_ref().is_some_and(|image| *image != inputs.release.image))
        || template.as_ref().is_some_and(|template| template.version != TemplateVersion::LATEST.as_str());
    let template_changes =
        template.as_ref().is_some_and(|template| live.as_ref().is_none_or(|live| live.template != template.body));
    Plan { valid, inputs, live, template, template_changes, roll, update_available, image }
}

/// Makes templates of an `ImCluster`.
struct Maker<'a> {
    valid: &'a Valid,
    inputs: Inputs<'a>,
    resolved: &'a Resolved,
    live: Option<&'a Live>,
}

impl Maker<'_> {
    /// What follows on what was applied last, and why it differs.
    fn next(&self, live: &Live) -> (Template, Option<RollReason>) {
        let today = self.today();
        // Nobody notices a newer version that makes the same of this resource.
        if today.body == live.template {
            return (today, None);
        }
        let follows = self.valid.cluster().spec.update_policy == UpdatePolicy::WithOperator;
        match self.caused(live).or(follows.then_some(RollReason::Release)) {
            Some(why) => (today, Some(why)),
            None => (live.as_template(), None),
        }
    }

    /// What the operator would make if there were no gateways yet.
    fn today(&self) -> Template {
        let body = self.made(TemplateVersion::LATEST, &self.inputs.release.image);
        Template { version: TemplateVersion::LATEST.as_str().to_owned(), body }
    }

    /// What a version makes, with the image of the spec, or else this one.
    fn made(&self, version: TemplateVersion, image: &str) -> Value {
        let cluster = self.valid.cluster();
        // Who takes the annotation off again asks for no restart.
        let asked = cluster.metadata.annotations.as_ref().and_then(|annotations| annotations.get(RESTARTED_AT));
        let before = self.live.and_then(|live| live.annotation(RESTARTED_AT));
        let stamp = Stamp {
            image: cluster.spec.image.as_deref().unwrap_or(image),
            secrets_hash: &self.resolved.content.fingerprint(self.inputs.token),
            restarted_at: asked.map(String::as_str).or(before),
        };
        match version {
            TemplateVersion::V1 => pod_template(cluster, &self.resolved.layout, &stamp),
        }
    }

    /// What the user caused: how what was applied last differs from what the same version makes today, with the same image
    /// unless the spec says another.
    fn caused(&self, live: &Live) -> Option<RollReason> {
        // The operator was taken back to an older release, which cannot tell what its successor made of which spec.
        let Some(version) = live.version else { return Some(RollReason::Release) };
        let wanted = self.made(version, live.image());
        let differs = |name: &str| wanted["metadata"]["annotations"][name].as_str() != live.annotation(name);
        if wanted == live.template {
            None
        } else if of_the_spec(&wanted) != of_the_spec(&live.template) {
            Some(RollReason::Spec)
        } else if differs(SECRETS_HASH) {
            Some(RollReason::Secrets)
        } else {
            Some(RollReason::RestartedAt)
        }
    }
}

/// A template without what has other reasons than the spec.
fn of_the_spec(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(annotations) = template.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| name != SECRETS_HASH && name != RESTARTED_AT);
    }
    template
}
