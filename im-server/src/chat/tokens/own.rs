//! Our own access tokens: JWT, HS256, minutes.

use std::sync::Arc;
use std::time::Duration;

use im_protocol::{ErrorCode, TimeMs, UserId, WireError};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::BadToken;
use super::keys::Keys;
use super::refresh::{refresh_hash, successor};
use crate::chat::sessions::{Grant, Identity};
use crate::chat::{self, now_ms};
use crate::store::SessionId;

/// The longest life of an access token: a revoked session is dead in all caches by then.
const LONGEST_ACCESS: Duration = Duration::from_mins(15);

/// What an access token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    /// Who.
    sub: UserId,
    /// By which session.
    sid: String,
    /// When it was made: Unix seconds.
    iat: i64,
    /// When it expires: Unix seconds.
    exp: i64,
}

/// A fresh access token.
pub(crate) struct AccessToken {
    pub(crate) token: String,
    /// How long it lives.
    pub(crate) lifetime: Duration,
}

/// Makes and checks our own tokens.
pub struct OwnTokens {
    keys: watch::Receiver<Arc<Keys>>,
    validation: Validation,
}

impl OwnTokens {
    pub(super) fn new(keys: watch::Receiver<Arc<Keys>>) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Whoever made the token has the same clock as whoever checks it, or a cluster's synchronised one.
        validation.leeway = 0;
        // Expired means from its very second on (RFC 7519 §4.1.4).
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self { keys, validation }
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.borrow().clone()
    }

    pub(crate) fn access(
        &self,
        user: &UserId,
        session: &SessionId,
        now: TimeMs,
        lifetime: Duration,
    ) -> chat::Result<AccessToken> {
        let lifetime = lifetime.min(LONGEST_ACCESS);
        let iat = now / 1000;
        let exp = iat.saturating_add_unsigned(lifetime.as_secs());
        let claims = Claims { sub: user.clone(), sid: session.0.clone(), iat, exp };
        let keys = self.keys();
        let (id, key) = keys.signing();
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(|error| {
            tracing::error!(%error, "an access token could not be signed");
            WireError::new(ErrorCode::Internal, "the server has a fault; its log has the details")
        })?;
        Ok(AccessToken { token, lifetime })
    }

    /// What an access token says, if it is one of ours.
    pub(super) fn verify(&self, token: &str) -> Result<Identity, BadToken> {
        let header = jsonwebtoken::decode_header(token)?;
        let keys = self.keys();
        let key = keys.verifying(header.kid.as_deref()).ok_or(BadToken::UnknownKey)?;
        let Claims { sub, sid, exp, .. } = jsonwebtoken::decode(token, &key.decoding, &self.validation)?.claims;
        // We make none that lives longer. Whoever got hold of a key is out this long after it was taken away, whatever
        // token keeps their connection.
        let latest = now_ms().saturating_add_unsigned(LONGEST_ACCESS.as_secs() * 1000);
        let expires = exp.saturating_mul(1000).min(latest);
        Ok(Identity { user: sub, grant: Grant::Session(SessionId(sid)), expires })
    }

    /// What takes a refresh token's place under the key that signs.
    pub(crate) fn successor(&self, refresh_token: &str) -> String {
        successor(refresh_token, &self.keys().signing().1.secret)
    }

    /// What took a refresh token's place, by its hash: it may have been derived while another key signed, or by a server
    /// with which another one does.
    pub(crate) fn successor_of_hash(&self, refresh_token: &str, hash: &[u8]) -> Option<String> {
        let keys = self.keys();
        let mut candidates = keys.signing_first().map(|key| successor(refresh_token, &key.secret));
        candidates.find(|candidate| refresh_hash(candidate) == hash)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::Secret;
    use super::*;

    const OLD: &str = "the-old-key-has-32-characters-or-more";
    const NEW: &str = "the-new-key-has-32-characters-or-more";

    fn tokens(secret: &str) -> OwnTokens {
        OwnTokens::new(watch::channel(Arc::new(Keys::single(Secret::new(secret)))).1)
    }

    fn keys(named: &[(&str, &str)], signing: &str) -> Arc<Keys> {
        let named = named.iter().map(|(name, key)| ((*name).to_owned(), key.as_bytes().to_vec()));
        Arc::new(Keys::new(named, signing).ok().unwrap())
    }

    fn keyed(named: &[(&str, &str)], signing: &str) -> OwnTokens {
        OwnTokens::new(watch::channel(keys(named, signing)).1)
    }

    fn token(of: &OwnTokens, made: TimeMs) -> String {
        let (user, session) = (UserId::parse("alice").unwrap(), SessionId("s1".into()));
        of.access(&user, &session, made, Duration::from_mins(5)).unwrap().token
    }

    /// A token that `access` would not make.
    fn made_up(exp: i64, secret: &str) -> String {
        let claims = Claims { sub: UserId::parse("alice").unwrap(), sid: "s1".into(), iat: 0, exp };
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    }

    #[test]
    fn an_access_token_says_who_by_which_session_and_until_when() {
        let tokens = tokens("secret");
        let now = now_ms();
        let identity = tokens.verify(&token(&tokens, now)).unwrap();
        assert_eq!((identity.user.as_str(), identity.grant), ("alice", Grant::Session(SessionId("s1".into()))));
        assert_eq!(identity.expires, now / 1000 * 1000 + 300_000);
    }

    #[test]
    fn an_access_token_never_lives_longer_than_15_minutes() {
        let (user, session) = (UserId::parse("alice").unwrap(), SessionId("s1".into()));
        let access = tokens("secret").access(&user, &session, now_ms(), Duration::from_hours(9)).unwrap();
        assert_eq!(access.lifetime, Duration::from_mins(15));
    }

    #[test]
    fn a_token_that_says_it_lives_longer_is_good_for_15_minutes() {
        let before = now_ms();
        let expires = tokens("secret").verify(&made_up(i64::MAX / 2, "secret")).unwrap().expires;
        assert!((before + 900_000..=now_ms() + 900_000).contains(&expires), "{expires}");
    }

    #[test]
    fn an_expired_token_is_told_from_a_bad_one() {
        let tokens = tokens("secret");
        let expired = token(&tokens, now_ms() - 300_000);
        assert_eq!(tokens.verify(&expired), Err(BadToken::Expired));
        for bad in ["", "rubbish", "a.b.c", &expired[..expired.len() - 2]] {
            assert_eq!(tokens.verify(bad), Err(BadToken::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn a_token_of_another_secret_is_not_good() {
        assert_eq!(tokens("secret").verify(&token(&tokens("other"), now_ms())), Err(BadToken::Invalid));
    }

    #[test]
    fn an_unsigned_token_is_not_good() {
        let claims = r#"{"sub":"alice","sid":"s1","iat":1,"exp":99999999999}"#;
        let token = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"JWT"}"#),
            URL_SAFE_NO_PAD.encode(claims.as_bytes())
        );
        assert_eq!(tokens("secret").verify(&token), Err(BadToken::Invalid));
    }

    #[test]
    fn every_key_verifies_and_the_named_one_signs() {
        let (before, after) = (keyed(&[("old", OLD)], "old"), keyed(&[("old", OLD), ("new", NEW)], "new"));
        assert!(after.verify(&token(&before, now_ms())).is_ok());
        let signed = token(&after, now_ms());
        assert_eq!(jsonwebtoken::decode_header(&signed).unwrap().kid.as_deref(), Some("new"));
        assert!(after.verify(&signed).is_ok());
    }

    #[test]
    fn a_key_that_is_taken_away_takes_its_tokens_along() {
        let (publish, follow) = watch::channel(keys(&[("old", OLD), ("new", NEW)], "new"));
        let tokens = OwnTokens::new(follow);
        let (old, new) = (token(&keyed(&[("old", OLD)], "old"), now_ms()), token(&tokens, now_ms()));
        assert!(tokens.verify(&old).is_ok());
        publish.send_replace(keys(&[("new", NEW)], "new"));
        assert_eq!(tokens.verify(&old), Err(BadToken::UnknownKey));
        assert!(tokens.verify(&new).is_ok());
    }

    #[test]
    fn a_key_under_the_id_of_another_does_not_verify_its_tokens() {
        let token = token(&keyed(&[("a", OLD)], "a"), now_ms());
        assert_eq!(keyed(&[("a", NEW), ("b", OLD)], "a").verify(&token), Err(BadToken::Invalid));
    }

    #[test]
    fn a_token_without_a_key_id_is_held_against_the_signing_key_only() {
        let tokens = keyed(&[("old", OLD), ("new", NEW)], "new");
        assert!(tokens.verify(&made_up(99_999_999_999, NEW)).is_ok());
        assert_eq!(tokens.verify(&made_up(99_999_999_999, OLD)), Err(BadToken::Invalid));
    }

    #[test]
    fn a_successor_is_known_again_after_another_key_signs() {
        let (before, after) = (keyed(&[("old", OLD)], "old"), keyed(&[("old", OLD), ("new", NEW)], "new"));
        let first = super::super::new_refresh_token();
        let successor = before.successor(&first);
        assert_ne!(successor, after.successor(&first));
        assert_eq!(after.successor_of_hash(&first, &refresh_hash(&successor)), Some(successor.clone()));
        assert_eq!(keyed(&[("new", NEW)], "new").successor_of_hash(&first, &refresh_hash(&successor)), None);
    }
}
