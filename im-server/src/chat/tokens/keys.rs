//! The keys of our own tokens: each verifies, one signs.

use std::collections::BTreeMap;

use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::chat::Secret;

/// Bytes of a secret that signs, at least: below, it can be guessed.
pub const KEY_BYTES: usize = 32;

/// Bytes of a key at most: what is larger is no key.
const LONGEST: usize = 4_096;

/// The id of the only key of a server that has a single secret.
const SINGLE: &str = "default";

/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// There is none.
    #[error("there is no key: put in a file for each, its name is the key's id")]
    None,
    /// One can be guessed.
    #[error(
        "the key {name} has {bytes} characters, expected at least {KEY_BYTES}: make one with `openssl rand -hex 32`"
    )]
    Short {
        /// Its id.
        name: String,
        /// How long it is.
        bytes: usize,
    },
    /// One is something else.
    #[error("{name} has {bytes} bytes, expected at most {LONGEST}: is it a key?")]
    Long {
        /// Its id.
        name: String,
        /// How long it is.
        bytes: usize,
    },
    /// The one that should sign is missing.
    #[error("the signing key {signing} is missing: there is {}", found.join(", "))]
    NoSigningKey {
        /// Its id.
        signing: String,
        /// The ids of those there are.
        found: Vec<String>,
    },
}

/// A key by which tokens are signed and verified.
pub(super) struct Key {
    pub(super) secret: Secret,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
}

impl Key {
    fn new(secret: Secret) -> Self {
        let (encoding, decoding) = (EncodingKey::from_secret(secret.bytes()), DecodingKey::from_secret(secret.bytes()));
        Self { secret, encoding, decoding }
    }
}

/// Keys by their ids. The one that signs is among them.
pub struct Keys {
    signing: String,
    by_id: BTreeMap<String, Key>,
}

impl Keys {
    /// A single key, of whatever length.
    pub fn single(secret: Secret) -> Self {
        Self { signing: SINGLE.to_owned(), by_id: BTreeMap::from([(SINGLE.to_owned(), Key::new(secret))]) }
    }

    /// The keys of these ids and contents, of which `signing` signs. An end of line after a key is none of it.
    pub fn new(contents: impl IntoIterator<Item = (String, Vec<u8>)>, signing: &str) -> Result<Self, KeysError> {
        let mut by_id = BTreeMap::new();
        for (name, mut content) in contents {
            let bytes = line_length(&content);
            if bytes < KEY_BYTES {
                return Err(KeysError::Short { name, bytes });
            }
            if bytes > LONGEST {
                return Err(KeysError::Long { name, bytes });
            }
            content.truncate(bytes);
            by_id.insert(name, Key::new(Secret::new(content)));
        }
        if by_id.is_empty() {
            return Err(KeysError::None);
        }
        if !by_id.contains_key(signing) {
            let found = by_id.into_keys().collect();
            return Err(KeysError::NoSigningKey { signing: signing.to_owned(), found });
        }
        Ok(Self { signing: signing.to_owned(), by_id })
    }

    /// Their ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(String::as_str)
    }

    /// The one that signs, and its id.
    pub(super) fn signing(&self) -> (&str, &Key) {
        (&self.signing, &self.by_id[&self.signing])
    }

    /// The one that verifies a token whose header has this key id. We sign no token without one, so a token that has none
    /// is not looked for among keys that no longer sign.
    pub(super) fn verifying(&self, id: Option<&str>) -> Option<&Key> {
        self.by_id.get(id.unwrap_or(&self.signing))
    }

    /// All of them, the one that signs first.
    pub(super) fn signing_first(&self) -> impl Iterator<Item = &Key> {
        let others = self.by_id.iter().filter(|(id, _)| **id != self.signing).map(|(_, key)| key);
        std::iter::once(self.signing().1).chain(others)
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        fn contents(keys: &Keys) -> impl Iterator<Item = (&str, &[u8])> {
            keys.by_id.iter().map(|(id, key)| (id.as_str(), key.secret.bytes()))
        }
        self.signing == other.signing && contents(self).eq(contents(other))
    }
}

/// How long a line is without its end.
fn line_length(line: &[u8]) -> usize {
    line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(named: &[(&str, &str)], signing: &str) -> Result<Keys, KeysError> {
        Keys::new(named.iter().map(|(name, key)| ((*name).to_owned(), key.as_bytes().to_vec())), signing)
    }

    const A: &str = "a-key-that-has-32-characters-aaa";
    const B: &str = "b-key-that-has-32-characters-bbb";

    #[test]
    fn an_end_of_line_is_no_part_of_a_key() {
        let said = keys(&[("a", &format!("{}\r\n", &A[1..]))], "a").err();
        assert_eq!(said, Some(KeysError::Short { name: "a".to_owned(), bytes: 31 }));
        assert!(keys(&[("a", &format!("{A}\n"))], "a").ok() == keys(&[("a", A)], "a").ok());
    }

    #[test]
    fn what_is_no_key_is_named() {
        let long = "x".repeat(LONGEST + 1);
        let said = |named: &[(&str, &str)]| keys(named, "a").err().unwrap().to_string();
        assert_eq!(said(&[]), "there is no key: put in a file for each, its name is the key's id");
        assert!(said(&[("a", A), ("b", &long)]).starts_with("b has 4097 bytes, expected at most 4096"));
        assert_eq!(said(&[("b", B), ("c", A)]), "the signing key a is missing: there is b, c");
        assert!(!said(&[("a", "hunter2")]).contains("hunter2"));
    }

    #[test]
    fn keys_are_the_same_if_ids_contents_and_the_signing_one_are() {
        let two = |a, b, signing| keys(&[("a", a), ("b", b)], signing).ok().unwrap();
        assert!(two(A, B, "a") == two(A, B, "a"));
        assert!(two(A, B, "a") != two(A, B, "b"));
        assert!(two(A, B, "a") != two(A, A, "a"));
        assert!(two(A, B, "a") != keys(&[("a", A)], "a").ok().unwrap());
    }

    #[test]
    fn the_signing_key_comes_first_and_none_is_left_out() {
        let keys = keys(&[("a", A), ("b", B), ("c", A)], "b").ok().unwrap();
        let order: Vec<_> = keys.signing_first().map(|key| key.secret.bytes()).collect();
        assert_eq!(order, [B, A, A].map(str::as_bytes));
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
