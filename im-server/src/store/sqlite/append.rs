//! Storing the ends of conversations: one insert and one update for any number of messages.

use serde_json::{Value, json as value};
use sqlx::SqliteConnection;

use super::rows::json;
use crate::store::tail::{Draft, Tail};
use crate::store::{Result, Stamp};

/// Stores the ends of conversations, and makes those that are not there yet.
pub(super) async fn save_tails(
    on: &mut SqliteConnection,
    tails: impl IntoIterator<Item = &Tail>,
    stamp: Stamp,
) -> Result<()> {
    let rows: Vec<Value> = tails
        .into_iter()
        .map(|tail| value!([tail.conversation, tail.head, tail.badge_count, tail.last_time, tail.members]))
        .collect();
    sqlx::query(
        "insert into conversations (id, head, badge_count, last_time, members, stamp)
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 from json_each(?1) where true
         on conflict (id) do update set head = excluded.head, badge_count = excluded.badge_count,
             last_time = excluded.last_time, stamp = excluded.stamp",
    )
    .bind(json(&rows))
    .bind(stamp.0)
    .execute(on)
    .await?;
    Ok(())
}

/// Stores messages.
pub(super) async fn insert(on: &mut SqliteConnection, drafts: &[Draft]) -> Result<()> {
    let rows: Vec<Value> = drafts
        .iter()
        .map(|Draft { message, badge_count, own_count }| {
            let mentions = (!message.mentions.is_empty()).then(|| json(&message.mentions));
            value!([
                message.conversation,
                message.seq,
                message.rev,
                message.sender,
                message.client_message_id,
                message.time,
                message.kind,
                message.content.as_str(),
                mentions,
                i32::from(message.mention_all),
                message.reply_to,
                badge_count,
                own_count,
            ])
        })
        .collect();
    sqlx::query(
        "insert into messages (conversation, seq, rev, sender, client_message_id, time, kind, content, mentions,
                               mention_all, reply_to, badge_count, own_count)
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
         from json_each(?1)",
    )
    .bind(json(&rows))
    .execute(on)
    .await?;
    Ok(())
}
