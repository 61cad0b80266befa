//! Storing the ends of conversations: one insert and one update for any number of messages.

use sqlx::PgConnection;

use super::error::Result;
use super::rows::{int, json};
use crate::store::Stamp;
use crate::store::tail::{Draft, Tail};

/// Stores the end of a conversation, and makes it if it is not there yet.
pub(super) async fn save_tail(on: &mut PgConnection, tail: &Tail, stamp: Stamp) -> Result<()> {
    sqlx::query(
        "insert into conversations (id, head, badge_count, last_time, members, stamp) values ($1, $2, $3, $4, $5, $6)
         on conflict (id) do update set head = excluded.head, badge_count = excluded.badge_count,
             last_time = excluded.last_time, stamp = excluded.stamp",
    )
    .bind(tail.conversation.as_str())
    .bind(int(tail.head))
    .bind(int(tail.badge_count))
    .bind(tail.last_time)
    .bind(i32::try_from(tail.members).unwrap_or(i32::MAX))
    .bind(stamp.0)
    .execute(on)
    .await?;
    Ok(())
}

/// Stores messages of one conversation.
pub(super) async fn insert(on: &mut PgConnection, drafts: &[Draft]) -> Result<()> {
    for Draft { message, badge_count, own_count } in drafts {
        sqlx::query(
            "insert into messages (conversation, seq, rev, sender, client_message_id, time, kind, content, mentions,
                                   mention_all, reply_to, badge_count, own_count)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(message.conversation.as_str())
        .bind(int(message.seq))
        .bind(int(message.rev))
        .bind(message.sender.as_str())
        .bind(message.client_message_id.as_ref().map(im_protocol::ClientMessageId::as_str))
        .bind(message.time)
        .bind(message.kind.as_str())
        .bind(message.content.as_str())
        .bind((!message.mentions.is_empty()).then(|| json(&message.mentions)))
        .bind(message.mention_all)
        .bind(message.reply_to.map(int))
        .bind(int(*badge_count))
        .bind(int(*own_count))
        .execute(&mut *on)
        .await?;
    }
    Ok(())
}
