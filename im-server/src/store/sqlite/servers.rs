//! Server identity.

use async_trait::async_trait;
use im_protocol::{Epoch, ServerId, TimeMs};

use super::SqliteStore;
use crate::store::{Result, Servers};

#[async_trait]
impl Servers for SqliteStore {
    async fn take_epoch(&self, server: ServerId, now: TimeMs) -> Result<Epoch> {
        let mut write = self.write().await?;
        let epoch = sqlx::query_scalar(
            "insert into servers (id, epoch, taken) values (?1, 1, ?2)
             on conflict (id) do update set epoch = epoch + 1, taken = excluded.taken returning epoch",
        )
        .bind(server.0)
        .bind(now)
        .fetch_one(write.on())
        .await?;
        write.commit().await?;
        Ok(Epoch(epoch))
    }
}
