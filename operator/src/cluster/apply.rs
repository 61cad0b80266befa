//! Writes what differs: server-side apply, with one field manager, of what the spec needs and nothing else.

use std::collections::HashMap;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::Reason;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::build::{Desired, Kind};
use super::conditions::Verdict;
use super::hash::hex;
use super::names::{self, APPLIED_HASH};
use super::ownership;
use crate::leader::{self, NotWritten, Writing};

/// Whose fields ours are.
pub const FIELD_MANAGER: &str = "imcluster-operator";

/// Where the API server has the objects of a kind.
pub fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
        Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        Kind::Secret => ApiResource::erase::<Secret>(&()),
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
        Kind::Ingress => ApiResource::erase::<Ingress>(&()),
        Kind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
    }
}

/// What is known of an object that is there: metadata alone.
pub type Live = PartialObjectMeta<DynamicObject>;

/// Whose objects they are.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The namespace of the `ImCluster`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// Whose an object is that has a name that the operator needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// This `ImCluster`'s.
    Ours,
    /// It was made for an `ImCluster` of this name that was deleted without what belonged to it.
    Orphan,
    /// It belongs to an `ImCluster` of this name that is gone, and goes as well.
    Predecessors,
    /// Somebody else's.
    Others,
}

/// What an apply came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was as it should be, and nothing was asked.
    AsItWas,
    /// It was written.
    Written,
}

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else's object has the name.
    #[error(
        "{kind:?} {name} is there already and belongs to somebody else: delete or rename it, or choose another name for the ImCluster"
    )]
    NotOurs {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// It is on its way out.
    #[error(
        "{kind:?} {name} belongs to an ImCluster of the same name that is gone, and goes as well: it is waited for"
    )]
    Predecessors {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// This process may not write, or did not get an answer.
    #[error("{kind:?} {name}: {source}")]
    NotWritten {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Why.
        source: NotWritten,
    },
    /// The API server refused it, or could not be asked.
    #[error("{kind:?} {name}: {source}")]
    Api {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// What it said.
        source: Box<kube::Error>,
    },
}

/// Characters of what the API server says of an object that it refuses: a message has to be read.
const MOST_SAID: usize = 500;

impl ApplyError {
    /// `GatewaysReady` where somebody has to do something; `None` for what passes by itself.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::NotOurs { .. } => Some(Verdict::no(Reason::NotOurs, self.to_string())),
            Self::Api { kind, name, source } => match &**source {
                kube::Error::Api(said) if matches!(said.code, 400 | 403 | 422) => {
                    let said: String = said.message.chars().take(MOST_SAID).collect();
                    let message = format!("The API server refuses {kind:?} {name}: {said}");
                    Some(Verdict::no(Reason::ObjectRefused, message))
                }
                _ => None,
            },
            Self::Predecessors { .. } | Self::NotWritten { .. } => None,
        }
    }
}

/// What was last applied, and what the object was then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    hash: String,
    state: State,
}

/// What changes when somebody changes an object. Of kinds with a generation it is that: their resource version moves with
/// each change of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    uid: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
}

impl State {
    fn of(metadata: &ObjectMeta) -> Self {
        let generation = metadata.generation;
        Self {
            uid: metadata.uid.clone(),
            generation,
            resource_version: metadata.resource_version.clone().filter(|_| generation.is_none()),
        }
    }
}

/// What is known of the objects of an `ImCluster`, by kind and name.
type Objects = HashMap<(Kind, String), Known>;

/// Applies objects, and remembers what it applied.
pub struct Applier {
    client: Client,
    /// By the UID of the `ImCluster`.
    known: Mutex<HashMap<String, Objects>>,
}

