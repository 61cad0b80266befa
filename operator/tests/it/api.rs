//! A small API server: discovery, leases and `ImCluster`s with their status, as Kubernetes answers, over plain HTTP. Of
//! everything else there is none. It checks nothing: what stands there may have been stored under any definition.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use futures_util::stream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

#[derive(Default)]
struct Kept {
    defined: bool,
    refuses: bool,
    leases: BTreeMap<String, Value>,
    clusters: BTreeMap<String, Value>,
    version: u64,
}

/// It ends with the value.
pub(crate) struct Api {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    _server: AbortOnDropHandle<()>,
}

type Shared = State<Arc<Mutex<Kept>>>;

impl Api {
    pub(crate) async fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let router = Router::new()
            .route("/apis/imcluster.dev/v1alpha1", get(resources))
            .route("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", axum::routing::post(create))
            .route("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}", get(read).put(replace))
            .route("/apis/imcluster.dev/v1alpha1/namespaces/{namespace}/imclusters", get(clusters))
            .route("/apis/imcluster.dev/v1alpha1/namespaces/{namespace}/imclusters/{name}/status", put(status))
            .fallback(get(nothing))
            .with_state(kept.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, kept, _server: AbortOnDropHandle::new(server) }
    }

    /// A kubeconfig for it, in namespace `own`.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u", "namespace": "own" } }],
        })
        .to_string()
    }

    /// From now on it knows what an `ImCluster` is.
    pub(crate) fn define(&self) {
        self.kept.lock().defined = true;
    }

    /// From now on it lets nobody at the leases.
    pub(crate) fn refuse(&self) {
        self.kept.lock().refuses = true;
    }

    /// An `ImCluster` that is there when somebody asks.
    pub(crate) fn keep(&self, name: &str, spec: &Value) {
        let cluster = json!({
            "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "spec": spec,
            "metadata": { "name": name, "namespace": "own", "uid": name, "resourceVersion": "1", "generation": 1 },
        });
        self.kept.lock().clusters.insert(name.to_owned(), cluster);
    }

    /// A condition that was written of an `ImCluster`.
    pub(crate) fn condition(&self, name: &str, kind: &str) -> Option<Value> {
        let conditions = self.kept.lock().clusters[name]["status"]["conditions"].clone();
        conditions.as_array()?.iter().find(|condition| condition["type"] == kind).cloned()
    }

    /// By `NAMESPACE/NAME`.
    pub(crate) fn lease(&self, path: &str) -> Option<Value> {
        self.kept.lock().leases.get(path).cloned()
    }

    pub(crate) fn put(&self, path: &str, mut lease: Value) {
        let mut kept = self.kept.lock();
        kept.version += 1;
        lease["metadata"]["resourceVersion"] = json!(kept.version.to_string());
        kept.leases.insert(path.to_owned(), lease);
    }

    pub(crate) fn holder(&self, path: &str) -> String {
        self.lease(path).map_or_else(String::new, |lease| lease["spec"]["holderIdentity"].as_str().unwrap().to_owned())
    }
}

fn refused(code: StatusCode, reason: &str) -> Response {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason,
                         "code": code.as_u16() });
    (code, status.to_string()).into_response()
}

async fn resources(State(kept): Shared) -> Response {
    if !kept.lock().defined {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let resource = json!({ "name": "imclusters", "singularName": "imcluster", "namespaced": true, "kind": "ImCluster",
                           "verbs": ["get"] });
    json!({ "kind": "APIResourceList", "groupVersion": "imcluster.dev/v1alpha1", "resources": [resource] })
        .to_string()
        .into_response()
}

/// An empty list, and a watch of it in which nothing happens.
async fn nothing(uri: Uri) -> Response {
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        return Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response();
    }
    json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [] })
        .to_string()
        .into_response()
}

async fn clusters(State(kept): Shared, uri: Uri) -> Response {
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        return nothing(uri).await;
    }
    let items: Vec<_> = kept.lock().clusters.values().cloned().collect();
    json!({ "kind": "ImClusterList", "apiVersion": "imcluster.dev/v1alpha1", "metadata": { "resourceVersion": "1" },
            "items": items })
    .to_string()
    .into_response()
}

async fn status(State(kept): Shared, Path((_, name)): Path<(String, String)>, body: Bytes) -> Response {
    let mut kept = kept.lock();
    let Some(cluster) = kept.clusters.get_mut(&name) else { return refused(StatusCode::NOT_FOUND, "NotFound") };
    *cluster = serde_json::from_slice(&body).unwrap();
    cluster["metadata"]["resourceVersion"] = json!("2");
    cluster.to_string().into_response()
}

async fn read(State(kept): Shared, Path((namespace, name)): Path<(String, String)>) -> Response {
    let kept = kept.lock();
    match kept.leases.get(&format!("{namespace}/{name}")) {
        _ if kept.refuses => refused(StatusCode::FORBIDDEN, "Forbidden"),
        Some(lease) => lease.to_string().into_response(),
        None => refused(StatusCode::NOT_FOUND, "NotFound"),
    }
}

async fn create(State(kept): Shared, Path(namespace): Path<String>, body: Bytes) -> Response {
    let lease: Value = serde_json::from_slice(&body).unwrap();
    let path = format!("{namespace}/{}", lease["metadata"]["name"].as_str().unwrap());
    let exists = kept.lock().leases.contains_key(&path);
    if exists { refused(StatusCode::CONFLICT, "AlreadyExists") } else { written(&kept, path, lease) }
}

async fn replace(State(kept): Shared, Path((namespace, name)): Path<(String, String)>, body: Bytes) -> Response {
    let lease: Value = serde_json::from_slice(&body).unwrap();
    let path = format!("{namespace}/{name}");
    let same = kept.lock().leases.get(&path).map(|now| &now["metadata"]["resourceVersion"])
        == Some(&lease["metadata"]["resourceVersion"]);
    if same { written(&kept, path, lease) } else { refused(StatusCode::CONFLICT, "Conflict") }
}

fn written(kept: &Mutex<Kept>, path: String, mut lease: Value) -> Response {
    let mut kept = kept.lock();
    kept.version += 1;
    lease["metadata"]["resourceVersion"] = json!(kept.version.to_string());
    kept.leases.insert(path, lease.clone());
    lease.to_string().into_response()
}
