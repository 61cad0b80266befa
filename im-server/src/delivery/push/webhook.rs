//! The receiver: a POST, signed as Standard Webhooks says.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Url, redirect};
use sha2::Sha256;

use super::attempt::{Answer, retry_after};
use crate::chat::Secret;

/// Without an answer for this long an attempt has failed: a receiver should queue and answer.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A receiver that takes longer to let us in is out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Characters of an answer's body that a dead letter keeps.
const REASON_CHARS: usize = 200;

/// Bytes of an answer's body that are read, so that the connection can be used again.
const BODY_BYTES: usize = 4_096;

/// What stands before the key of a Standard Webhooks secret.
const SECRET_PREFIX: &str = "whsec_";

/// Bytes of a key. <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why webhooks cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The address is none.
    #[error("expected an http:// or https:// address")]
    Address,
    /// The secret cannot be read. It is not shown.
    #[error("expected whsec_ and 24 to 64 bytes in base64: make one with `echo whsec_$(openssl rand -base64 32)`")]
    Secret,
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// Where webhooks go. It may hold a token: only the host is ever printed.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl FromStr for WebhookUrl {
    type Err = WebhookError;

    fn from_str(text: &str) -> Result<Self, WebhookError> {
        let url = Url::parse(text).map_err(|_| WebhookError::Address)?;
        let good = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
        if good { Ok(Self(url)) } else { Err(WebhookError::Address) }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host_str().unwrap_or_default())
    }
}

/// What webhooks are signed with.
#[derive(Clone, Debug)]
pub struct WebhookSecret(Secret);

impl FromStr for WebhookSecret {
    type Err = WebhookError;

    fn from_str(text: &str) -> Result<Self, WebhookError> {
        let key = text.strip_prefix(SECRET_PREFIX).and_then(|key| STANDARD.decode(key).ok());
        let key = key.filter(|key| KEY_BYTES.contains(&key.len())).ok_or(WebhookError::Secret)?;
        Ok(Self(Secret::new(key)))
    }
}

impl WebhookSecret {
    /// The header `webhook-signature`.
    fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.bytes()).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The receiver.
pub(super) struct Webhook {
    http: Client,
    url: WebhookUrl,
    secret: WebhookSecret,
}

impl Webhook {
    pub(super) fn new(url: WebhookUrl, secret: WebhookSecret) -> Result<Self, WebhookError> {
        // An error means that the process has chosen a provider before, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ATTEMPT_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("im-server/", env!("CARGO_PKG_VERSION")))
            // What is in a webhook must not follow a redirect to another host.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| WebhookError::Client(error.to_string()))?;
        Ok(Self { http, url, secret })
    }

    /// One attempt.
    pub(super) async fn send(&self, id: &str, body: String) -> Answer {
        let now = SystemTime::now();
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self
            .http
            .post(self.url.0.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.sign(id, timestamp, &body))
            .body(body);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Answer::Failed(chain(&error.without_url())),
        };
        let code = answer.status().as_u16();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
        let mut body = Vec::new();
        // The status has decided: a body that breaks off changes nothing.
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= BODY_BYTES {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body);
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let body: String = body.trim().chars().map(shown).take(REASON_CHARS).collect();
        Answer::Status { code, after, body }
    }
}

/// An error with its causes: reqwest's own sentence does not tell why.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specification_s_example() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_its_prefix_and_enough_bytes_and_is_not_printed() {
        let bad =
            ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_no base64 at all, is it?"];
        for bad in bad {
            assert_eq!(bad.parse::<WebhookSecret>().err(), Some(WebhookError::Secret), "{bad}");
        }
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert!(!format!("{secret:?}").contains("MfKQ"));
    }

    #[test]
    fn an_address_is_printed_without_what_may_be_a_token() {
        let url: WebhookUrl = "https://user:pa55@push.example.org/hook?token=abc".parse().unwrap();
        assert_eq!(format!("{url:?}"), "push.example.org");
        for bad in ["push.example.org", "ftp://push.example.org/", "http://", ""] {
            assert_eq!(bad.parse::<WebhookUrl>(), Err(WebhookError::Address), "{bad}");
        }
    }
}