impl Applier {
    /// Knows nothing yet: each object is asked after once.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Makes an object what it should be. `live` is what the caches have of it.
    pub async fn apply(
        &self,
        writing: &dyn Writing,
        owner: &Owner<'_>,
        desired: &Desired,
        live: Option<&Live>,
    ) -> Result<Applied, ApplyError> {
        let Desired { kind, name, object } = desired;
        let Some(object) = object else { return Ok(Applied::AsItWas) };
        let hash = hex(Sha256::new_with_prefix(object.to_string()));
        let mut object = object.clone();
        object["metadata"]["annotations"][APPLIED_HASH] = json!(hash);
        let key = (*kind, name.clone());
        let known = self.known.lock().get(owner.uid).and_then(|known| known.get(&key)).cloned();
        let api = self.api(*kind, owner.namespace);
        let failed = |source| ApplyError::Api { kind: *kind, name: name.clone(), source: Box::new(source) };

        let seen = live.map(|live| &live.metadata);
        let was_applied = known.as_ref().is_some_and(|known| known.hash == hash);
        if let Some(seen) = seen
            && known == Some(Known { hash: hash.clone(), state: State::of(seen) })
            && has_ours(seen, &object)
        {
            return Ok(Applied::AsItWas);
        }
        // Not in the caches: it is not there, or has not our labels, or was made just now. Otherwise another process may have
        // applied the same, or somebody has changed what is not ours.
        let there = if seen.is_none_or(|seen| was_applied || has_ours(seen, &object)) {
            let now = api.get_metadata_opt(name).await.map_err(failed)?.map(|now| now.metadata);
            if let Some(now) = &now
                && whose(now, owner) == Whose::Ours
                && has_ours(now, &object)
                && ownership::holds(now, FIELD_MANAGER, &object)
            {
                self.remember(owner, key, Known { hash, state: State::of(now) });
                return Ok(Applied::AsItWas);
            }
            now
        } else {
            seen.cloned()
        };
        match there.map_or(Whose::Ours, |there| whose(&there, owner)) {
            Whose::Ours | Whose::Orphan => {}
            Whose::Predecessors => return Err(ApplyError::Predecessors { kind: *kind, name: name.clone() }),
            Whose::Others => return Err(ApplyError::NotOurs { kind: *kind, name: name.clone() }),
        }
        // Ours are ours: whoever changed one of them meant to change the spec.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = leader::write(writing, api.patch(name, &params, &Patch::Apply(&object)))
            .await
            .map_err(|source| ApplyError::NotWritten { kind: *kind, name: name.clone(), source })?
            .map_err(failed)?;
        self.remember(owner, key, Known { hash, state: State::of(&written.metadata) });
        Ok(Applied::Written)
    }

    fn remember(&self, owner: &Owner<'_>, key: (Kind, String), known: Known) {
        self.known.lock().entry(owner.uid.to_owned()).or_default().insert(key, known);
    }

    /// Removes an object that is ours and should not be there any more. Pods go by themselves, each with its grace period.
    pub async fn remove(
        &self,
        writing: &dyn Writing,
        namespace: &str,
        kind: Kind,
        live: &Live,
    ) -> Result<(), ApplyError> {
        let name = live.name_any();
        let this_one = Preconditions { uid: live.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::background() };
        let api = self.api(kind, namespace);
        let answer = leader::write(writing, api.delete(&name, &params))
            .await
            .map_err(|source| ApplyError::NotWritten { kind, name: name.clone(), source })?;
        match answer {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(source) => Err(ApplyError::Api { kind, name, source: Box::new(source) }),
            Ok(_) => Ok(()),
        }
    }

    /// Forgets an `ImCluster` that is gone.
    pub fn forget(&self, owner: &str) {
        self.known.lock().remove(owner);
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }
}

/// Whether the `ImCluster` of this UID controls the object.
pub fn is_owned(metadata: &ObjectMeta, owner: &str) -> bool {
    controller(metadata).is_some_and(|controller| controller.uid == owner)
}

