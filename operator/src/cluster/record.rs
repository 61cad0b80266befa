//! Writes an `ImCluster`'s status and finalizers, each time against the version that was read: what somebody else changed in
//! between is never overwritten, the reconcile begins again instead.

use std::collections::HashMap;

use imcluster_crds::{ImCluster, ImClusterStatus};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::apply::FIELD_MANAGER;
use crate::leader::{self, NotWritten, Writing};
use crate::watch::im_clusters;

/// Keeps an `ImCluster` until its topics are deleted.
pub(super) const FINALIZER: &str = "imcluster.dev/topics";

/// Why something was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Somebody else wrote in between: the next reconcile sees what.
    #[error("the ImCluster has changed meanwhile")]
    Changed,
    /// This process may not write, or did not get an answer.
    #[error("the ImCluster's record: {0}")]
    NotWritten(#[from] NotWritten),
    /// The API server refused it, or could not be asked.
    #[error("the ImCluster's record: {0}")]
    Api(#[source] Box<kube::Error>),
}

impl From<kube::Error> for RecordError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Changed,
            error => Self::Api(Box::new(error)),
        }
    }
}

/// Writes records, and knows those that the caches do not show yet.
pub(super) struct Recorder {
    client: Client,
    written: Mutex<HashMap<String, Written>>,
}

/// The newest version of an `ImCluster` that this process made, and the older ones that the cache may still show.
struct Written {
    newest: DynamicObject,
    before: Vec<String>,
}

impl Recorder {
    /// Has written nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, written: Mutex::default() }
    }

    /// The newer of what a cache shows and what this process wrote.
    pub(super) fn newest(&self, cached: &DynamicObject) -> DynamicObject {
        let uid = cached.uid().unwrap_or_default();
        let version = cached.resource_version().unwrap_or_default();
        let mut written = self.written.lock();
        match written.get(&uid) {
            Some(ours) if ours.before.contains(&version) => ours.newest.clone(),
            Some(_) => {
                written.remove(&uid);
                cached.clone()
            }
            None => cached.clone(),
        }
    }

    /// Writes the status.
    pub(super) async fn status(
        &self,
        writing: &dyn Writing,
        object: &DynamicObject,
        status: &ImClusterStatus,
    ) -> Result<DynamicObject, RecordError> {
        let mut changed = object.clone();
        changed.data["status"] = serde_json::to_value(status).expect("a status is JSON");
        changed.metadata.managed_fields = None;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = self.api(object);
        let name = object.name_any();
        let written = leader::write(writing, api.replace_status(&name, &params, &changed)).await??;
        Ok(self.keep(object, written))
    }

    /// Adds or removes the finalizer.
    pub(super) async fn finalizer(
        &self,
        writing: &dyn Writing,
        object: &DynamicObject,
        wanted: bool,
    ) -> Result<DynamicObject, RecordError> {
        let mut finalizers: Vec<_> = object.finalizers().iter().filter(|name| *name != FINALIZER).cloned().collect();
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({ "metadata": {
            "finalizers": finalizers,
            "resourceVersion": object.meta().resource_version,
            "uid": object.meta().uid,
        } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api(object);
        let name = object.name_any();
        match leader::write(writing, api.patch(&name, &params, &Patch::Merge(&patch))).await? {
            Ok(written) => Ok(self.keep(object, written)),
            // With its last finalizer an object that is being deleted goes.
            Err(kube::Error::Api(status)) if status.code == 404 && !wanted => Ok(object.clone()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the resource as the API server has it now is the one that was read, in its spec, finalizers and deletion.
    pub(super) async fn fresh(&self, object: &DynamicObject) -> Result<Option<DynamicObject>, kube::Error> {
        let fresh = self.api(object).get_opt(&object.name_any()).await?;
        Ok(fresh.filter(|fresh| fresh.metadata.uid == object.metadata.uid))
    }

    /// Forgets an `ImCluster` that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.written.lock().remove(uid);
    }

    fn keep(&self, before: &DynamicObject, written: DynamicObject) -> DynamicObject {
        let mut all = self.written.lock();
        let ours = all
            .entry(written.uid().unwrap_or_default())
            .or_insert_with(|| Written { newest: written.clone(), before: Vec::new() });
        ours.before.extend(before.resource_version());
        ours.newest = written.clone();
        written
    }

    fn api(&self, object: &DynamicObject) -> Api<DynamicObject> {
        let namespace = object.namespace().unwrap_or_default();
        Api::namespaced_with(self.client.clone(), &namespace, &im_clusters())
    }
}

/// Reads a resource; the error says which field is wrong.
pub fn parse(object: &DynamicObject) -> Result<ImCluster, String> {
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(value).map_err(|error| format!("{}: {}", error.path(), error.inner()))
}
