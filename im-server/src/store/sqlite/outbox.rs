//! The outbox.

use async_trait::async_trait;
use im_protocol::TimeMs;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::rows::{from_json, json};
use crate::store::{Outbox, OutboxId, OutboxItem, OutboxRow, Result};

/// Remembers what a transaction has to tell; `None` if that is nothing.
pub(super) async fn remember(
    on: &mut SqliteConnection,
    time: TimeMs,
    items: &[OutboxItem],
) -> Result<Option<OutboxId>> {
    if items.is_empty() {
        return Ok(None);
    }
    let id = sqlx::query_scalar("insert into outbox (time, items) values (?1, ?2) returning id")
        .bind(time)
        .bind(json(items))
        .fetch_one(on)
        .await?;
    Ok(Some(OutboxId(id)))
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn forget(&self, ids: &[OutboxId]) -> Result<()> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mut write = self.write().await?;
        sqlx::query("delete from outbox where id in (select value from json_each(?1))")
            .bind(json(&ids))
            .execute(write.on())
            .await?;
        write.commit().await
    }

    async fn waiting(&self, after: OutboxId, before: TimeMs, limit: u32) -> Result<Vec<OutboxRow>> {
        let rows = sqlx::query("select id, time, items from outbox where id > ?1 and time < ?2 order by id limit ?3")
            .bind(after.0)
            .bind(before)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(OutboxRow {
                    id: OutboxId(row.try_get("id")?),
                    time: row.try_get("time")?,
                    items: from_json(row.try_get("items")?)?,
                })
            })
            .collect()
    }
}
