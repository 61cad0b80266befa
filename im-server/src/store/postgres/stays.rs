//! Who comes and who goes: stints, and the row that makes a conversation stand in a user's list.

use im_protocol::UserId;
use im_protocol::server::RemovedReason;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::error::Result;
use super::rows::{id, int, number, texts, to_name};
use crate::store::moves::{Arrival, Departure, Gone};

/// Makes users members and puts the conversation into their lists. Returns those who were no members before.
pub(super) async fn add(on: &mut PgConnection, arrival: Arrival<'_>, users: &[UserId]) -> Result<Vec<UserId>> {
    let Arrival { conversation, seq, time, stamp } = arrival;
    // The conflict is a stay that ended before it saw anything.
    let rows = sqlx::query(
        "insert into stints (conversation, user_id, joined_seq, joined_time)
         select $1, e.user_id, $2, $3 from (select distinct user_id from unnest($4::text[]) u (user_id)) e
         where not exists (select from stints s
                           where s.conversation = $1 and s.user_id = e.user_id and s.left_seq is null)
         on conflict (conversation, user_id, joined_seq) do update set left_seq = null,
             joined_time = excluded.joined_time, role = excluded.role, alias = excluded.alias,
             muted_until = excluded.muted_until
         returning user_id",
    )
    .bind(conversation.as_str())
    .bind(int(seq))
    .bind(time)
    .bind(texts(users))
    .fetch_all(&mut *on)
    .await?;
    let added = rows.iter().map(|row| id(row, "user_id")).collect::<Result<Vec<UserId>>>()?;
    sqlx::query(
        "insert into user_conversations (user_id, conversation, time, stamp)
         select user_id, $1, $2, $3 from unnest($4::text[]) e (user_id)
         on conflict (user_id, conversation) do update set removed = null, hidden = false, time = excluded.time,
             stamp = excluded.stamp",
    )
    .bind(conversation.as_str())
    .bind(time)
    .bind(stamp.0)
    .bind(texts(&added))
    .execute(on)
    .await?;
    Ok(added)
}

/// Ends the stays of users and leaves tombstones. Returns those who were members.
pub(super) async fn remove(
    on: &mut PgConnection,
    departure: Departure<'_>,
    users: &[UserId],
    reason: RemovedReason,
) -> Result<Vec<Gone>> {
    let rows = sqlx::query(
        "update stints set left_seq = $2 where conversation = $1 and left_seq is null and user_id = any ($3)
         returning user_id, joined_seq",
    )
    .bind(departure.conversation.as_str())
    .bind(int(departure.seq))
    .bind(texts(users))
    .fetch_all(&mut *on)
    .await?;
    leave_tombstones(on, departure, rows, reason).await
}

/// Ends every stay and leaves tombstones. Returns who were members.
pub(super) async fn remove_everyone(
    on: &mut PgConnection,
    departure: Departure<'_>,
    reason: RemovedReason,
) -> Result<Vec<Gone>> {
    let rows = sqlx::query(
        "update stints set left_seq = $2 where conversation = $1 and left_seq is null returning user_id, joined_seq",
    )
    .bind(departure.conversation.as_str())
    .bind(int(departure.seq))
    .fetch_all(&mut *on)
    .await?;
    leave_tombstones(on, departure, rows, reason).await
}

async fn leave_tombstones(
    on: &mut PgConnection,
    departure: Departure<'_>,
    rows: Vec<PgRow>,
    reason: RemovedReason,
) -> Result<Vec<Gone>> {
    let gone = |row: &PgRow| Ok(Gone { user: id(row, "user_id")?, joined: number(row, "joined_seq")? });
    let mut gone = rows.iter().map(gone).collect::<Result<Vec<_>>>()?;
    // `returning` tells them in no order.
    gone.sort_by(|a, b| a.user.cmp(&b.user));
    let users: Vec<&str> = gone.iter().map(|gone| gone.user.as_str()).collect();
    sqlx::query(
        "update user_conversations set removed = $2, time = $3, stamp = $4
         where conversation = $1 and user_id = any ($5)",
    )
    .bind(departure.conversation.as_str())
    .bind(to_name(reason))
    .bind(departure.time)
    .bind(departure.stamp.0)
    .bind(&users)
    .execute(on)
    .await?;
    Ok(gone)
}
