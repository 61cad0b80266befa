//! Between columns and values.

use std::fmt::Display;
use std::str::FromStr;

use im_protocol::message::Body;
use im_protocol::{Content, Message, UserId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(super) use crate::store::values::{from_json, from_name, int, json, parse, to_name};
use crate::store::{Result, StoreError};

/// The columns that [`message`] reads, of `messages m` joined with its `conversations c`.
macro_rules! message_columns {
    () => {
        "m.conversation, m.seq, coalesce(m.changed, m.rev) as rev, c.incarnation, m.sender, m.client_message_id, \
         m.time, m.kind, m.content, m.mentions, m.mention_all, m.reply_to, m.recalled"
    };
}
pub(super) use message_columns;

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
