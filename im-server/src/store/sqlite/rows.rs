//! Between columns and values.

use std::fmt::Display;
use std::str::FromStr;

use im_protocol::message::Body;
use im_protocol::{Content, Message, UserId};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::store::{Result, StoreError};

/// The columns that [`message`] reads, of `messages m` joined with its `conversations c`.
macro_rules! message_columns {
    () => {
        "m.conversation, m.seq, coalesce(m.changed, m.rev) as rev, c.incarnation, m.sender, m.client_message_id, \
         m.time, m.kind, m.content, m.mentions, m.mention_all, m.reply_to, m.recalled"
    };
}
pub(super) use message_columns;

/// A value as a JSON parameter.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("ids, numbers and texts are JSON")
}

/// A number as `SQLite` has it. What is beyond its range compares like its largest number.
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

/// A column of parsed text.
pub(super) fn id<T>(row: &SqliteRow, column: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    parse(row.try_get(column)?)
}

/// A nullable column of parsed text.
pub(super) fn maybe_id<T>(row: &SqliteRow, column: &str) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: Display,
{
    row.try_get::<Option<&str>, _>(column)?.map(parse).transpose()
}

/// A name of one of our own enums, as serde spells it.
pub(super) fn name<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    from_name(row.try_get(column)?)
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

/// A column that holds JSON of our own making.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Broken(error.to_string()))
}

fn mentions(row: &SqliteRow) -> Result<Vec<UserId>> {
    row.try_get::<Option<&str>, _>("mentions")?.map_or_else(|| Ok(Vec::new()), from_json)
}

fn content(row: &SqliteRow) -> Result<Content> {
    Content::from_compact(row.try_get("content")?).map_err(|error| StoreError::Broken(error.to_string()))
}

/// A message, from [`message_columns`].
pub(super) fn message(row: &SqliteRow) -> Result<Message> {
    Ok(Message {
        conversation: id(row, "conversation")?,
        seq: row.try_get("seq")?,
        rev: row.try_get("rev")?,
        incarnation: row.try_get("incarnation")?,
        sender: id(row, "sender")?,
        client_message_id: maybe_id(row, "client_message_id")?,
        time: row.try_get("time")?,
        kind: id(row, "kind")?,
        content: content(row)?,
        mentions: mentions(row)?,
        mention_all: row.try_get("mention_all")?,
        reply_to: row.try_get("reply_to")?,
        forwarded_from: None,
        recalled: row.try_get("recalled")?,
        edited: None,
        reactions: std::collections::BTreeMap::new(),
    })
}

/// The fields of a stored message that a repeated id must match.
pub(super) fn body(row: &SqliteRow) -> Result<Body> {
    Ok(Body {
        kind: id(row, "kind")?,
        content: content(row)?,
        mentions: mentions(row)?,
        mention_all: row.try_get("mention_all")?,
        reply_to: row.try_get("reply_to")?,
    })
}