/// Whether an object was made for an `ImCluster` of this name, and has lost it: `kubectl delete --cascade=orphan` leaves such
/// objects. The next `ImCluster` of the name takes them over.
pub fn is_orphan(metadata: &ObjectMeta, cluster: &str) -> bool {
    let live = metadata.labels.as_ref();
    let labels = names::labels(cluster);
    controller(metadata).is_none()
        && labels.iter().all(|(name, value)| live.and_then(|live| live.get(name)) == Some(value))
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

fn whose(metadata: &ObjectMeta, owner: &Owner<'_>) -> Whose {
    match controller(metadata) {
        Some(controller) if controller.uid == owner.uid => Whose::Ours,
        Some(controller) if controller.kind == ImCluster::kind(&()) && controller.name == owner.name => {
            Whose::Predecessors
        }
        None if is_orphan(metadata, owner.name) => Whose::Orphan,
        _ => Whose::Others,
    }
}

/// Whether the labels and annotations that we set are there: they move no generation. The hash of all that we set is one of
/// them.
fn has_ours(live: &ObjectMeta, desired: &Value) -> bool {
    let holds = |field: &str, live: Option<&std::collections::BTreeMap<String, String>>| {
        let ours = desired.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        ours.into_iter()
            .flatten()
            .all(|(name, value)| live.and_then(|live| live.get(name)).map(String::as_str) == value.as_str())
    };
    holds("labels", live.labels.as_ref()) && holds("annotations", live.annotations.as_ref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OWNER: Owner<'_> = Owner { namespace: "im", name: "chat", uid: "1" };

    fn metadata(metadata: &Value) -> ObjectMeta {
        serde_json::from_value(metadata.clone()).unwrap()
    }

    fn controlled(kind: &str, name: &str, uid: &str) -> ObjectMeta {
        let owner = json!({ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": true });
        metadata(&json!({ "ownerReferences": [owner], "labels": names::labels("chat") }))
    }

    #[test]
    fn an_object_is_ours_by_its_controller_and_not_by_its_labels() {
        assert_eq!(whose(&controlled("ImCluster", "chat", "1"), &OWNER), Whose::Ours);
        assert_eq!(whose(&controlled("ImCluster", "other", "2"), &OWNER), Whose::Others);
        assert_eq!(whose(&controlled("Deployment", "chat", "2"), &OWNER), Whose::Others);
        assert_eq!(whose(&ObjectMeta::default(), &OWNER), Whose::Others);
    }

    #[test]
    fn what_belonged_to_one_of_the_same_name_that_is_gone_is_waited_for() {
        assert_eq!(whose(&controlled("ImCluster", "chat", "0"), &OWNER), Whose::Predecessors);
    }

    #[test]
    fn what_was_left_without_an_owner_by_one_of_the_same_name_is_taken_over() {
        let orphan = metadata(&json!({ "labels": names::labels("chat") }));
        assert_eq!(whose(&orphan, &OWNER), Whose::Orphan);
        assert_eq!(whose(&orphan, &Owner { name: "other", ..OWNER }), Whose::Others);
    }

    fn refused(code: u16) -> ApplyError {
        let said =
            json!({ "status": "Failure", "message": "spec.x: Invalid value", "reason": "Invalid", "code": code });
        let source = Box::new(kube::Error::Api(Box::new(serde_json::from_value(said).unwrap())));
        ApplyError::Api { kind: Kind::Ingress, name: "chat-gateway".to_owned(), source }
    }

    #[test]
    fn what_the_api_server_refuses_is_told_in_its_words_and_what_passes_is_not() {
        for code in [400, 403, 422] {
            let verdict = refused(code).verdict().unwrap();
            assert_eq!((verdict.holds, verdict.reason), (Some(false), Reason::ObjectRefused));
            assert_eq!(verdict.message, "The API server refuses Ingress chat-gateway: spec.x: Invalid value");
        }
        for code in [404, 409, 429, 500, 503] {
            assert_eq!(refused(code).verdict(), None, "{code}");
        }
    }

    #[test]
    fn a_name_that_somebody_else_has_is_told_and_one_that_gets_free_is_not() {
        let (kind, name) = (Kind::ConfigMap, "chat-gateway".to_owned());
        let verdict = ApplyError::NotOurs { kind, name: name.clone() }.verdict().unwrap();
        assert_eq!(verdict.reason, Reason::NotOurs);
        assert!(verdict.message.contains("ConfigMap chat-gateway"), "{}", verdict.message);
        assert_eq!(ApplyError::Predecessors { kind, name: name.clone() }.verdict(), None);
        assert_eq!(ApplyError::NotWritten { kind, name, source: NotWritten::NotLeading }.verdict(), None);
    }
}
