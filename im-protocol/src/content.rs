//! A message's content: a JSON object, checked and made compact without building a tree of it.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::text::{Controls, forbidden_character};

/// A JSON object as compact text. Two contents are equal when their JSON values are.
#[derive(Clone)]
pub struct Content(Arc<RawValue>);

/// Why a text is no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not a JSON object.
    #[error("must be a JSON object")]
    NotAnObject,
    /// JSON that cannot be stored: control characters, lone surrogates, numbers out of range, or too deeply nested.
    #[error("{0}")]
    Invalid(String),
}

impl Content {
    /// Reads a client's content: checks every string in it and drops white space and needless escapes.
    pub fn read(raw: &RawValue) -> Result<Self, ContentError> {
        let text = raw.get();
        if !text.starts_with('{') {
            return Err(ContentError::NotAnObject);
        }
        let mut compact = Vec::with_capacity(text.len());
        Compact(&mut compact)
            .deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|e| ContentError::Invalid(e.to_string()))?;
        let compact = String::from_utf8(compact).map_err(|e| ContentError::Invalid(e.to_string()))?;
        Self::from_compact(compact)
    }

    /// Takes text that [`Content::read`] made before, for instance from a database.
    pub fn from_compact(text: String) -> Result<Self, ContentError> {
        let raw = RawValue::from_string(text).map_err(|e| ContentError::Invalid(e.to_string()))?;
        if raw.get().starts_with('{') { Ok(Self(Arc::from(raw))) } else { Err(ContentError::NotAnObject) }
    }

    /// Content made by the server itself.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, ContentError> {
        Self::from_compact(serde_json::to_string(value).map_err(|e| ContentError::Invalid(e.to_string()))?)
    }

    /// The text of a `text` message.
    pub fn text(text: &str) -> Self {
        let value = serde_json::json!({ "text": text });
        Self::from_compact(value.to_string()).expect("an object with a string is a content")
    }

    /// `{}`: what a recalled message has left.
    pub fn empty() -> Self {
        Self::from_compact("{}".to_owned()).expect("{} is a content")
    }

    /// The compact JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The field `text`, if it is a string.
    pub fn text_field(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Text {
            text: Option<Value>,
        }
        match serde_json::from_str::<Text>(self.as_str()).ok()?.text? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        if self.as_str() == other.as_str() {
            return true;
        }
        match (serde_json::from_str::<Value>(self.as_str()), serde_json::from_str::<Value>(other.as_str())) {
            (Ok(a), Ok(b)) => same(&a, &b),
            _ => false,
        }
    }
}

/// Whether two JSON values are one. Unlike serde's, a number is the same with and without a fraction of zero: a client
/// that reads `1.0` and writes it again may say `1`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.is_f64() != b.is_f64() && a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        if raw.get().starts_with('{') {
            Ok(Self(Arc::from(raw)))
        } else {
            Err(serde::de::Error::custom(ContentError::NotAnObject))
        }
    }
}

impl JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "What the message says; {\"text\":\"…\"} for text."
        })
    }
}

/// Writes the value a deserializer sees as compact JSON. Only what is being copied is held in memory, so a small text
/// cannot blow up into a large tree.
struct Compact<'a>(&'a mut Vec<u8>);

impl Compact<'_> {
    fn write<T: Serialize + ?Sized, E: serde::de::Error>(self, value: &T) -> Result<(), E> {
        serde_json::to_writer(self.0, value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Compact<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Compact<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.write(&value)
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.write(&value)
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.write(&value)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.write(&value)
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.write(&())
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if let Some(c) = forbidden_character(text, Controls::TabAndNewline) {
            return Err(E::custom(format_args!("control character U+{:04X} is not allowed", u32::from(c))));
        }
        self.write(text)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        let start = self.0.len();
        while items.next_element_seed(Compact(self.0))?.is_some() {
            self.0.push(b',');
        }
        close(self.0, start, b']');
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.0.push(b'{');
        let start = self.0.len();
        while fields.next_key_seed(Compact(self.0))?.is_some() {
            self.0.push(b':');
            fields.next_value_seed(Compact(self.0))?;
            self.0.push(b',');
        }
        close(self.0, start, b'}');
        Ok(())
    }
}

/// Ends a list that began at `start`: the last item's comma becomes the bracket.
fn close(out: &mut Vec<u8>, start: usize, bracket: u8) {
    if out.len() > start {
        out.pop();
    }
    out.push(bracket);
}
