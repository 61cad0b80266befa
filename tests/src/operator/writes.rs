//! The writes of an operator, by name: to the API server, and to Kafka.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{Request, header};
use imcluster_operator::client::Call;
use parking_lot::Mutex;

/// A write, as far as its request tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Write {
    /// `create`, `update`, `patch`, `apply`, `delete` or `deletecollection`; of Kafka's topics `create`, `alter` or `delete`.
    pub verb: &'static str,
    /// The plural, with the subresource: `imclusters/status`; `topics` are Kafka's.
    pub resource: String,
    /// The namespace of the object, of one that has one; of topics that of their `ImCluster`.
    pub namespace: Option<String>,
    /// Its name; what is created has it in its body only. The names of events are random, and left out.
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
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        if request.uri().query().is_some_and(|query| query.split('&').any(|it| it.starts_with("dryRun="))) {
            return None;
        }
        let Call { verb, resource, namespace, name } = Call::of(request);
        let kind = request.headers().get(header::CONTENT_TYPE);
        let applies = kind.is_some_and(|kind| kind.as_bytes().starts_with(APPLY));
        let name = name.filter(|_| resource != "events");
        let verb = verb.writes().then_some(if applies { "apply" } else { verb.as_str() })?;
        Some(Self { verb, resource, namespace, name })
    }

    /// A write of Kafka's topics.
    pub(super) fn of_topics(verb: &'static str, namespace: &str) -> Self {
        Self { verb, resource: "topics".to_owned(), namespace: Some(namespace.to_owned()), name: None }
    }
}

/// The type of a server-side apply.
const APPLY: &[u8] = b"application/apply-patch";

/// A write that was asked for.
#[derive(Clone, Debug)]
pub struct Written {
    /// Which.
    pub write: Write,
    /// In which stage of the test: see [`super::Faults::begin`].
    pub stage: usize,
    /// When it was asked for.
    pub began: Instant,
    /// When its answer was there; `None`: it is not, or it was never sent.
    pub ended: Option<Instant>,
}

/// All writes so far, in their order.
#[derive(Clone, Debug, Default)]
pub struct Writes(Arc<Mutex<Vec<Written>>>);

impl Writes {
    /// Those in a namespace, whether they landed or not.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Write> {
        let here = |written: &&Written| written.write.namespace.as_deref() == Some(namespace);
        self.0.lock().iter().filter(here).map(|written| written.write.clone()).collect()
    }

    /// All of them, with what is known of each.
    pub fn all(&self) -> Vec<Written> {
        self.0.lock().clone()
    }

    /// Writes one down; gives its place.
    pub(super) fn begin(&self, write: Write, stage: usize) -> usize {
        let mut all = self.0.lock();
        all.push(Written { write, stage, began: Instant::now(), ended: None });
        all.len() - 1
    }

    /// The answer of the write at this place is there.
    pub(super) fn end(&self, place: usize) {
        self.0.lock()[place].ended = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    fn write(method: &Method, uri: &str, kind: &str) -> Option<String> {
        let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, kind).body(()).unwrap();
        let write = Write::of(&request)?;
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
                Method::PATCH,
                "/apis/events.k8s.io/v1/namespaces/im/events/chat.17",
                "application/merge-patch+json",
                "im: patch events",
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

    #[test]
    fn the_writes_of_a_namespace_are_told_apart() {
        let writes = Writes::default();
        writes.begin(Write::of_topics("create", "a"), 0);
        writes.begin(Write::of_topics("delete", "b"), 0);
        let names: Vec<_> = writes.in_namespace("a").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["create topics"]);
    }
}
