//! The writes of a client to the API server, by name.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, Method, Request, Uri, header};
use parking_lot::Mutex;
use tower::{Layer, Service};

/// A write, as far as its request tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Write {
    /// `create`, `update`, `patch`, `apply`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The plural, with the subresource: `imclusters/status`.
    pub resource: String,
    /// The namespace of the object, of one that has one.
    pub namespace: Option<String>,
    /// Its name; what is created has it in its body only.
    pub name: Option<String>,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

impl Write {
    /// The write that a request makes; `None` if it changes nothing.
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        if uri.query().is_some_and(|query| query.split('&').any(|it| it.starts_with("dryRun="))) {
            return None;
        }
        let mut path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        // /api/v1/… and /apis/GROUP/VERSION/…
        let root = if *path.first()? == "api" { 2 } else { 3 };
        path.drain(..root.min(path.len()));
        let namespace = match path[..] {
            // The namespaces are objects as well.
            ["namespaces", namespace, _, ..] => {
                path.drain(..2);
                Some(namespace.to_owned())
            }
            _ => None,
        };
        let (plural, name) = (*path.first()?, path.get(1).map(ToString::to_string));
        let applies = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(APPLY));
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH if applies => "apply",
            Method::PATCH => "patch",
            Method::DELETE if name.is_none() => "deletecollection",
            Method::DELETE => "delete",
            _ => return None,
        };
        let resource = path.get(2).map_or_else(|| plural.to_owned(), |part| format!("{plural}/{part}"));
        Some(Self { verb, resource, namespace, name })
    }
}

/// The type of a server-side apply.
const APPLY: &[u8] = b"application/apply-patch";

/// A layer of a `kube` client that writes down what the client writes: `ClientBuilder::with_layer(&writes)`.
#[derive(Clone, Debug, Default)]
pub struct Writes(Arc<Mutex<Vec<Write>>>);

impl Writes {
    /// What was written in a namespace so far, in its order, whether it landed or not.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Write> {
        let here = |write: &&Write| write.namespace.as_deref() == Some(namespace);
        self.0.lock().iter().filter(here).cloned().collect()
    }
}

impl<S> Layer<S> for Writes {
    type Service = WritingDown<S>;

    fn layer(&self, inner: S) -> WritingDown<S> {
        WritingDown { inner, writes: self.clone() }
    }
}

/// A service that writes down.
#[derive(Clone, Debug)]
pub struct WritingDown<S> {
    inner: S,
    writes: Writes,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WritingDown<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.writes.0.lock().extend(Write::of(request.method(), request.uri(), request.headers()));
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(method: &Method, uri: &str, kind: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
        let write = Write::of(method, &uri.parse().unwrap(), &headers)?;
        Some(format!("{}: {write}", write.namespace.as_deref().unwrap_or("-")))
    }

    #[test]
    fn a_write_has_the_name_of_what_it_changes() {
        let json = "application/json";
        for (method, uri, kind, expected) in [
            (Method::POST, "/api/v1/namespaces/im/secrets?", json, "im: create secrets"),
            (Method::PUT, "/api/v1/namespaces/im/secrets/token", json, "im: update secrets token"),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/im/statefulsets/chat?fieldManager=a&force=true",
                "application/apply-patch+yaml",
                "im: apply statefulsets chat",
            ),
            (
                Method::PATCH,
                "/apis/imcluster.dev/v1alpha1/namespaces/im/imclusters/chat/status",
                "application/merge-patch+json",
                "im: patch imclusters/status chat",
            ),
            (Method::DELETE, "/api/v1/namespaces/im/pods/chat-0", json, "im: delete pods chat-0"),
            (Method::DELETE, "/api/v1/namespaces/im/pods?labelSelector=a", json, "im: deletecollection pods"),
            (Method::DELETE, "/api/v1/namespaces/im", json, "-: delete namespaces im"),
            (
                Method::POST,
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                json,
                "-: create customresourcedefinitions",
            ),
        ] {
            assert_eq!(write(&method, uri, kind).as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn what_only_looks_is_no_write() {
        assert_eq!(write(&Method::GET, "/api/v1/namespaces/im/pods?watch=true", "application/json"), None);
        assert_eq!(write(&Method::POST, "/api/v1/namespaces/im/pods?dryRun=All", "application/json"), None);
        assert_eq!(write(&Method::POST, "/", "application/json"), None);
    }

    #[tokio::test]
    async fn the_writes_of_a_namespace_are_counted_apart() {
        let writes = Writes::default();
        let answering = tower::service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(()) });
        let mut service = writes.layer(answering);
        for (method, uri) in [
            (Method::PUT, "/api/v1/namespaces/a/pods/p"),
            (Method::GET, "/api/v1/namespaces/a/pods/p"),
            (Method::PUT, "/api/v1/namespaces/b/pods/q"),
        ] {
            service.call(Request::builder().method(method).uri(uri).body(()).unwrap()).await.unwrap();
        }
        let names: Vec<_> = writes.in_namespace("a").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["update pods p"]);
    }
}
