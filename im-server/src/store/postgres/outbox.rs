//! The outbox.

use async_trait::async_trait;
use im_protocol::TimeMs;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::rows::{from_json_column, json};
use super::session::Write;
use super::{PostgresStore, call, error, push, transact};
use crate::store::{Holder, NewWork, Outbox, OutboxId, OutboxItem, OutboxRow, Result};

/// A holder as columns have it; nobody is 0, 0.
pub(super) fn columns(holder: Option<Holder>) -> (i32, i64) {
    holder.map_or((0, 0), |holder| (holder.server.0.into(), holder.epoch.0.cast_signed()))
}

/// Remembers what a transaction has to tell; `None` if that is nothing.
pub(super) async fn remember(
    write: &mut Write<'_>,
    time: TimeMs,
    items: &[OutboxItem],
) -> error::Result<Option<OutboxId>> {
    if items.is_empty() {
        return Ok(None);
    }
    let (server, epoch) = columns(write.holder);
    let id = sqlx::query_scalar("insert into outbox (time, items, server, epoch) values ($1, $2, $3, $4) returning id")
        .bind(time)
        .bind(json(items))
        .bind(server)
        .bind(epoch)
        .fetch_one(write.on())
        .await?;
    Ok(Some(OutboxId(id)))
}

fn row(row: &PgRow) -> error::Result<OutboxRow> {
    Ok(OutboxRow {
        id: OutboxId(row.try_get("id")?),
        time: row.try_get("time")?,
        items: from_json_column(row, "items")?,
    })
}

#[async_trait]
impl Outbox for PostgresStore {
    fn write_as(&self, holder: Holder) {
        *self.holder.write() = Some(holder);
    }

    async fn forget(&self, ids: &[OutboxId], work: &[NewWork]) -> Result<()> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        if work.is_empty() {
            call!(self, "forget", |on| sqlx::query("delete from outbox where id = any ($1)").bind(&ids).execute(on));
            return Ok(());
        }
        transact!(self, "forget", |write| {
            sqlx::query("delete from outbox where id = any ($1)").bind(&ids).execute(write.on()).await?;
            push::add(&mut write, work).await?;
        });
        Ok(())
    }

    async fn waiting(&self, holder: Holder, after: OutboxId, before: TimeMs, limit: u32) -> Result<Vec<OutboxRow>> {
        let (server, epoch) = columns(Some(holder));
        let rows = call!(self, "waiting", |on| sqlx::query(
            // Said as a range of the index: told as equalities, the order by id would lead through the rows of all others.
            "select id, time, items from outbox
             where (server, epoch, id) > ($1, $2, $3) and (server, epoch) <= ($1, $2) and time < $4
             order by server, epoch, id limit $5",
        )
        .bind(server)
        .bind(epoch)
        .bind(after.0)
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(row).collect::<error::Result<_>>()?)
    }

    async fn take_over(&self, holder: Holder, limit: u32) -> Result<Vec<OutboxRow>> {
        let (server, epoch) = columns(Some(holder));
        let rows = call!(self, "take_over", |on| sqlx::query(
            "with taken as (
                 select o.id from servers s cross join lateral (
                     select id from outbox
                     where server = s.id and epoch < s.epoch + (s.expires <= im_clock_v1())::int
                     order by epoch, id limit $3 for update skip locked) o
                 order by o.id limit $3)
             update outbox o set server = $1, epoch = $2 from taken where o.id = taken.id
             returning o.id, o.time, o.items",
        )
        .bind(server)
        .bind(epoch)
        .bind(i64::from(limit))
        .fetch_all(on));
        let mut rows: Vec<OutboxRow> = rows.iter().map(row).collect::<error::Result<_>>()?;
        // `returning` tells them in no order.
        rows.sort_by_key(|row| row.id);
        Ok(rows)
    }
}
