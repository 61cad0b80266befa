//! What is stored of conversations and of those who act in them.

use im_protocol::{ConversationId, UserId};
use sqlx::{PgConnection, Row};

use super::error::Result;
use super::rows::{maybe_name, number, small, stints};
use crate::store::tail::Tail;
use crate::store::{Role, Stint};

/// What is stored of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) tail: Tail,
    pub(super) members_version: u64,
    pub(super) large: bool,
    pub(super) dissolved: bool,
}

/// Locks a conversation. What is looked up afterwards is what the lock waited for, and stays so.
pub(super) async fn lock(on: &mut PgConnection, id: &ConversationId) -> Result<()> {
    sqlx::query("select from conversations where id = $1 for no key update").bind(id.as_str()).execute(on).await?;
    Ok(())
}

/// What is stored of a conversation; `None` if it is not there.
pub(super) async fn conversation(on: &mut PgConnection, id: &ConversationId) -> Result<Option<Conversation>> {
    let row = sqlx::query(
        "select c.head, c.rev, c.incarnation, c.badge_count, c.last_time, c.members, c.members_version, c.large,
                coalesce(g.dissolved, false) as dissolved
         from conversations c left join chat_groups g on g.conversation = c.id where c.id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(on)
    .await?;
    row.map(|row| {
        let tail = Tail {
            conversation: id.clone(),
            head: number(&row, "head")?,
            rev: number(&row, "rev")?,
            incarnation: small(&row, "incarnation")?,
            badge_count: number(&row, "badge_count")?,
            last_time: row.try_get("last_time")?,
            members: small(&row, "members")?,
        };
        Ok(Conversation {
            tail,
            members_version: number(&row, "members_version")?,
            large: row.try_get("large")?,
            dissolved: row.try_get("dissolved")?,
        })
    })
    .transpose()
}

/// What is stored of someone in a conversation.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    pub(super) stints: Vec<Stint>,
    /// Of the present stint.
    pub(super) role: Option<Role>,
    /// How many of their messages count as unread for others.
    pub(super) own_count: u64,
}

/// What is stored of someone in a conversation.
pub(super) async fn acting(on: &mut PgConnection, id: &ConversationId, user: &UserId) -> Result<Acting> {
    let row = sqlx::query(
        "select array(select joined_seq from stints where conversation = $1 and user_id = $2 order by joined_seq)
                    as joined,
                array(select left_seq from stints where conversation = $1 and user_id = $2 order by joined_seq) as ended,
                (select role from stints where conversation = $1 and user_id = $2 and left_seq is null) as role,
                coalesce((select own_count from messages where conversation = $1 and sender = $2
                          order by seq desc limit 1), 0) as own_count",
    )
    .bind(id.as_str())
    .bind(user.as_str())
    .fetch_one(on)
    .await?;
    Ok(Acting {
        stints: stints(&row, "joined", "ended")?,
        role: maybe_name(&row, "role")?,
        own_count: number(&row, "own_count")?,
    })
}
