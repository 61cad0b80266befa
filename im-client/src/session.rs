//! A session: signs in, and keeps the access token fresh with the rotating refresh token.

use std::fmt;
use std::time::{Duration, Instant};

use im_protocol::{DeviceId, Terminal};
use parking_lot::Mutex;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::{Http, HttpError};

/// A token is renewed when this many hundredths of its life are over.
const RENEW_AT: u32 = 80;

/// Who signs in, and on what.
#[derive(Clone, Serialize)]
pub struct SignIn {
    /// The account.
    pub user: String,
    /// Its password. It is not shown and not kept.
    pub password: String,
    /// Device class.
    pub terminal: Terminal,
    /// Which device: random, kept per installation.
    pub device: DeviceId,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("user", &self.user).field("device", &self.device).finish_non_exhaustive()
    }
}

/// A signed-in session.
pub struct Session {
    http: Http,
    tokens: Mutex<Tokens>,
}

#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    refresh_token: String,
    /// Seconds.
    expires_in: u64,
}

impl From<Issued> for Tokens {
    fn from(issued: Issued) -> Self {
        let life = Duration::from_secs(issued.expires_in);
        Self {
            access: issued.access_token,
            refresh: issued.refresh_token,
            renew_at: Instant::now() + life * RENEW_AT / 100,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Signs in.
    pub async fn sign_in(http: Http, who: &SignIn) -> Result<Self, HttpError> {
        let issued: Issued = http.call(Method::POST, "/v1/sessions", None, Some(who)).await?;
        Ok(Self { http, tokens: Mutex::new(issued.into()) })
    }

    /// The server it is a session of.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// An access token that is good for a while. An error with a code means that the session is over.
    pub async fn access_token(&self) -> Result<String, HttpError> {
        let tokens = self.tokens.lock().clone();
        if Instant::now() < tokens.renew_at {
            return Ok(tokens.access);
        }
        // Two that refresh at once get the same successor: the server answers the old token with it for a minute.
        let body = serde_json::json!({ "refresh_token": tokens.refresh });
        let issued: Issued = self.http.call(Method::POST, "/v1/sessions/refresh", None, Some(&body)).await?;
        let fresh = Tokens::from(issued);
        let access = fresh.access.clone();
        *self.tokens.lock() = fresh;
        Ok(access)
    }

    /// The server did not take this token: the next one asked for is a fresh one.
    pub fn refused(&self, token: &str) {
        let mut tokens = self.tokens.lock();
        if tokens.access == token {
            tokens.renew_at = Instant::now();
        }
    }

    /// The server ended a connection over its token: the next one asked for is a fresh one.
    pub fn expire(&self) {
        self.tokens.lock().renew_at = Instant::now();
    }

    /// How long until the token should be renewed.
    pub fn renew_in(&self) -> Duration {
        self.tokens.lock().renew_at.saturating_duration_since(Instant::now())
    }

    /// Calls the API as this user; `path` with its query, if any. `T` is `()` where the answer has no body.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized + Sync)>,
    ) -> Result<T, HttpError> {
        let token = self.access_token().await?;
        self.http.call(method, path, Some(&token), body).await
    }

    /// Ends the session: its tokens are dead.
    pub async fn sign_out(&self) -> Result<(), HttpError> {
        self.call(Method::DELETE, "/v1/sessions/current", None::<&()>).await
    }
}
