//! Calls of the HTTP API.

use std::time::Duration;

use im_protocol::{ErrorCode, WireError};
use reqwest::{Method, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// No call takes longer than this.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server's address is none.
    #[error("{0:?} is not the address of a server: it must look like http://host:port")]
    Address(String),
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
    /// No answer came.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server refused.
    #[error(transparent)]
    Refused(Box<WireError>),
    /// The answer is not what the protocol says.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
}

impl HttpError {
    /// The code, where the server refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(error) => Some(error.code),
            _ => None,
        }
    }
}

/// The HTTP API of one server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Http {
    base: Url,
    client: reqwest::Client,
}

/// RFC 9457, as the protocol fills it.
#[derive(Deserialize)]
struct Problem {
    code: ErrorCode,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    field: Option<String>,
}

impl Http {
    /// The API at `base`, for instance `https://chat.example.org`.
    pub fn new(base: &str) -> Result<Self, HttpError> {
        let wrong = || HttpError::Address(base.to_owned());
        let url = Url::parse(base).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        // An error means that the process has chosen a provider before, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .tcp_nodelay(true)
            // A token must not follow a redirect to another host.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|e| HttpError::Setup(e.to_string()))?;
        Ok(Self { base: url, client })
    }

    /// Where the server is.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Calls `path` (with its query, if any), as whoever `token` says. `T` is `()` where the answer has no body.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, HttpError> {
        let address = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let mut request = self.client.request(method, address);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refusal(status, retry_after, &text));
        }
        let text: &[u8] = if text.is_empty() { b"null" } else { &text };
        serde_json::from_slice(text).map_err(|e| HttpError::Answer(e.to_string()))
    }
}

fn refusal(status: StatusCode, retry_after_s: Option<u64>, body: &[u8]) -> HttpError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => HttpError::Refused(Box::new(WireError {
            field: problem.field,
            retry_after_ms: retry_after_s.map(|s| s.saturating_mul(1000)),
            ..WireError::new(problem.code, problem.detail)
        })),
        // A proxy's word, not the server's.
        Err(_) if status.is_server_error() => HttpError::Unreachable(status.to_string()),
        Err(_) => HttpError::Answer(format!("{status} without a problem document")),
    }
}

fn unreachable(error: reqwest::Error) -> HttpError {
    let mut text = error.without_url().to_string();
    // reqwest's own text stops at "error sending request"; the cause is what helps.
    text.truncate(200);
    HttpError::Unreachable(text)
}
