//! Absent and `null` mean the same, also where a field has a default.

use serde::{Deserialize, Deserializer};

/// The value, or the default for `null`. Goes with `#[serde(default)]`, which sees to absence.
pub(crate) fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
