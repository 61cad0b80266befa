//! Refresh tokens: opaque, each exchanged once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::chat::Secret;

/// A session's first refresh token: 256 random bits.
pub(crate) fn new_refresh_token() -> String {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is stored of a refresh token.
pub(crate) fn refresh_hash(refresh_token: &str) -> Vec<u8> {
    Sha256::digest(refresh_token).to_vec()
}

/// What takes a refresh token's place: always the same under the same key, so that an answer that got lost can be given
/// again.
pub(super) fn successor(refresh_token: &str, key: &Secret) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    mac.update(b"refresh");
    mac.update(refresh_token.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_the_same_every_time_and_depends_on_token_and_key() {
        let (key, other) = (Secret::new("key"), Secret::new("other"));
        let first = new_refresh_token();
        let next = successor(&first, &key);
        assert_eq!(next, successor(&first, &key));
        assert_ne!(next, successor(&first, &other));
        assert_ne!(next, successor(&next, &key));
    }

    #[test]
    fn refresh_tokens_have_256_random_bits() {
        let (a, b) = (new_refresh_token(), new_refresh_token());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
    }
}
