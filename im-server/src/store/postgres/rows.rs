//! Between columns and values.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use im_protocol::message::Body;
use im_protocol::{Content, Message, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::error::{Fault, Result};
use crate::store::Stint;
use crate::store::values::{from_json, parse};
pub(super) use crate::store::values::{int, json, to_name};

/// The columns that [`message`] reads, of `messages m` joined with its `conversations c`.
macro_rules! message_columns {
    () => {
        "m.conversation, m.seq, coalesce(m.changed, m.rev) as rev, c.incarnation, m.sender, m.client_message_id, \
         m.time, m.kind, m.content, m.mentions, m.mention_all, m.reply_to, m.recalled"
    };
}
pub(super) use message_columns;

/// A signed number that is never negative.
pub(super) fn unsigned<N: TryFrom<i64>>(value: i64) -> Result<N> {
    N::try_from(value).map_err(|_| Fault::broken(format!("{value} is out of range")))
}

/// A column of a number that is never negative.
pub(super) fn number<N: TryFrom<i64>>(row: &PgRow, column: &str) -> Result<N> {
    unsigned(row.try_get(column)?)
}

/// The same of a column of four bytes.
pub(super) fn small<N: TryFrom<i64>>(row: &PgRow, column: &str) -> Result<N> {
    unsigned(row.try_get::<i32, _>(column)?.into())
}

/// A nullable column of a number that is never negative.
pub(super) fn maybe_number<N: TryFrom<i64>>(row: &PgRow, column: &str) -> Result<Option<N>> {
    row.try_get::<Option<i64>, _>(column)?.map(unsigned).transpose()
}

/// A column of parsed text.
pub(super) fn id<T>(row: &PgRow, column: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    Ok(parse(row.try_get(column)?)?)
}

/// A nullable column of parsed text.
pub(super) fn maybe_id<T>(row: &PgRow, column: &str) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: Display,
{
    Ok(row.try_get::<Option<&str>, _>(column)?.map(parse).transpose()?)
}

/// A name of one of our own enums, as serde spells it.
pub(super) fn name<T: serde::de::DeserializeOwned>(row: &PgRow, column: &str) -> Result<T> {
    Ok(crate::store::values::from_name(row.try_get(column)?)?)
}

/// A nullable name of one of our own enums.
pub(super) fn maybe_name<T: serde::de::DeserializeOwned>(row: &PgRow, column: &str) -> Result<Option<T>> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(crate::store::values::from_name).transpose()?)
}

/// A column that holds JSON of our own making.
pub(super) fn from_json_column<T: serde::de::DeserializeOwned>(row: &PgRow, column: &str) -> Result<T> {
    Ok(from_json(row.try_get(column)?)?)
}

/// The users of these texts.
pub(super) fn users(found: &[String]) -> Result<Vec<UserId>> {
    found.iter().map(|user| Ok(parse(user)?)).collect()
}

/// Users as an array.
pub(super) fn texts(users: &[UserId]) -> Vec<&str> {
    users.iter().map(UserId::as_str).collect()
}

/// A user's stints from two columns of arrays.
pub(super) fn stints(row: &PgRow, joined: &str, left: &str) -> Result<Vec<Stint>> {
    let joined: Vec<i64> = row.try_get(joined)?;
    let left: Vec<Option<i64>> = row.try_get(left)?;
    joined
        .into_iter()
        .zip(left)
        .map(|(joined, left)| Ok(Stint { joined: unsigned(joined)?, left: left.map(unsigned).transpose()? }))
        .collect()
}

/// The mentions of a message as they are stored.
pub(super) fn mentions(text: Option<&str>) -> Result<Vec<UserId>> {
    Ok(text.map_or_else(|| Ok(Vec::new()), from_json)?)
}

/// The content of a message as it is stored.
pub(super) fn content(text: String) -> Result<Content> {
    Content::from_compact(text).map_err(|error| Fault::broken(error.to_string()))
}

/// A message, from [`message_columns`].
pub(super) fn message(row: &PgRow) -> Result<Message> {
    let Body { kind, content, mentions, mention_all, reply_to } = body(row)?;
    Ok(Message {
        conversation: id(row, "conversation")?,
        seq: number(row, "seq")?,
        rev: number(row, "rev")?,
        incarnation: small(row, "incarnation")?,
        sender: id(row, "sender")?,
        client_message_id: maybe_id(row, "client_message_id")?,
        time: row.try_get("time")?,
        kind,
        content,
        mentions,
        mention_all,
        reply_to,
        forwarded_from: None,
        recalled: row.try_get("recalled")?,
        edited: None,
        reactions: BTreeMap::new(),
    })
}

/// The fields of a stored message that a repeated id must match.
pub(super) fn body(row: &PgRow) -> Result<Body> {
    Ok(Body {
        kind: id(row, "kind")?,
        content: content(row.try_get("content")?)?,
        mentions: mentions(row.try_get("mentions")?)?,
        mention_all: row.try_get("mention_all")?,
        reply_to: maybe_number(row, "reply_to")?,
    })
}
