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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    /// Writes if it is true.
    struct May(bool);

    impl Writing for May {
        fn left(&self) -> Option<Duration> {
            self.0.then_some(Duration::from_secs(1))
        }
    }

    /// An API server that answers all with this, and keeps what it was sent.
    fn api(code: u16, answer: Value) -> (Recorder, Arc<Mutex<Vec<Value>>>) {
        let sent = Arc::<Mutex<Vec<Value>>>::default();
        let keep = sent.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (keep, answer) = (keep.clone(), answer.clone());
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                keep.lock().push(serde_json::from_slice(&body).unwrap_or_default());
                let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        (Recorder::new(Client::new(service, "im")), sent)
    }

    fn object(version: &str, finalizers: &[&str]) -> Value {
        json!({
            "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "spec": {},
            "metadata": { "name": "chat", "namespace": "im", "uid": "1", "resourceVersion": version, "finalizers": finalizers },
        })
    }

    fn read(version: &str) -> DynamicObject {
        serde_json::from_value(object(version, &["theirs"])).unwrap()
    }

    fn failure(code: u16) -> Value {
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "No", "code": code })
    }

    #[tokio::test]
    async fn what_was_written_is_newer_than_what_it_was_written_on_and_older_than_anything_else() {
        let (recorder, _) = api(200, object("2", &[]));
        assert_eq!(recorder.newest(&read("1")).resource_version().as_deref(), Some("1"));
        recorder.status(&May(true), &read("1"), &ImClusterStatus::default()).await.unwrap();
        assert_eq!(recorder.newest(&read("1")).resource_version().as_deref(), Some("2"), "the cache is late");
        assert_eq!(recorder.newest(&read("3")).resource_version().as_deref(), Some("3"));
        assert_eq!(
            recorder.newest(&read("1")).resource_version().as_deref(),
            Some("1"),
            "it knows of no other any more"
        );
    }

    #[tokio::test]
    async fn what_somebody_else_changed_in_between_is_not_overwritten() {
        let (recorder, sent) = api(409, failure(409));
        let result = recorder.status(&May(true), &read("1"), &ImClusterStatus::default()).await;
        assert!(matches!(result, Err(RecordError::Changed)), "{result:?}");
        assert_eq!(sent.lock()[0]["metadata"]["resourceVersion"], "1", "the version that was read is named");
        assert_eq!(recorder.newest(&read("1")).resource_version().as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn what_the_api_server_refuses_is_told_as_it_is() {
        let (recorder, _) = api(403, failure(403));
        let result = recorder.status(&May(true), &read("1"), &ImClusterStatus::default()).await;
        assert!(matches!(result, Err(RecordError::Api(_))), "{result:?}");
    }

    #[tokio::test]
    async fn who_does_not_lead_writes_nothing() {
        let (recorder, sent) = api(200, object("2", &[]));
        let result = recorder.status(&May(false), &read("1"), &ImClusterStatus::default()).await;
        assert!(matches!(result, Err(RecordError::NotWritten(NotWritten::NotLeading))), "{result:?}");
        assert!(sent.lock().is_empty());
    }

    #[tokio::test]
    async fn the_finalizer_is_added_and_removed_and_those_of_others_stay() {
        let (recorder, sent) = api(200, object("2", &["theirs", FINALIZER]));
        let held = recorder.finalizer(&May(true), &read("1"), true).await.unwrap();
        recorder.finalizer(&May(true), &held, false).await.unwrap();
        let sent = sent.lock();
        assert_eq!(sent[0]["metadata"]["finalizers"], json!(["theirs", FINALIZER]));
        assert_eq!(sent[0]["metadata"]["resourceVersion"], "1");
        assert_eq!(sent[1]["metadata"]["finalizers"], json!(["theirs"]));
    }

    #[tokio::test]
    async fn one_that_is_gone_with_its_last_finalizer_is_as_wanted() {
        let (recorder, _) = api(404, failure(404));
        assert!(recorder.finalizer(&May(true), &read("1"), false).await.is_ok());
        let result = recorder.finalizer(&May(true), &read("1"), true).await;
        assert!(matches!(result, Err(RecordError::Api(_))), "{result:?}");
    }

    #[tokio::test]
    async fn another_one_of_the_same_name_is_not_the_one_that_was_read() {
        let mut other = object("5", &[]);
        other["metadata"]["uid"] = json!("2");
        let (recorder, _) = api(200, other);
        assert!(recorder.fresh(&read("1")).await.unwrap().is_none());
        let (recorder, _) = api(200, object("5", &[]));
        assert!(recorder.fresh(&read("1")).await.unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_field() {
        let mut odd = object("1", &[]);
        odd["spec"] = json!({ "kafka": { "bootstrapServers": 5 } });
        let problem = parse(&serde_json::from_value(odd).unwrap()).unwrap_err();
        assert!(problem.starts_with("spec.kafka.bootstrapServers: "), "{problem}");
    }
}
