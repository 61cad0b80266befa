//! What a request to the API server is about.

use axum::http::{Method, Request};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the verbs of Kubernetes' own access rules")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Anything else, as asking for versions.
    Other,
}

impl Verb {
    /// As access rules spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Other => "other",
        }
    }

    /// Whether it changes something.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete | Self::DeleteCollection)
    }
}

/// A request to the API server: which verb, on what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// What it does.
    pub verb: Verb,
    /// On which kind, with the subresource: `pods`, `imclusters/status`; empty for what is no resource, as versions.
    pub resource: String,
    /// In which namespace; `None`: in none, or in all.
    pub namespace: Option<String>,
    /// On which object; `None`: on several, or on one that is made.
    pub name: Option<String>,
}

impl Call {
    /// What a request is about. The paths are those of the Kubernetes API: `/api/v1/…` and `/apis/GROUP/VERSION/…`.
    pub fn of<B>(request: &Request<B>) -> Self {
        let segments: Vec<&str> = request.uri().path().split('/').filter(|segment| !segment.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        // `namespaces/NAME/status` and `…/finalize` are about the namespace itself.
        let (namespace, rest) = match rest {
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let [resource, rest @ ..] = rest else {
            return Self { verb: Verb::Other, resource: String::new(), namespace, name: None };
        };
        let name = rest.first().map(|name| (*name).to_owned());
        let resource = std::iter::once(resource).chain(rest.get(1..).unwrap_or_default()).copied().collect::<Vec<_>>();
        let watches = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let verb = match (request.method(), name.is_some()) {
            (&Method::GET, _) if watches => Verb::Watch,
            (&Method::GET, true) => Verb::Get,
            (&Method::GET, false) => Verb::List,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, _) => Verb::Update,
            (&Method::PATCH, _) => Verb::Patch,
            (&Method::DELETE, true) => Verb::Delete,
            (&Method::DELETE, false) => Verb::DeleteCollection,
            _ => Verb::Other,
        };
        Self { verb, resource: resource.join("/"), namespace, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(method: Method, uri: &str) -> String {
        let Call { verb, resource, namespace, name } =
            Call::of(&Request::builder().method(method).uri(uri).body(()).unwrap());
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        format!("{} {resource} {} {}", verb.as_str(), or_none(namespace), or_none(name))
    }

    #[test]
    fn a_request_is_named_by_verb_resource_namespace_and_name() {
        const SET: &str = "/apis/apps/v1/namespaces/a/statefulsets";
        assert_eq!(told(Method::GET, "/api/v1/namespaces/a/pods/p"), "get pods a p");
        assert_eq!(told(Method::GET, "/api/v1/namespaces/a/pods?limit=5"), "list pods a -");
        assert_eq!(told(Method::GET, "/api/v1/pods?&watch=true&x=y"), "watch pods - -");
        assert_eq!(told(Method::POST, SET), "create statefulsets a -");
        assert_eq!(told(Method::PUT, &format!("{SET}/s")), "update statefulsets a s");
        assert_eq!(told(Method::PATCH, &format!("{SET}/s?force=true")), "patch statefulsets a s");
        assert_eq!(told(Method::PATCH, &format!("{SET}/s/status")), "patch statefulsets/status a s");
        assert_eq!(told(Method::DELETE, &format!("{SET}/s")), "delete statefulsets a s");
        assert_eq!(told(Method::DELETE, SET), "deletecollection statefulsets a -");
    }

    #[test]
    fn a_namespace_is_an_object_too() {
        assert_eq!(told(Method::GET, "/api/v1/namespaces/a"), "get namespaces - a");
        assert_eq!(told(Method::GET, "/api/v1/namespaces"), "list namespaces - -");
        assert_eq!(told(Method::PUT, "/api/v1/namespaces/a/finalize"), "update namespaces/finalize - a");
    }

    #[test]
    fn asking_for_versions_is_about_no_resource() {
        assert_eq!(told(Method::GET, "/apis/imcluster.dev/v1alpha1"), "other  - -");
        assert_eq!(told(Method::GET, "/version"), "other  - -");
    }
}
