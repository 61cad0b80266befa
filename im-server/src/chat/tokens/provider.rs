//! Access tokens of an identity provider: JWT, signed with one of the keys that it publishes as a JWK Set (RFC 7517).

use std::sync::Arc;
use std::time::Duration;

use im_protocol::UserId;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::BadToken;
use crate::chat::sessions::{Grant, Identity};

/// How often the provider is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// Between two looks at its keys: one that it takes away is gone here that soon.
    look: Duration,
    /// A token with an unknown key asks for a look, but not sooner after the last one: anybody can make up such tokens.
    ask: Duration,
    /// How long such a token waits for the look; longer than one takes.
    patience: Duration,
}

impl Rhythm {
    pub(super) const DEFAULT: Self =
        Self { look: Duration::from_mins(10), ask: Duration::from_secs(30), patience: Duration::from_secs(7) };
}

/// The clock of the provider may be ahead so much: seconds.
const SKEW_SECONDS: u64 = 30;

/// What has to stand in a token besides who and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// For whom it was made: one of these. Empty: for anyone.
    pub audiences: Vec<String>,
    /// Who made it.
    pub issuer: Option<String>,
}

impl Checks {
    fn validation(&self) -> Validation {
        let mut validation = Validation {
            leeway: SKEW_SECONDS,
            // The leeway is for tokens that come early. Expired means from its very second on (RFC 7519 §4.1.4), as with
            // our own: connections end then.
            reject_tokens_expiring_in_less_than: SKEW_SECONDS + 1,
            validate_nbf: true,
            validate_aud: !self.audiences.is_empty(),
            ..Validation::default()
        };
        let mut required = vec!["exp", "sub"];
        if validation.validate_aud {
            validation.set_audience(&self.audiences);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// The keys of a provider that are of use: those that sign with RS256, ES256 or `EdDSA`.
pub struct ProviderKeys(Vec<Key>);

/// A JWK Set. One key that is not understood does not make the others useless.
#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl ProviderKeys {
    /// The keys in the text of a JWK Set, perhaps none of use. An error is a text that is no such set.
    pub fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let JwkSet { keys } = serde_json::from_slice(text)?;
        Ok(Self(keys.into_iter().filter_map(|key| of_use(&serde_json::from_value(key).ok()?)).collect()))
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The key of a token whose header has this key id. A token without one is only held against a key that is the only
    /// one: to try all of them would be work at the wish of whoever makes tokens up.
    fn of(&self, id: Option<&str>) -> Option<&Key> {
        match (id, &self.0[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// A key, under the one algorithm that it is for: a token's own word on that does not count (RFC 8725 §3.1).
fn of_use(jwk: &Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|said| said != name) {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithm, decoding: DecodingKey::from_jwk(jwk).ok()? })
}

/// The newest look at the provider.
#[derive(Clone)]
struct Look {
    /// The last good keys.
    keys: Arc<ProviderKeys>,
    /// Whether this look brought them.
    reached: bool,
    at: Instant,
    number: u64,
}

/// Checks tokens of an identity provider.
pub struct ProviderTokens {
    look: watch::Receiver<Look>,
    wanted: Arc<Notify>,
    rhythm: Rhythm,
    validation: Validation,
}

/// What a token says that is of use here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: Value,
    /// Unix seconds, perhaps with a fraction (RFC 7519 §2).
    exp: Value,
    name: Value,
}

impl ProviderTokens {
    pub(super) fn new(keys: ProviderKeys, checks: &Checks, rhythm: Rhythm) -> (Self, Refresher) {
        let look = Look { keys: Arc::new(keys), reached: true, at: Instant::now(), number: 0 };
        let (publish, look) = watch::channel(look);
        let wanted = Arc::new(Notify::new());
        let tokens = Self { look, wanted: wanted.clone(), rhythm, validation: checks.validation() };
        (tokens, Refresher { look: publish, wanted, rhythm })
    }

    /// What a token says, if it is one of the provider's. One with a key that is not known yet waits for a look at those
    /// that the provider has now.
    pub(super) async fn verify(&self, token: &str) -> Result<Identity, BadToken> {
        let header = jsonwebtoken::decode_header(token)?;
        let id = header.kid.as_deref();
        let mut look = self.look.borrow().clone();
        if id.is_some() && look.keys.of(id).is_none() {
            look = self.next_look(look).await;
        }
        match look.keys.of(id) {
            Some(key) => self.check(token, key),
            None if look.reached => Err(BadToken::UnknownKey),
            None => Err(BadToken::ProviderAway),
        }
    }

    /// The look after `last`, unless that one is too recent to ask for another.
    async fn next_look(&self, last: Look) -> Look {
        if last.at.elapsed() < self.rhythm.ask {
            return last;
        }
        self.wanted.notify_one();
        let mut newest = self.look.clone();
        match timeout(self.rhythm.patience, newest.wait_for(|look| look.number > last.number)).await {
            Ok(Ok(look)) => look.clone(),
            Ok(Err(_)) | Err(_) => Look { reached: false, ..last },
        }
    }

    fn check(&self, token: &str, key: &Key) -> Result<Identity, BadToken> {
        let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
        let Claims { sub, exp, name } = jsonwebtoken::decode(token, &key.decoding, &validation)?.claims;
        let unreadable = |claim: &str| BadToken::Claim(claim.to_owned());
        let (sub, exp) =
            (sub.as_str().ok_or_else(|| unreadable("sub"))?, exp.as_f64().ok_or_else(|| unreadable("exp"))?);
        let user = UserId::parse(sub).map_err(|error| BadToken::Subject(error.to_string()))?;
        let name = name.as_str().map(str::to_owned);
        // What is too large for a time saturates.
        #[allow(clippy::cast_possible_truncation)]
        let expires = (exp * 1000.0) as i64;
        Ok(Identity { user, grant: Grant::Provider { name }, expires })
    }
}

/// Where new looks at the provider are told.
pub struct Refresher {
    look: watch::Sender<Look>,
    wanted: Arc<Notify>,
    rhythm: Rhythm,
}

impl Refresher {
    /// Waits until it is time for a look: 10 minutes after the last one, or when a token asks for it.
    pub async fn due(&self) {
        let last = self.look.borrow().at;
        loop {
            tokio::select! {
                () = sleep_until(last + self.rhythm.look) => return,
                // Who asked while a look was under way has its answer.
                () = self.wanted.notified() => if last.elapsed() >= self.rhythm.ask { return },
            }
        }
    }

    /// A look found these keys; or, with `None`, it failed, and the last good ones stay.
    pub fn looked(&self, keys: Option<ProviderKeys>) {
        self.look.send_modify(|look| {
            look.reached = keys.is_some();
            if let Some(keys) = keys {
                look.keys = Arc::new(keys);
            }
            look.at = Instant::now();
            look.number += 1;
        });
    }
}

#[cfg(test)]
mod tests;
