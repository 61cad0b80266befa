//! Access tokens (JWT, HS256, minutes) and refresh tokens (opaque, each exchanged once).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use im_protocol::{ErrorCode, TimeMs, UserId, WireError};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Result;
use super::secret::Secret;
use crate::store::SessionId;

/// The longest life of an access token: a revoked session is dead in all caches by then.
const LONGEST_ACCESS: Duration = Duration::from_mins(15);
/// The key's id in a token's header. Verification takes every key there is; there is one.
const KEY_ID: &str = "default";

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    #[serde(rename = "sub")]
    pub user: UserId,
    /// By which session.
    #[serde(rename = "sid")]
    session: String,
    /// When it was made: Unix seconds.
    iat: i64,
    /// When it expires: Unix seconds.
    exp: i64,
}

impl Claims {
    /// By which session.
    pub fn session(&self) -> SessionId {
        SessionId(self.session.clone())
    }

    /// When it expires: Unix milliseconds.
    pub fn expires(&self) -> TimeMs {
        self.exp.saturating_mul(1000)
    }
}

/// A fresh access token.
pub(super) struct AccessToken {
    pub(super) token: String,
    /// How long it lives.
    pub(super) lifetime: Duration,
}

/// Makes and checks tokens.
pub struct Tokens {
    secret: Secret,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Tokens {
    /// Tokens signed with `secret`; every server of a cluster has the same.
    pub fn new(secret: Secret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Whoever made the token has the same clock as whoever checks it, or a cluster's synchronised one.
        validation.leeway = 0;
        // Expired means from its very second on (RFC 7519 §4.1.4).
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            encoding: EncodingKey::from_secret(secret.bytes()),
            decoding: DecodingKey::from_secret(secret.bytes()),
            validation,
            secret,
        }
    }

    pub(super) fn access(
        &self,
        user: &UserId,
        session: &SessionId,
        now: TimeMs,
        lifetime: Duration,
    ) -> Result<AccessToken> {
        let lifetime = lifetime.min(LONGEST_ACCESS);
        let iat = now / 1000;
        let exp = iat.saturating_add_unsigned(lifetime.as_secs());
        let claims = Claims { user: user.clone(), session: session.0.clone(), iat, exp };
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(|error| {
            tracing::error!(%error, "an access token could not be signed");
            WireError::new(ErrorCode::Internal, "the server has a fault; its log has the details")
        })?;
        Ok(AccessToken { token, lifetime })
    }

    /// What an access token says, if it is one of ours. `token_expired` when its time is over, else `unauthorized`.
    pub fn verify(&self, token: &str) -> Result<Claims> {
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map(|data| data.claims).map_err(
            |error| match error.kind() {
                ErrorKind::ExpiredSignature => {
                    WireError::new(ErrorCode::TokenExpired, "the access token has expired: refresh it")
                }
                _ => WireError::new(ErrorCode::Unauthorized, "the access token is not good: sign in"),
            },
        )
    }

    /// What takes a refresh token's place: always the same, so that an answer that got lost can be given again.
    pub(super) fn successor(&self, refresh_token: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.bytes()).expect("HMAC takes keys of any length");
        mac.update(b"refresh");
        mac.update(refresh_token.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

/// A session's first refresh token: 256 random bits.
pub(super) fn new_refresh_token() -> String {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is stored of a refresh token.
pub(super) fn refresh_hash(refresh_token: &str) -> Vec<u8> {
    Sha256::digest(refresh_token).to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::now_ms;
    use super::*;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(Secret::new(secret))
    }

    fn token(of: &Tokens, made: TimeMs) -> String {
        let (user, session) = (UserId::parse("alice").unwrap(), SessionId("s1".into()));
        of.access(&user, &session, made, Duration::from_mins(5)).unwrap().token
    }

    #[test]
    fn an_access_token_says_who_by_which_session_and_until_when() {
        let tokens = tokens("secret");
        let now = now_ms();
        let claims = tokens.verify(&token(&tokens, now)).unwrap();
        assert_eq!((claims.user.as_str(), claims.session()), ("alice", SessionId("s1".into())));
        assert_eq!(claims.expires(), now / 1000 * 1000 + 300_000);
    }

    #[test]
    fn an_access_token_never_lives_longer_than_15_minutes() {
        let (user, session) = (UserId::parse("alice").unwrap(), SessionId("s1".into()));
        let access = tokens("secret").access(&user, &session, now_ms(), Duration::from_hours(9)).unwrap();
        assert_eq!(access.lifetime, Duration::from_mins(15));
    }

    #[test]
    fn an_expired_token_is_told_from_a_bad_one() {
        let tokens = tokens("secret");
        let expired = token(&tokens, now_ms() - 300_000);
        assert_eq!(tokens.verify(&expired).unwrap_err().code, ErrorCode::TokenExpired);
        for bad in ["", "rubbish", "a.b.c", &expired[..expired.len() - 2]] {
            assert_eq!(tokens.verify(bad).unwrap_err().code, ErrorCode::Unauthorized, "{bad:?}");
        }
    }

    #[test]
    fn a_token_of_another_secret_is_not_good() {
        let error = tokens("secret").verify(&token(&tokens("other"), now_ms())).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthorized);
    }

    #[test]
    fn an_unsigned_token_is_not_good() {
        let claims = r#"{"sub":"alice","sid":"s1","iat":1,"exp":99999999999}"#;
        let token = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"JWT"}"#),
            URL_SAFE_NO_PAD.encode(claims.as_bytes())
        );
        assert_eq!(tokens("secret").verify(&token).unwrap_err().code, ErrorCode::Unauthorized);
    }

    #[test]
    fn a_successor_is_the_same_every_time_and_depends_on_token_and_secret() {
        let first = new_refresh_token();
        let successor = tokens("secret").successor(&first);
        assert_eq!(successor, tokens("secret").successor(&first));
        assert_ne!(successor, tokens("other").successor(&first));
        assert_ne!(successor, tokens("secret").successor(&successor));
    }

    #[test]
    fn refresh_tokens_have_256_random_bits() {
        let (a, b) = (new_refresh_token(), new_refresh_token());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
    }
}
