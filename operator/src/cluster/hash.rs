//! Hashes that stand in annotations.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Tells a content from any other: 32 hexadecimal digits of its SHA-256.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().take(16).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}
