//! Between stored texts and values, whatever the database.

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;

use super::{Result, StoreError};

/// A value as JSON text.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("ids, numbers and texts are JSON")
}

/// A number as a database has it. What is beyond its range compares like its largest number.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value that was checked before it was stored.
pub(super) fn parse<T>(text: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Broken(format!("{text:?} {error}")))
}

/// A value of one of our own enums by its name, as serde spells it.
pub(super) fn from_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text))
        .map_err(|error| StoreError::Broken(error.to_string()))
}

/// The name of a value of one of our own enums, as serde spells it.
pub(super) fn to_name<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("an enum without fields is a JSON string, not {other:?}"),
    }
}

/// JSON of our own making.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Broken(error.to_string()))
}

/// `text` as part of a LIKE pattern with the escape character `\`.
pub(super) fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
