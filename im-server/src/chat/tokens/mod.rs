//! Access tokens, and who they claim to speak for. A server takes one kind: its own, or those of an identity provider.

mod keys;
mod own;
mod provider;
mod refresh;

use std::sync::Arc;

use im_protocol::{ErrorCode, WireError};
use jsonwebtoken::errors::ErrorKind;
use tokio::sync::watch;

pub use keys::{KEY_BYTES, Keys, KeysError};
pub(super) use own::OwnTokens;
pub use provider::{Checks, ProviderKeys, Refresher};
use provider::{ProviderTokens, Rhythm};
pub(super) use refresh::{new_refresh_token, refresh_hash};

use super::secret::Secret;
use super::sessions::Identity;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Its time is over.
    #[error("the access token has expired: refresh it")]
    Expired,
    /// Its time has not come.
    #[error("the access token is not good yet: is a clock wrong?")]
    Early,
    /// It is no token, or its signature is not that of its key.
    #[error("the access token is not good: sign in")]
    Invalid,
    /// Its header names no key that is known.
    #[error("the access token is signed with a key that is not known: sign in")]
    UnknownKey,
    /// It lacks a claim, or the claim cannot be read.
    #[error("the access token is not good: its claim {0} is missing or cannot be read")]
    Claim(String),
    /// It was made for another service.
    #[error("the access token is not good: it was made for another audience")]
    Audience,
    /// Somebody else made it.
    #[error("the access token is not good: another issuer made it")]
    Issuer,
    /// Whom it names cannot be a user.
    #[error("the access token is not good: its sub cannot be the id of a user: {0}")]
    Subject(String),
    /// Its key may be one that could not be asked for.
    #[error("the access token's key is not known, and the identity provider is out of reach: try again")]
    ProviderAway,
}

impl BadToken {
    /// The label of the metric.
    fn reason(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Invalid => "invalid",
            Self::UnknownKey => "unknown_key",
            Self::Claim(_) => "claim",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Subject(_) => "subject",
            Self::ProviderAway => "provider_away",
        }
    }
}

impl From<jsonwebtoken::errors::Error> for BadToken {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        match error.into_kind() {
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::Early,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => Self::Claim(claim),
            _ => Self::Invalid,
        }
    }
}

impl From<BadToken> for WireError {
    fn from(bad: BadToken) -> Self {
        let code = match bad {
            BadToken::Expired => ErrorCode::TokenExpired,
            BadToken::ProviderAway => ErrorCode::Unavailable,
            _ => ErrorCode::Unauthorized,
        };
        Self::new(code, bad.to_string())
    }
}

/// What checks access tokens, and makes them where they are ours.
pub enum Tokens {
    /// Our own.
    Own(Box<OwnTokens>),
    /// Those of an identity provider, which also signs people in.
    Provider(Box<ProviderTokens>),
}

impl Tokens {
    /// Our own, signed with `secret`; every server of a cluster has the same.
    pub fn new(secret: Secret) -> Self {
        Self::following(watch::channel(Arc::new(Keys::single(secret))).1)
    }

    /// Our own, signed with keys that may be exchanged while the server runs.
    pub fn following(keys: watch::Receiver<Arc<Keys>>) -> Self {
        Self::Own(Box::new(OwnTokens::new(keys)))
    }

    /// Those of an identity provider with these keys, and the handle to renew the keys with.
    pub fn of_provider(keys: ProviderKeys, checks: &Checks) -> (Self, Refresher) {
        let (tokens, refresher) = ProviderTokens::new(keys, checks, Rhythm::DEFAULT);
        (Self::Provider(Box::new(tokens)), refresher)
    }

    /// Who a token claims to speak for, if it is good at this moment.
    pub async fn verify(&self, token: &str) -> Result<Identity, BadToken> {
        let verified = match self {
            Self::Own(own) => own.verify(token),
            Self::Provider(provider) => provider.verify(token).await,
        };
        verified.inspect_err(|bad| metrics::counter!("im_tokens_refused_total", "reason" => bad.reason()).increment(1))
    }
}
