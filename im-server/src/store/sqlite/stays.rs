//! Who comes and who goes: stints, and the row that makes a conversation stand in a user's list.

use im_protocol::UserId;
use im_protocol::server::RemovedReason;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows::{id, int, json, to_name};
use crate::store::Result;
use crate::store::moves::{Arrival, Departure, Gone};

/// Makes users members and puts the conversation into their lists. Returns those who were no members before.
pub(super) async fn add(on: &mut SqliteConnection, arrival: Arrival<'_>, users: &[UserId]) -> Result<Vec<UserId>> {
    let Arrival { conversation, seq, time, stamp } = arrival;
    // The conflict is a stay that ended before it saw anything.
    let rows = sqlx::query(
        "insert into stints (conversation, user, joined_seq, joined_time)
         select ?1, e.value, ?2, ?3 from json_each(?4) e
         where not exists (select 1 from stints s
                           where s.conversation = ?1 and s.user = e.value and s.left_seq is null)
         on conflict (conversation, user, joined_seq) do update set left_seq = null, joined_time = excluded.joined_time,
             role = excluded.role, alias = excluded.alias, muted_until = excluded.muted_until
         returning user",
    )
    .bind(conversation.as_str())
    .bind(int(seq))
    .bind(time)
    .bind(json(users))
    .fetch_all(&mut *on)
    .await?;
    let added = rows.iter().map(|row| id(row, "user")).collect::<Result<Vec<UserId>>>()?;
    sqlx::query(
        "insert into user_conversations (user, conversation, time, stamp)
         select value, ?1, ?2, ?3 from json_each(?4) where true
         on conflict (user, conversation) do update set removed = null, hidden = 0, time = excluded.time,
             stamp = excluded.stamp",
    )
    .bind(conversation.as_str())
    .bind(time)
    .bind(stamp.0)
    .bind(json(&added))
    .execute(on)
    .await?;
    Ok(added)
}

fn gone(row: &SqliteRow) -> Result<Gone> {
    Ok(Gone { user: id(row, "user")?, joined: row.try_get("joined_seq")? })
}

/// Ends the stays of users and leaves tombstones. Returns those who were members.
pub(super) async fn remove(
    on: &mut SqliteConnection,
    departure: Departure<'_>,
    users: &[UserId],
    reason: RemovedReason,
) -> Result<Vec<Gone>> {
    let rows = sqlx::query(
        "update stints set left_seq = ?2
         where conversation = ?1 and left_seq is null and user in (select value from json_each(?3))
         returning user, joined_seq",
    )
    .bind(departure.conversation.as_str())
    .bind(int(departure.seq))
    .bind(json(users))
    .fetch_all(&mut *on)
    .await?;
    leave_tombstones(on, departure, rows, reason).await
}

/// Ends every stay and leaves tombstones. Returns who were members.
pub(super) async fn remove_everyone(
    on: &mut SqliteConnection,
    departure: Departure<'_>,
    reason: RemovedReason,
) -> Result<Vec<Gone>> {
    let rows = sqlx::query(
        "update stints set left_seq = ?2 where conversation = ?1 and left_seq is null returning user, joined_seq",
    )
    .bind(departure.conversation.as_str())
    .bind(int(departure.seq))
    .fetch_all(&mut *on)
    .await?;
    leave_tombstones(on, departure, rows, reason).await
}

async fn leave_tombstones(
    on: &mut SqliteConnection,
    departure: Departure<'_>,
    rows: Vec<SqliteRow>,
    reason: RemovedReason,
) -> Result<Vec<Gone>> {
    let gone = rows.iter().map(gone).collect::<Result<Vec<_>>>()?;
    let users: Vec<&UserId> = gone.iter().map(|gone| &gone.user).collect();
    sqlx::query(
        "update user_conversations set removed = ?2, time = ?3, stamp = ?4
         where conversation = ?1 and user in (select value from json_each(?5))",
    )
    .bind(departure.conversation.as_str())
    .bind(to_name(reason))
    .bind(departure.time)
    .bind(departure.stamp.0)
    .bind(json(&users))
    .execute(on)
    .await?;
    Ok(gone)
}
