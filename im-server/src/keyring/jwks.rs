//! The keys that an identity provider publishes, by HTTPS.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use reqwest::{Client, Url, redirect};

use super::fresh;
use crate::chat::{ProviderKeys, Refresher};

/// A provider that takes longer to let us in is out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Without the whole answer for this long it is out of reach.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer at most: sets of keys are a few KiB.
const LONGEST: usize = 256 * 1024;

/// Why an address is no place for keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksUrlError {
    /// It is none.
    #[error("expected an address like https://HOST/PATH/jwks.json")]
    Address,
    /// Anybody on the way could put keys of their own there.
    #[error(
        "expected https://: by http:// anybody on the way can exchange the keys (it is for this machine's own addresses)"
    )]
    Open,
    /// It holds a password.
    #[error("expected an address without user and password: the keys are public")]
    User,
}

/// Where a provider publishes its keys.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

impl FromStr for JwksUrl {
    type Err = JwksUrlError;

    fn from_str(text: &str) -> Result<Self, JwksUrlError> {
        let url = Url::parse(text).map_err(|_| JwksUrlError::Address)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(JwksUrlError::Address)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(JwksUrlError::User);
        }
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(host) => Ok(Self(url)),
            "http" => Err(JwksUrlError::Open),
            _ => Err(JwksUrlError::Address),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host_str().unwrap_or_default())
    }
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// There is no answer.
    #[error("jwks-url cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is no success.
    #[error("jwks-url answers with the status {0}, expected 200: redirects are not followed")]
    Status(u16),
    /// The answer is not what it should be.
    #[error("what jwks-url answers is no JWK Set: {0}")]
    NoSet(String),
    /// None of the keys is of use.
    #[error("what jwks-url answers has no key that signs with RS256, ES256 or EdDSA")]
    NoKey,
}

/// An identity provider's keys.
pub struct Jwks {
    http: Client,
    url: JwksUrl,
}

impl Jwks {
    /// Those at this address.
    pub fn new(url: JwksUrl) -> Result<Self, JwksError> {
        // An error means that the process has chosen a provider before, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("im-server/", env!("CARGO_PKG_VERSION")))
            // It could lead from https to http.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| JwksError::Client(error.to_string()))?;
        Ok(Self { http, url })
    }

    /// The keys there are now; at least one.
    pub async fn fetch(&self) -> Result<ProviderKeys, JwksError> {
        let unreachable = |error: reqwest::Error| JwksError::Unreachable(chain(&error.without_url()));
        let mut answer = self.http.get(self.url.0.clone()).send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(JwksError::Status(answer.status().as_u16()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST {
                return Err(JwksError::NoSet(format!("it is larger than {LONGEST} bytes")));
            }
        }
        let keys = ProviderKeys::parse(&text).map_err(|error| JwksError::NoSet(error.to_string()))?;
        if keys.count() == 0 { Err(JwksError::NoKey) } else { Ok(keys) }
    }

    /// Looks when it is time to, as long as it runs. What cannot be used leaves the last good keys where they are.
    pub async fn follow(self, refresher: Refresher) {
        fresh(true);
        loop {
            refresher.due().await;
            let fetched = self.fetch().await;
            fresh(fetched.is_ok());
            if let Err(error) = &fetched {
                tracing::warn!(%error, "the identity provider's keys cannot be had: the last good ones stay");
            }
            refresher.looked(fetched.ok());
        }
    }
}

/// An error with its causes.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for good in [
            "https://id.example.com/realms/chat/protocol/openid-connect/certs",
            "https://id:8443/?tenant=1",
            "http://localhost:8080/jwks",
            "http://127.0.0.1/jwks",
            "http://[::1]:1234/jwks",
        ] {
            assert!(good.parse::<JwksUrl>().is_ok(), "{good}");
        }
        for (bad, problem) in [
            ("", JwksUrlError::Address),
            ("id.example.com/jwks", JwksUrlError::Address),
            ("ftp://id.example.com/jwks", JwksUrlError::Address),
            ("http://id.example.com/jwks", JwksUrlError::Open),
            ("http://localhost.example.com/jwks", JwksUrlError::Open),
            ("http://10.0.0.1/jwks", JwksUrlError::Open),
            ("https://user:pa55@id.example.com/jwks", JwksUrlError::User),
        ] {
            assert_eq!(bad.parse::<JwksUrl>(), Err(problem), "{bad}");
        }
    }
}
