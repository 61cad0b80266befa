//! The outbox.

use async_trait::async_trait;
use im_protocol::TimeMs;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::{from_json, json};
use super::{SqliteStore, Write, push};
use crate::store::{Holder, NewWork, Outbox, OutboxId, OutboxItem, OutboxRow, Result};

/// Remembers what a transaction has to tell; `None` if that is nothing.
pub(super) async fn remember(write: &mut Write, time: TimeMs, items: &[OutboxItem]) -> Result<Option<OutboxId>> {
    if items.is_empty() {
        return Ok(None);
    }
    let holder = write.holder;
    let id = sqlx::query_scalar("insert into outbox (time, items, server, epoch) values (?1, ?2, ?3, ?4) returning id")
        .bind(time)
        .bind(json(items))
        .bind(holder.map_or(0, |holder| holder.server.0))
        .bind(holder.map_or(0, |holder| holder.epoch.0.cast_signed()))
        .fetch_one(write.on())
        .await?;
    Ok(Some(OutboxId(id)))
}

fn row(row: &SqliteRow) -> Result<OutboxRow> {
    Ok(OutboxRow {
        id: OutboxId(row.try_get("id")?),
        time: row.try_get("time")?,
        items: from_json(row.try_get("items")?)?,
    })
}

#[async_trait]
impl Outbox for SqliteStore {
    fn write_as(&self, holder: Holder) {
        *self.holder.write() = Some(holder);
    }

    async fn forget(&self, ids: &[OutboxId], work: &[NewWork]) -> Result<()> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mut write = self.write().await?;
        sqlx::query("delete from outbox where id in (select value from json_each(?1))")
            .bind(json(&ids))
            .execute(write.on())
            .await?;
        push::add(&mut write, work).await?;
        write.commit().await
    }

    async fn waiting(&self, holder: Holder, after: OutboxId, before: TimeMs, limit: u32) -> Result<Vec<OutboxRow>> {
        let rows = sqlx::query(
            "select id, time, items from outbox where server = ?1 and epoch = ?2 and id > ?3 and time < ?4
             order by id limit ?5",
        )
        .bind(holder.server.0)
        .bind(holder.epoch.0.cast_signed())
        .bind(after.0)
        .bind(before)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(row).collect()
    }

    async fn take_over(&self, holder: Holder, limit: u32) -> Result<Vec<OutboxRow>> {
        let mut write = self.write().await?;
        let rows = sqlx::query(
            "update outbox set server = ?1, epoch = ?2 where id in (
                 select o.id from servers cross join outbox o on o.server = servers.id
                     and o.epoch < servers.epoch + (servers.expires <= cast(unixepoch('subsec') * 1000 as integer))
                 order by o.id limit ?3)
             returning id, time, items",
        )
        .bind(holder.server.0)
        .bind(holder.epoch.0.cast_signed())
        .bind(limit)
        .fetch_all(write.on())
        .await?;
        let mut rows: Vec<OutboxRow> = rows.iter().map(row).collect::<Result<_>>()?;
        write.commit().await?;
        // `returning` tells them in no order.
        rows.sort_by_key(|row| row.id);
        Ok(rows)
    }
}
