//! Groups and rooms: reading and making them.

use async_trait::async_trait;
use im_protocol::{ConversationId, GroupId, RoomId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::append::{insert, save_tail};
use super::outbox::remember;
use super::rows::{id, name, small, to_name, users};
use super::stays::add;
use super::{PostgresStore, call, error, transact};
use crate::store::change::founded;
use crate::store::moves::Arrival;
use crate::store::tail::Tail;
use crate::store::values::escape_like;
use crate::store::{
    Committed, Decide, Group, GroupChange, GroupChanged, GroupSettings, Groups, JoinRequest, Member, MemberWithName,
    NewGroup, NewRoom, Result, Role, Room,
};

/// The columns that [`group`] reads, of `chat_groups g` joined with its `conversations c`.
macro_rules! group_columns {
    () => {
        "g.conversation, g.name, g.owner, g.announcement, g.join_mode, g.muted, g.dissolved, c.members"
    };
}
pub(super) use group_columns;

fn group_id(row: &PgRow) -> error::Result<GroupId> {
    let conversation: ConversationId = id(row, "conversation")?;
    conversation.as_group().ok_or_else(|| error::Fault::broken(format!("{conversation} stands among the groups")))
}

pub(super) fn group(row: &PgRow) -> error::Result<Group> {
    Ok(Group {
        group: group_id(row)?,
        settings: GroupSettings {
            name: row.try_get("name")?,
            owner: id(row, "owner")?,
            announcement: row.try_get("announcement")?,
            join: name(row, "join_mode")?,
            muted: row.try_get("muted")?,
            dissolved: row.try_get("dissolved")?,
        },
        members: small(row, "members")?,
    })
}

/// The columns that [`member`] reads, of `stints s`.
macro_rules! member_columns {
    () => {
        "s.user_id, s.role, s.alias, s.muted_until, s.joined_time"
    };
}
pub(super) use member_columns;

pub(super) fn member(row: &PgRow) -> error::Result<Member> {
    Ok(Member {
        user: id(row, "user_id")?,
        role: name(row, "role")?,
        alias: row.try_get("alias")?,
        muted_until: row.try_get("muted_until")?,
        joined: row.try_get("joined_time")?,
    })
}

pub(super) fn join_request(row: &PgRow) -> error::Result<JoinRequest> {
    Ok(JoinRequest {
        id: row.try_get("id")?,
        group: group_id(row)?,
        user: id(row, "user_id")?,
        message: row.try_get("message")?,
        time: row.try_get("time")?,
    })
}

/// Stores the settings of a group.
pub(super) async fn save_settings(
    on: &mut PgConnection,
    conversation: &ConversationId,
    settings: &GroupSettings,
) -> error::Result<()> {
    sqlx::query(
        "insert into chat_groups (conversation, name, owner, announcement, join_mode, muted, dissolved)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (conversation) do update set name = excluded.name, owner = excluded.owner,
             announcement = excluded.announcement, join_mode = excluded.join_mode, muted = excluded.muted,
             dissolved = excluded.dissolved",
    )
    .bind(conversation.as_str())
    .bind(settings.name.as_str())
    .bind(settings.owner.as_str())
    .bind(settings.announcement.as_str())
    .bind(to_name(settings.join))
    .bind(settings.muted)
    .bind(settings.dissolved)
    .execute(on)
    .await?;
    Ok(())
}

#[async_trait]
impl Groups for PostgresStore {
    async fn create_group(&self, new: NewGroup) -> Result<Committed> {
        let conversation = ConversationId::group(&new.group);
        let (tail, after) = founded(&new, self.large);
        let outbox = transact!(self, "create_group", |write| {
            let stamp = write.stamp().await?;
            save_tail(write.on(), &tail, stamp).await?;
            save_settings(write.on(), &conversation, &new.settings).await?;
            let arrival = Arrival { conversation: &conversation, seq: 1, time: new.time, stamp };
            add(write.on(), arrival, &after.moves.added).await?;
            sqlx::query("update stints set role = $3 where conversation = $1 and user_id = $2 and left_seq is null")
                .bind(conversation.as_str())
                .bind(new.settings.owner.as_str())
                .bind(to_name(Role::Owner))
                .execute(write.on())
                .await?;
            if after.large {
                sqlx::query("update conversations set large = true where id = $1")
                    .bind(conversation.as_str())
                    .execute(write.on())
                    .await?;
            }
            insert(write.on(), &after.drafts).await?;
            remember(&mut write, new.time, &after.items()).await?
        });
        Ok(after.committed(outbox))
    }

    async fn group(&self, id: &GroupId) -> Result<Option<Group>> {
        let row = call!(self, "group", |on| sqlx::query(concat!(
            "select ",
            group_columns!(),
            " from chat_groups g join conversations c on c.id = g.conversation where g.conversation = $1"
        ))
        .bind(ConversationId::group(id).as_str())
        .fetch_optional(on));
        Ok(row.as_ref().map(group).transpose()?)
    }

    async fn groups_of(&self, user: &UserId, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>> {
        let rows = call!(self, "groups_of", |on| sqlx::query(concat!(
            "select ",
            group_columns!(),
            " from stints s
              join chat_groups g on g.conversation = s.conversation
              join conversations c on c.id = s.conversation
              where s.user_id = $1 and s.left_seq is null and s.conversation > $2
              order by s.conversation limit $3"
        ))
        .bind(user.as_str())
        .bind(after_group(after))
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(group).collect::<error::Result<_>>()?)
    }

    async fn search_groups(&self, query: &str, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>> {
        let rows = call!(self, "search_groups", |on| sqlx::query(concat!(
            "select ",
            group_columns!(),
            " from chat_groups g join conversations c on c.id = g.conversation
              where not g.dissolved and g.conversation > $2
                  and (g.name ilike '%' || $3 || '%' escape '\\' or g.conversation = 'g:' || $1)
              order by g.conversation limit $4"
        ))
        .bind(query)
        .bind(after_group(after))
        .bind(escape_like(query))
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(group).collect::<error::Result<_>>()?)
    }

    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: u32) -> Result<Vec<MemberWithName>> {
        let rows = call!(self, "members", |on| sqlx::query(concat!(
            "select ",
            member_columns!(),
            ", a.name from stints s join accounts a on a.user_id = s.user_id
              where s.conversation = $1 and s.left_seq is null and s.user_id > $2 order by s.user_id limit $3"
        ))
        .bind(ConversationId::group(group).as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(i64::from(limit))
        .fetch_all(on));
        let with_name = |row: &PgRow| Ok(MemberWithName { member: member(row)?, name: row.try_get("name")? });
        Ok(rows.iter().map(with_name).collect::<error::Result<_>>()?)
    }

    async fn member(&self, group: &GroupId, user: &UserId) -> Result<Option<Member>> {
        let row = call!(self, "member", |on| sqlx::query(concat!(
            "select ",
            member_columns!(),
            " from stints s where s.conversation = $1 and s.user_id = $2 and s.left_seq is null"
        ))
        .bind(ConversationId::group(group).as_str())
        .bind(user.as_str())
        .fetch_optional(on));
        Ok(row.as_ref().map(member).transpose()?)
    }

    async fn change_group(&self, change: GroupChange, decide: Decide<'_>) -> Result<GroupChanged> {
        self.change(&change, decide).await
    }

    async fn join_requests(&self, group: &GroupId, before: Option<&str>, limit: u32) -> Result<Vec<JoinRequest>> {
        let rows = call!(self, "join_requests", |on| sqlx::query(
            "select id, conversation, user_id, message, time from join_requests
             where conversation = $1 and ($2::text is null or id < $2) order by id desc limit $3",
        )
        .bind(ConversationId::group(group).as_str())
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(join_request).collect::<error::Result<_>>()?)
    }

    async fn join_request(&self, group: &GroupId, id: &str) -> Result<Option<JoinRequest>> {
        let row = call!(self, "join_request", |on| sqlx::query(
            "select id, conversation, user_id, message, time from join_requests where id = $1 and conversation = $2"
        )
        .bind(id)
        .bind(ConversationId::group(group).as_str())
        .fetch_optional(on));
        Ok(row.as_ref().map(join_request).transpose()?)
    }

    async fn managers(&self, group: &GroupId) -> Result<Vec<UserId>> {
        let found: Vec<String> = call!(self, "managers", |on| sqlx::query_scalar(
            "select user_id from stints
             where conversation = $1 and left_seq is null and role <> 'member' order by user_id",
        )
        .bind(ConversationId::group(group).as_str())
        .fetch_all(on));
        Ok(users(&found)?)
    }

    async fn create_room(&self, new: NewRoom) -> Result<()> {
        let conversation = ConversationId::room(&new.room);
        let tail = Tail { last_time: new.time, ..Tail::empty(conversation.clone(), 0) };
        transact!(self, "create_room", |write| {
            let stamp = write.stamp().await?;
            save_tail(write.on(), &tail, stamp).await?;
            sqlx::query("insert into rooms (conversation, name, owner) values ($1, $2, $3)")
                .bind(conversation.as_str())
                .bind(new.name.as_str())
                .bind(new.owner.as_str())
                .execute(write.on())
                .await?;
        });
        Ok(())
    }

    async fn room(&self, room: &RoomId) -> Result<Option<Room>> {
        let row = call!(self, "room", |on| sqlx::query("select name, owner from rooms where conversation = $1")
            .bind(ConversationId::room(room).as_str())
            .fetch_optional(on));
        let found = |row: &PgRow| Ok(Room { room: room.clone(), name: row.try_get("name")?, owner: id(row, "owner")? });
        Ok(row.as_ref().map(found).transpose().map_err(|fault: error::Fault| fault)?)
    }
}

/// Where a list of groups goes on; from the start, before the first id a group can have.
fn after_group(after: Option<&GroupId>) -> String {
    after.map_or_else(|| "g:".to_owned(), |group| ConversationId::group(group).to_string())
}
