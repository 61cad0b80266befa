//! Server identity.

use async_trait::async_trait;
use im_protocol::{Epoch, ServerId};
use im_sdk::registry::{Marker, Server};
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use crate::store::{Holder, Renewal, Report, Result, ServerRow, Servers};

/// The store's clock: Unix milliseconds.
macro_rules! clock {
    () => {
        "cast(unixepoch('subsec') * 1000 as integer)"
    };
}

async fn all(on: &mut SqliteConnection) -> Result<Vec<ServerRow>> {
    let rows = sqlx::query(concat!(
        "select id, epoch, address, serving, announced, expires > ",
        clock!(),
        " as live from servers order by id"
    ))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let server = Server {
                epoch: Epoch(row.try_get("epoch")?),
                live: row.try_get("live")?,
                serving: row.try_get("serving")?,
                announced: row.try_get::<Option<i64>, _>("announced")?.map(|marker| Marker(marker.cast_unsigned())),
            };
            Ok(ServerRow { id: ServerId(row.try_get("id")?), server, address: row.try_get("address")? })
        })
        .collect()
}

#[async_trait]
impl Servers for SqliteStore {
    async fn take_epoch(&self, server: ServerId, address: &str, ttl_ms: i64) -> Result<Epoch> {
        let mut write = self.write().await?;
        let epoch = sqlx::query_scalar(concat!(
            "insert into servers (id, epoch, address, expires) values (?1, 1, ?2, ",
            clock!(),
            " + ?3) on conflict (id) do update set epoch = epoch + 1, address = excluded.address,
                 expires = excluded.expires, serving = 0, announced = null returning epoch"
        ))
        .bind(server.0)
        .bind(address)
        .bind(ttl_ms)
        .fetch_one(write.on())
        .await?;
        write.commit().await?;
        Ok(Epoch(epoch))
    }

    async fn renew(&self, holder: Holder, report: Report, ttl_ms: i64) -> Result<Renewal> {
        let mut write = self.write().await?;
        let renewed = sqlx::query(concat!(
            "update servers set expires = ",
            clock!(),
            " + ?3, serving = ?4, announced = ?5 where id = ?1 and epoch = ?2"
        ))
        .bind(holder.server.0)
        .bind(holder.epoch.0.cast_signed())
        .bind(ttl_ms)
        .bind(report.serving)
        .bind(report.announced.map(|marker| marker.0.cast_signed()))
        .execute(write.on())
        .await?;
        if renewed.rows_affected() == 0 {
            return Ok(Renewal::Fenced);
        }
        let servers = all(write.on()).await?;
        write.commit().await?;
        Ok(Renewal::Held(servers))
    }

    async fn release(&self, holder: Holder) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query("update servers set expires = 0, serving = 0 where id = ?1 and epoch = ?2")
            .bind(holder.server.0)
            .bind(holder.epoch.0.cast_signed())
            .execute(write.on())
            .await?;
        write.commit().await
    }

    async fn servers(&self) -> Result<Vec<ServerRow>> {
        let mut read = self.read().await?;
        all(&mut read).await
    }
}
