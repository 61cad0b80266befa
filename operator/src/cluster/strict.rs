//! Reads Kubernetes' types strictly: what a type does not have is a flaw and not forgotten.
//!
//! The types read what they know and leave out the rest, and fill in what must be there. So a value is read, written again,
//! and compared.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is wrong with a value. Fields are paths from the value on, like `.containers[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A field cannot take what it has.
    WrongType {
        /// The field.
        field: String,
        /// What there is, and what is expected.
        problem: String,
    },
    /// The type has no such field.
    Unknown {
        /// The field.
        field: String,
    },
    /// The type must have this field.
    Missing {
        /// The field.
        field: String,
    },
}

/// Checks that `value` has nothing that a `T` has not. It may lack what a `T` must have.
pub(crate) fn read<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), Flaw> {
    match lost(value, &again::<T>(value)?, String::new()) {
        Some(field) => Err(Flaw::Unknown { field }),
        None => Ok(()),
    }
}

/// Checks that `value` has all that a `T` must have.
pub(crate) fn complete<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), Flaw> {
    match lost(&again::<T>(value)?, value, String::new()) {
        Some(field) => Err(Flaw::Missing { field }),
        None => Ok(()),
    }
}

fn again<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, Flaw> {
    let read: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { format!(".{path}") };
        Flaw::WrongType { field, problem: error.into_inner().to_string() }
    })?;
    Ok(serde_json::to_value(&read).expect("a type of Kubernetes is JSON"))
}

/// The first field of `from` that `to` has not.
fn lost(from: &Value, to: &Value, place: String) -> Option<String> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => from.iter().find_map(|(name, value)| {
            let place = format!("{place}.{name}");
            match to.get(name) {
                Some(other) => lost(value, other, place),
                None => Some(place),
            }
        }),
        (Value::Array(from), Value::Array(to)) => {
            from.iter().zip(to).enumerate().find_map(|(n, (from, to))| lost(from, to, format!("{place}[{n}]")))
        }
        // Quantities are read from numbers as well, and written as text.
        (Value::Object(_) | Value::Array(_), _) => Some(place),
        _ => None,
    }
}
