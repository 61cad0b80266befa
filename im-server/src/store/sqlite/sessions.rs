//! Sessions and refresh tokens.

use async_trait::async_trait;
use im_protocol::{DeviceId, Terminal, TimeMs, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::rows::{id, json};
use crate::store::rotation::Token;
use crate::store::{NewSession, Result, Rotation, Session, SessionId, Sessions};

macro_rules! session_columns {
    () => {
        "s.id, s.user, s.terminal, s.device, s.created, s.last_seen, s.expires, s.revoked"
    };
}

fn session(row: &SqliteRow) -> Result<Session> {
    Ok(Session {
        id: SessionId(row.try_get("id")?),
        user: id(row, "user")?,
        terminal: id(row, "terminal")?,
        device: id(row, "device")?,
        created: row.try_get("created")?,
        last_seen: row.try_get("last_seen")?,
        expires: row.try_get("expires")?,
        revoked: row.try_get("revoked")?,
    })
}

async fn add_token(on: &mut SqliteConnection, session: &Session, hash: &[u8], number: i64) -> Result<()> {
    sqlx::query("insert into refresh_tokens (hash, session, number, expires) values (?1, ?2, ?3, ?4)")
        .bind(hash)
        .bind(session.id.0.as_str())
        .bind(number)
        .bind(session.expires)
        .execute(on)
        .await?;
    Ok(())
}

#[async_trait]
impl Sessions for SqliteStore {
    async fn create_session(&self, NewSession { session, refresh_hash }: NewSession) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query(
            "insert into sessions (id, user, terminal, device, created, last_seen, expires)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(session.id.0.as_str())
        .bind(session.user.as_str())
        .bind(session.terminal.as_str())
        .bind(session.device.as_str())
        .bind(session.created)
        .bind(session.last_seen)
        .bind(session.expires)
        .execute(write.on())
        .await?;
        if let Some(hash) = &refresh_hash {
            add_token(write.on(), &session, hash, 1).await?;
        }
        write.commit().await
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>> {
        let row = sqlx::query(concat!("select ", session_columns!(), " from sessions s where s.id = ?1"))
            .bind(id.0.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(session).transpose()
    }

    async fn sessions(&self, user: &UserId, now: TimeMs) -> Result<Vec<Session>> {
        let rows = sqlx::query(concat!(
            "select ",
            session_columns!(),
            " from sessions s where s.user = ?1 and s.revoked = 0 and s.expires > ?2 order by s.created desc, s.id desc"
        ))
        .bind(user.as_str())
        .bind(now)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(session).collect()
    }

    async fn rotate(
        &self,
        hash: &[u8],
        successor: &[u8],
        now: TimeMs,
        expires: TimeMs,
        grace_ms: i64,
    ) -> Result<Rotation> {
        let mut write = self.write().await?;
        let row = sqlx::query(concat!(
            "select ",
            session_columns!(),
            ", t.number, t.exchanged, newest.number as newest, newest.hash as newest_hash
             from refresh_tokens t cross join sessions s on s.id = t.session
             cross join refresh_tokens newest on newest.session = s.id
                 and newest.number = (select max(number) from refresh_tokens where session = s.id)
             where t.hash = ?1 and t.expires > ?2 and s.revoked = 0"
        ))
        .bind(hash)
        .bind(now)
        .fetch_optional(write.on())
        .await?;
        let Some(row) = row else { return Ok(Rotation::Unknown) };
        let token = Token {
            number: row.try_get("number")?,
            newest: row.try_get("newest")?,
            newest_hash: row.try_get("newest_hash")?,
            exchanged: row.try_get("exchanged")?,
        };
        let next = token.number + 1;
        let rotation = token.used(session(&row)?, now, expires, grace_ms);
        match &rotation {
            Rotation::Rotated(session) => {
                sqlx::query("update refresh_tokens set exchanged = ?2 where hash = ?1")
                    .bind(hash)
                    .bind(now)
                    .execute(write.on())
                    .await?;
                // A token past its own life answers the same whether it is known or not.
                sqlx::query("delete from refresh_tokens where session = ?1 and expires <= ?2")
                    .bind(session.id.0.as_str())
                    .bind(now)
                    .execute(write.on())
                    .await?;
                add_token(write.on(), session, successor, next).await?;
                sqlx::query("update sessions set last_seen = ?2, expires = ?3 where id = ?1")
                    .bind(session.id.0.as_str())
                    .bind(session.last_seen)
                    .bind(session.expires)
                    .execute(write.on())
                    .await?;
            }
            Rotation::Reused(session) => {
                sqlx::query("update sessions set revoked = 1 where id = ?1")
                    .bind(session.id.0.as_str())
                    .execute(write.on())
                    .await?;
            }
            Rotation::Again { .. } | Rotation::Unknown => {}
        }
        write.commit().await?;
        Ok(rotation)
    }

    async fn keep_session(&self, id: &SessionId, seen: TimeMs, expires: TimeMs) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query("update sessions set last_seen = ?2, expires = ?3 where id = ?1")
            .bind(id.0.as_str())
            .bind(seen)
            .bind(expires)
            .execute(write.on())
            .await?;
        write.commit().await
    }

    async fn revoke(&self, user: &UserId, id: &SessionId) -> Result<bool> {
        let mut write = self.write().await?;
        let ended = sqlx::query("update sessions set revoked = 1 where id = ?1 and user = ?2 and revoked = 0")
            .bind(id.0.as_str())
            .bind(user.as_str())
            .execute(write.on())
            .await?
            .rows_affected();
        write.commit().await?;
        Ok(ended == 1)
    }

    async fn revoke_other_devices(
        &self,
        user: &UserId,
        terminal: Terminal,
        device: &DeviceId,
        keep: &SessionId,
    ) -> Result<Vec<SessionId>> {
        let mut write = self.write().await?;
        let ended: Vec<String> = sqlx::query_scalar(
            "update sessions set revoked = 1
             where user = ?1 and revoked = 0 and terminal = ?2 and device <> ?3 and id <> ?4 returning id",
        )
        .bind(user.as_str())
        .bind(terminal.as_str())
        .bind(device.as_str())
        .bind(keep.0.as_str())
        .fetch_all(write.on())
        .await?;
        write.commit().await?;
        Ok(ended.into_iter().map(SessionId).collect())
    }

    async fn dead_sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionId>> {
        let ids: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
        let dead: Vec<String> = sqlx::query_scalar(
            "select e.value from json_each(?1) e
             where not exists (select 1 from sessions s where s.id = e.value and s.revoked = 0) order by e.key",
        )
        .bind(json(&ids))
        .fetch_all(&self.readers)
        .await?;
        Ok(dead.into_iter().map(SessionId).collect())
    }
}
