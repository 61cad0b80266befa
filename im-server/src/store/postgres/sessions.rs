//! Sessions and refresh tokens.

use async_trait::async_trait;
use im_protocol::{DeviceId, Terminal, TimeMs, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::rows::id;
use super::{PostgresStore, call, error, transact};
use crate::store::rotation::Token;
use crate::store::{NewSession, Result, Rotation, Session, SessionId, Sessions};

macro_rules! session_columns {
    () => {
        "s.id, s.user_id, s.terminal, s.device, s.created, s.last_seen, s.expires, s.revoked"
    };
}

fn session(row: &PgRow) -> error::Result<Session> {
    Ok(Session {
        id: SessionId(row.try_get("id")?),
        user: id(row, "user_id")?,
        terminal: id(row, "terminal")?,
        device: id(row, "device")?,
        created: row.try_get("created")?,
        last_seen: row.try_get("last_seen")?,
        expires: row.try_get("expires")?,
        revoked: row.try_get("revoked")?,
    })
}

async fn add_token(on: &mut PgConnection, session: &Session, hash: &[u8], number: i64) -> error::Result<()> {
    sqlx::query("insert into refresh_tokens (hash, session, number, expires) values ($1, $2, $3, $4)")
        .bind(hash)
        .bind(session.id.0.as_str())
        .bind(number)
        .bind(session.expires)
        .execute(on)
        .await?;
    Ok(())
}

#[async_trait]
impl Sessions for PostgresStore {
    async fn create_session(&self, NewSession { session, refresh_hash }: NewSession) -> Result<()> {
        transact!(self, "create_session", |write| {
            sqlx::query(
                "insert into sessions (id, user_id, terminal, device, created, last_seen, expires)
                 values ($1, $2, $3, $4, $5, $6, $7)",
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
        });
        Ok(())
    }

    async fn session(&self, id: &SessionId) -> Result<Option<Session>> {
        let row = call!(self, "session", |on| sqlx::query(concat!(
            "select ",
            session_columns!(),
            " from sessions s where s.id = $1"
        ))
        .bind(id.0.as_str())
        .fetch_optional(on));
        Ok(row.as_ref().map(session).transpose()?)
    }

    async fn sessions(&self, user: &UserId, now: TimeMs) -> Result<Vec<Session>> {
        let rows = call!(self, "sessions", |on| sqlx::query(concat!(
            "select ",
            session_columns!(),
            " from sessions s where s.user_id = $1 and not s.revoked and s.expires > $2
             order by s.created desc, s.id desc"
        ))
        .bind(user.as_str())
        .bind(now)
        .fetch_all(on));
        Ok(rows.iter().map(session).collect::<error::Result<_>>()?)
    }

    async fn rotate(
        &self,
        hash: &[u8],
        successor: &[u8],
        now: TimeMs,
        expires: TimeMs,
        grace_ms: i64,
    ) -> Result<Rotation> {
        let rotation = transact!(self, "rotate", |write| {
            // Two that exchange tokens of one session take turns; what the second one looks up is what the first left.
            sqlx::query(
                "select from sessions where id = (select session from refresh_tokens where hash = $1) for update",
            )
            .bind(hash)
            .execute(write.on())
            .await?;
            let row = sqlx::query(concat!(
                "select ",
                session_columns!(),
                ", t.number, t.exchanged, newest.number as newest, newest.hash as newest_hash
                 from refresh_tokens t join sessions s on s.id = t.session
                 join refresh_tokens newest on newest.session = s.id
                     and newest.number = (select max(number) from refresh_tokens where session = s.id)
                 where t.hash = $1 and t.expires > $2 and not s.revoked"
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
                    sqlx::query("update refresh_tokens set exchanged = $2 where hash = $1")
                        .bind(hash)
                        .bind(now)
                        .execute(write.on())
                        .await?;
                    // A token past its own life answers the same whether it is known or not.
                    sqlx::query("delete from refresh_tokens where session = $1 and expires <= $2")
                        .bind(session.id.0.as_str())
                        .bind(now)
                        .execute(write.on())
                        .await?;
                    add_token(write.on(), session, successor, next).await?;
                    sqlx::query("update sessions set last_seen = $2, expires = $3 where id = $1")
                        .bind(session.id.0.as_str())
                        .bind(session.last_seen)
                        .bind(session.expires)
                        .execute(write.on())
                        .await?;
                }
                Rotation::Reused(session) => {
                    sqlx::query("update sessions set revoked = true where id = $1")
                        .bind(session.id.0.as_str())
                        .execute(write.on())
                        .await?;
                }
                Rotation::Again { .. } | Rotation::Unknown => {}
            }
            rotation
        });
        Ok(rotation)
    }

    async fn keep_session(&self, id: &SessionId, seen: TimeMs, expires: TimeMs) -> Result<()> {
        call!(self, "keep_session", |on| sqlx::query("update sessions set last_seen = $2, expires = $3 where id = $1")
            .bind(id.0.as_str())
            .bind(seen)
            .bind(expires)
            .execute(on));
        Ok(())
    }

    async fn revoke(&self, user: &UserId, id: &SessionId) -> Result<bool> {
        let ended = call!(self, "revoke", |on| sqlx::query(
            "update sessions set revoked = true where id = $1 and user_id = $2 and not revoked"
        )
        .bind(id.0.as_str())
        .bind(user.as_str())
        .execute(on));
        Ok(ended.rows_affected() == 1)
    }

    async fn revoke_other_devices(
        &self,
        user: &UserId,
        terminal: Terminal,
        device: &DeviceId,
        keep: &SessionId,
    ) -> Result<Vec<SessionId>> {
        let ended: Vec<String> = transact!(self, "revoke_other_devices", |write| {
            sqlx::query_scalar(
                "update sessions set revoked = true
                 where user_id = $1 and not revoked and terminal = $2 and device <> $3 and id <> $4 returning id",
            )
            .bind(user.as_str())
            .bind(terminal.as_str())
            .bind(device.as_str())
            .bind(keep.0.as_str())
            .fetch_all(write.on())
            .await?
        });
        Ok(ended.into_iter().map(SessionId).collect())
    }

    async fn dead_sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionId>> {
        let ids: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
        let dead: Vec<String> = call!(self, "dead_sessions", |on| sqlx::query_scalar(
            "select e.id from unnest($1::text[]) with ordinality e (id, n)
             where not exists (select from sessions s where s.id = e.id and not s.revoked) order by e.n",
        )
        .bind(&ids)
        .fetch_all(on));
        Ok(dead.into_iter().map(SessionId).collect())
    }
}
