//! What is asked of a gateway's management port, and what it answers: see docs/operations.md, "Stop and drain".

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imcluster_crds::Drain;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::drain::DrainReport;

/// How long a gateway has for an answer. It is next to the operator, and asked again soon.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of an answer at most. A status has some hundred.
const LONGEST: usize = 64 * 1024;

/// The token that opens the management port of a cluster's gateways.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// A token, as it stands in its Secret.
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why a gateway was not heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unheard {
    #[error("it does not answer: {0}")]
    Silent(#[source] reqwest::Error),
    #[error("it answers with HTTP status {0}")]
    Refused(StatusCode),
    #[error("it answers with something that is no status of a gateway")]
    Strange,
}

impl From<reqwest::Error> for Unheard {
    fn from(error: reqwest::Error) -> Self {
        Self::Silent(error.without_url())
    }
}

/// What a gateway says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// `None`: it is starting, or another process has its id.
    pub(super) report: Option<DrainReport>,
    pub(super) connections: u32,
}

#[derive(Deserialize)]
struct Status {
    phase: Phase,
    connections: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Serving,
    Draining,
    Drained,
    #[serde(other)]
    Other,
}

impl From<Status> for Answer {
    fn from(Status { phase, connections }: Status) -> Self {
        let report = match phase {
            Phase::Serving => Some(DrainReport::Serving),
            Phase::Draining => Some(DrainReport::Draining),
            Phase::Drained => Some(DrainReport::Drained),
            Phase::Other => None,
        };
        Self { report, connections }
    }
}

/// Asks gateways.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        // The one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // Pods are reached as they are, and asked too rarely to keep connections that a new pod of that address would answer.
            .no_proxy()
            .pool_max_idle_per_host(0)
            // Gateways are spoken to in plain HTTP: an image without certificate authorities will do.
            .tls_certs_only([])
            // The token is for the gateway alone.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http })
    }

    pub(super) async fn status(&self, gateway: SocketAddr, token: &Token) -> Result<Answer, Unheard> {
        answer(self.request(Method::GET, gateway, "status", token)).await
    }

    /// The same order again changes nothing.
    pub(super) async fn drain(&self, gateway: SocketAddr, token: &Token, limits: Drain) -> Result<Answer, Unheard> {
        let order = json!({
            "deadline_seconds": limits.deadline_seconds,
            "connections_per_second": limits.connections_per_second,
        });
        answer(self.request(Method::POST, gateway, "drain", token).json(&order)).await
    }

    pub(super) async fn undrain(&self, gateway: SocketAddr, token: &Token) -> Result<Answer, Unheard> {
        answer(self.request(Method::DELETE, gateway, "drain", token)).await
    }

    fn request(&self, method: Method, gateway: SocketAddr, path: &str, Token(token): &Token) -> RequestBuilder {
        self.http.request(method, format!("http://{gateway}/{path}")).bearer_auth(token)
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer, Unheard> {
    let mut response = request.send().await?;
    if !response.status().is_success() {
        return Err(Unheard::Refused(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LONGEST {
            return Err(Unheard::Strange);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice::<Status>(&body).map(Answer::from).map_err(|_| Unheard::Strange)
}
