//! A store in one `SQLite` file, which survives a crash of the device.

use std::path::Path;
use std::str::FromStr;

use async_trait::async_trait;
use im_protocol::client::{Envelope, Send, Target};
use im_protocol::{ClientFrame, ClientMessageId, ConversationId, Message, Rev, Seq};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::{LocalStore, StoreError, Unsent, key};
use crate::cursor::Position;

/// Keeps everything in one file.
#[derive(Clone, Debug)]
pub struct SqliteStore(SqlitePool);

impl SqliteStore {
    /// Opens the file, which is made if it is not there.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is lost with the power is pulled again; only the unsent queue is a little later than it says.
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::migrate!("src/store/migrations").run(&pool).await?;
        Ok(Self(pool))
    }

    /// Writes out what is pending and closes the file.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait]
impl LocalStore for SqliteStore {
    async fn since(&self) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM kept WHERE name = 'since'").fetch_optional(&self.0).await?)
    }

    async fn set_since(&self, since: &str) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO kept VALUES ('since', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(since)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    async fn positions(&self) -> Result<Vec<(ConversationId, Position)>, StoreError> {
        let rows: Vec<(String, i64, i64, i64)> =
            sqlx::query_as("SELECT conversation, seq, rev, incarnation FROM conversations").fetch_all(&self.0).await?;
        rows.into_iter()
            .map(|(conversation, seq, rev, incarnation)| {
                let incarnation = incarnation.try_into().map_err(unreadable)?;
                Ok((parsed(&conversation)?, Position { seq: number(seq)?, rev: number(rev)?, incarnation }))
            })
            .collect()
    }

    async fn apply(
        &self,
        conversation: &ConversationId,
        position: Position,
        messages: &[Message],
        changed: &[Message],
    ) -> Result<(), StoreError> {
        let mut tx = self.0.begin().await?;
        sqlx::query(
            "INSERT INTO conversations VALUES (?1, ?2, ?3, ?4) ON CONFLICT (conversation)
             DO UPDATE SET seq = excluded.seq, rev = excluded.rev, incarnation = excluded.incarnation",
        )
        .bind(conversation.as_str())
        .bind(integer(position.seq)?)
        .bind(integer(position.rev)?)
        .bind(i64::from(position.incarnation))
        .execute(&mut *tx)
        .await?;
        for message in messages {
            sqlx::query(
                "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (conversation, seq)
                 DO UPDATE SET rev = excluded.rev, incarnation = excluded.incarnation, frame = excluded.frame
                 WHERE (excluded.incarnation, excluded.rev) > (incarnation, rev)",
            )
            .bind(conversation.as_str())
            .bind(integer(message.seq)?)
            .bind(integer(message.rev)?)
            .bind(i64::from(message.incarnation))
            .bind(json(message)?)
            .execute(&mut *tx)
            .await?;
        }
        for message in changed {
            sqlx::query(
                "UPDATE messages SET rev = ?3, incarnation = ?4, frame = ?5
                 WHERE conversation = ?1 AND seq = ?2 AND (?4, ?3) > (incarnation, rev)",
            )
            .bind(conversation.as_str())
            .bind(integer(message.seq)?)
            .bind(integer(message.rev)?)
            .bind(i64::from(message.incarnation))
            .bind(json(message)?)
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    async fn forget(&self, conversation: &ConversationId) -> Result<(), StoreError> {
        let mut tx = self.0.begin().await?;
        for statement in
            ["DELETE FROM messages WHERE conversation = ?", "DELETE FROM conversations WHERE conversation = ?"]
        {
            sqlx::query(statement).bind(conversation.as_str()).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn messages(
        &self,
        conversation: &ConversationId,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let mut frames: Vec<String> = sqlx::query_scalar(
            "SELECT frame FROM messages WHERE conversation = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(conversation.as_str())
        .bind(before.map_or(Ok(i64::MAX), integer)?)
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        frames.reverse();
        frames.iter().map(|frame| serde_json::from_str(frame).map_err(unreadable)).collect()
    }

    async fn put_unsent(&self, unsent: &Unsent) -> Result<(), StoreError> {
        let Unsent { target, client_message_id, body } = unsent.clone();
        let frame = ClientFrame::Send(Send { target, client_message_id, body }).encode(None);
        sqlx::query("INSERT INTO unsent (target, client_message_id, frame) VALUES (?, ?, ?)")
            .bind(key(&unsent.target))
            .bind(unsent.client_message_id.as_str())
            .bind(frame)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    async fn unsent(&self) -> Result<Vec<Unsent>, StoreError> {
        let frames: Vec<String> = sqlx::query_scalar("SELECT frame FROM unsent ORDER BY n").fetch_all(&self.0).await?;
        frames.iter().map(|frame| read_unsent(frame)).collect()
    }

    async fn drop_unsent(&self, target: &Target, id: &ClientMessageId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM unsent WHERE target = ? AND client_message_id = ?")
            .bind(key(target))
            .bind(id.as_str())
            .execute(&self.0)
            .await?;
        Ok(())
    }
}

fn read_unsent(frame: &str) -> Result<Unsent, StoreError> {
    match Envelope::parse(frame).and_then(|envelope| envelope.body()).map_err(unreadable)? {
        ClientFrame::Send(Send { target, client_message_id, body }) => Ok(Unsent { target, client_message_id, body }),
        other => Err(StoreError::Unreadable(format!("{other:?} is no message"))),
    }
}

fn json(message: &Message) -> Result<String, StoreError> {
    serde_json::to_string(message).map_err(unreadable)
}

fn integer(number: Seq) -> Result<i64, StoreError> {
    number.try_into().map_err(unreadable)
}

fn number(integer: i64) -> Result<Rev, StoreError> {
    integer.try_into().map_err(unreadable)
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable(error.to_string())
}
