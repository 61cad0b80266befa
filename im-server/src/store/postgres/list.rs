//! A user's list of conversations: one call of one function, whatever the page shows.

use im_protocol::{ConversationId, Seq, UserId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::error::Result;
use super::rows::{id, int, maybe_id, maybe_name, message, number, small};
use super::{PostgresStore, call};
use crate::store::{ListCursor, Row, RowState, Stamp, UserRows};

fn row(row: &PgRow) -> Result<Row> {
    let state = match maybe_name(row, "gone")? {
        Some(reason) => RowState::Removed(reason),
        None => RowState::Present {
            title: row.try_get::<Option<String>, _>("title")?.unwrap_or_default(),
            head: number(row, "head")?,
            rev: number(row, "row_rev")?,
            incarnation: small(row, "row_incarnation")?,
            read: number(row, "read")?,
            unread: u64::try_from(row.try_get::<i64, _>("unread")?).unwrap_or(0),
            last: row.try_get::<Option<i64>, _>("seq")?.map(|_| message(row)).transpose()?,
            mentioned: row.try_get("mentioned")?,
            pinned: row.try_get("pinned")?,
            do_not_disturb: row.try_get("do_not_disturb")?,
            draft: row.try_get("draft")?,
        },
    };
    Ok(Row {
        conversation: id(row, "of_row")?,
        stamp: Stamp(row.try_get("touched")?),
        updated: row.try_get("updated")?,
        state,
    })
}

/// Read positions that are not stored yet, as two arrays.
fn arrays<'a>(reads: impl Iterator<Item = (&'a ConversationId, Seq)>) -> (Vec<&'a str>, Vec<i64>) {
    reads.map(|(conversation, seq)| (conversation.as_str(), int(seq))).unzip()
}

impl PostgresStore {
    pub(super) async fn list_page(
        &self,
        user: &UserId,
        since: Option<Stamp>,
        cursor: Option<&ListCursor>,
        limit: u32,
        reads: &[(ConversationId, Seq)],
    ) -> Result<UserRows> {
        let (read_of, reads) = arrays(reads.iter().map(|(conversation, seq)| (conversation, *seq)));
        let found = call!(self, "list", |on| sqlx::query("select * from im_list_v1($1, $2, $3, $4, $5, null, $6, $7)")
            .bind(user.as_str())
            .bind(since.map(|stamp| stamp.0))
            .bind(cursor.map(|cursor| cursor.updated))
            .bind(cursor.map(|cursor| cursor.conversation.as_str()))
            .bind(i64::from(limit))
            .bind(&read_of)
            .bind(&reads)
            .fetch_all(on));
        let stamp = Stamp(found.first().ok_or(sqlx::Error::RowNotFound)?.try_get("horizon")?);
        let mut rows = Vec::with_capacity(found.len());
        for found in &found {
            if maybe_id::<ConversationId>(found, "of_row")?.is_some() {
                rows.push(row(found)?);
            }
        }
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(UserRows { rows, more, stamp })
    }

    pub(super) async fn list_row(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        read: Option<Seq>,
    ) -> Result<Option<Row>> {
        let (read_of, reads) = arrays(read.map(|seq| (conversation, seq)).into_iter());
        let found =
            call!(self, "row", |on| sqlx::query("select * from im_list_v1($1, null, null, null, 1, $2, $3, $4)")
                .bind(user.as_str())
                .bind(conversation.as_str())
                .bind(&read_of)
                .bind(&reads)
                .fetch_one(on));
        maybe_id::<ConversationId>(&found, "of_row")?.map(|_| row(&found)).transpose()
    }
}
