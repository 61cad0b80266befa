//! Writes what differs: server-side apply, with one field manager, of what the spec needs and nothing else.

use std::collections::HashMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::build::{Desired, Kind};
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

/// What was last applied, and what the object was then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    hash: [u8; 32],
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
    /// Knows nothing yet: each object is applied once after a start.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Makes an object what it should be. `live` is what the caches have of it.
    pub async fn apply(
        &self,
        writing: &dyn Writing,
        namespace: &str,
        owner: &str,
        desired: &Desired,
        live: Option<&Live>,
    ) -> Result<Applied, ApplyError> {
        let Desired { kind, name, object } = desired;
        let Some(object) = object else { return Ok(Applied::AsItWas) };
        let key = (*kind, name.clone());
        let hash = Sha256::digest(object.to_string()).into();
        if let Some(live) = live {
            let known = Known { hash, state: State::of(&live.metadata) };
            if self.known.lock().get(owner).and_then(|known| known.get(&key)) == Some(&known)
                && has_ours(&live.metadata, object)
            {
                return Ok(Applied::AsItWas);
            }
        }
        let api = self.api(*kind, namespace);
        let failed = |source| ApplyError::Api { kind: *kind, name: name.clone(), source: Box::new(source) };
        let owned = match live {
            Some(live) => is_owned(&live.metadata, owner),
            // Not in the caches: either it is not there, or it has not our labels.
            None => {
                api.get_metadata_opt(name).await.map_err(failed)?.is_none_or(|live| is_owned(&live.metadata, owner))
            }
        };
        if !owned {
            return Err(ApplyError::NotOurs { kind: *kind, name: name.clone() });
        }
        // Ours are ours: whoever changed one of them meant to change the spec.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = leader::write(writing, api.patch(name, &params, &Patch::Apply(object)))
            .await
            .map_err(|source| ApplyError::NotWritten { kind: *kind, name: name.clone(), source })?
            .map_err(failed)?;
        self.known
            .lock()
            .entry(owner.to_owned())
            .or_default()
            .insert(key, Known { hash, state: State::of(&written.metadata) });
        Ok(Applied::Written)
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
    let references = metadata.owner_references.iter().flatten();
    references.into_iter().any(|reference| reference.uid == owner && reference.controller == Some(true))
}

/// Whether the labels and annotations that we set are there: they move no generation.
fn has_ours(live: &ObjectMeta, desired: &Value) -> bool {
    let holds = |field: &str, live: Option<&std::collections::BTreeMap<String, String>>| {
        let ours = desired.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        ours.into_iter()
            .flatten()
            .all(|(name, value)| live.and_then(|live| live.get(name)).map(String::as_str) == value.as_str())
    };
    holds("labels", live.labels.as_ref()) && holds("annotations", live.annotations.as_ref())
}
