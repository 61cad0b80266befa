//! The HTTP side of a person or a backend.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, Method};
use serde_json::Value;

fn builder() -> ClientBuilder {
    // An error means that another caller has chosen the same provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

/// The client of callers whose address does not matter.
pub fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| builder().build().expect("an HTTP client"));
    &CLIENT
}

/// A client that trusts this authority (PEM) and no other.
pub(crate) fn client_trusting(authority: &[u8]) -> Result<Client, reqwest::Error> {
    builder().tls_certs_only([Certificate::from_pem(authority)?]).build()
}

/// A caller of the HTTP API.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    base: String,
    /// The bearer token, if any.
    pub token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: JSON where it is, else the text; null without a body.
    pub body: Value,
}

impl Http {
    /// A caller from an address, without a token.
    pub fn new(server: SocketAddr, from: IpAddr) -> Self {
        let client = builder().local_address(from).build().expect("an HTTP client");
        Self { client, base: format!("http://{server}"), token: None }
    }

    /// The same caller with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Any request; `body` is sent as JSON unless it is null.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.call_raw(method, path, text).await
    }

    /// Any request with any text as its JSON body; an empty one is no body.
    pub async fn call_raw(&self, method: &str, path: &str, body: String) -> Reply {
        let method: Method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the whole body");
        let body =
            serde_json::from_str(&text).unwrap_or(if text.is_empty() { Value::Null } else { Value::String(text) });
        Reply { status, headers, body }
    }

    /// `GET`, expecting 200.
    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).await.expect(200, &format!("GET {path}"))
    }

    /// `POST`, expecting success.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.succeed("POST", path, body).await
    }

    /// `PUT`, expecting success.
    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.succeed("PUT", path, body).await
    }

    /// `PATCH`, expecting success.
    pub async fn patch(&self, path: &str, body: Value) -> Value {
        self.succeed("PATCH", path, body).await
    }

    /// `DELETE`, expecting success.
    pub async fn delete(&self, path: &str) -> Value {
        self.succeed("DELETE", path, Value::Null).await
    }

    async fn succeed(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.call(method, path, &body).await;
        assert!((200..300).contains(&reply.status), "{method} {path} {body}: {} {}", reply.status, reply.body);
        assert_eq!(
            reply.status == 204,
            reply.body.is_null(),
            "204 goes with no body, everything else with one: {path}"
        );
        reply.body
    }
}

impl Reply {
    /// The body of an answer with this status.
    pub fn expect(self, status: u16, what: &str) -> Value {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        self.body
    }

    /// Checks that this is an RFC 9457 problem with a status and a code, and returns it.
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        let content_type = self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(content_type.starts_with("application/problem+json"), "content-type {content_type}");
        assert_eq!(self.body["status"], status, "{}", self.body);
        for member in ["title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {}", self.body);
        }
        self.body
    }
}
