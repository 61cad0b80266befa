//! Groups and rooms: reading and making them.

use async_trait::async_trait;
use im_protocol::{ConversationId, GroupId, RoomId, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::append::{insert, save_tails};
use super::facts::users;
use super::outbox::remember;
use super::rows::{id, name, to_name};
use super::stays::add;
use crate::store::change::founded;
use crate::store::moves::Arrival;
use crate::store::tail::Tail;
use crate::store::values::escape_like;
use crate::store::{
    Committed, Decide, Group, GroupChange, GroupChanged, GroupSettings, Groups, JoinRequest, Member, MemberWithName,
    NewGroup, NewRoom, Result, Role, Room, StoreError,
};

/// The columns that [`group`] reads, of `chat_groups g` joined with its `conversations c`.
macro_rules! group_columns {
    () => {
        "g.conversation, g.name, g.owner, g.announcement, g.join_mode, g.muted, g.dissolved, c.members"
    };
}
pub(super) use group_columns;

pub(super) fn group(row: &SqliteRow) -> Result<Group> {
    let conversation: ConversationId = id(row, "conversation")?;
    let group =
        conversation.as_group().ok_or_else(|| StoreError::Broken(format!("{conversation} stands among the groups")))?;
    Ok(Group {
        group,
        settings: GroupSettings {
            name: row.try_get("name")?,
            owner: id(row, "owner")?,
            announcement: row.try_get("announcement")?,
            join: name(row, "join_mode")?,
            muted: row.try_get("muted")?,
            dissolved: row.try_get("dissolved")?,
        },
        members: row.try_get("members")?,
    })
}

/// The columns that [`member`] reads, of `stints s`.
macro_rules! member_columns {
    () => {
        "s.user, s.role, s.alias, s.muted_until, s.joined_time"
    };
}
pub(super) use member_columns;

pub(super) fn member(row: &SqliteRow) -> Result<Member> {
    Ok(Member {
        user: id(row, "user")?,
        role: name(row, "role")?,
        alias: row.try_get("alias")?,
        muted_until: row.try_get("muted_until")?,
        joined: row.try_get("joined_time")?,
    })
}

pub(super) fn join_request(row: &SqliteRow) -> Result<JoinRequest> {
    let conversation: ConversationId = id(row, "conversation")?;
    let group =
        conversation.as_group().ok_or_else(|| StoreError::Broken(format!("{conversation} has join requests")))?;
    Ok(JoinRequest {
        id: row.try_get("id")?,
        group,
        user: id(row, "user")?,
        message: row.try_get("message")?,
        time: row.try_get("time")?,
    })
}

/// Stores the settings of a group.
pub(super) async fn save_settings(
    on: &mut SqliteConnection,
    conversation: &ConversationId,
    settings: &GroupSettings,
) -> Result<()> {
    sqlx::query(
        "insert into chat_groups (conversation, name, owner, announcement, join_mode, muted, dissolved)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
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
impl Groups for SqliteStore {
    async fn create_group(&self, new: NewGroup) -> Result<Committed> {
        let conversation = ConversationId::group(&new.group);
        let (tail, after) = founded(&new, self.large);
        let mut write = self.write().await?;
        let stamp = write.stamp;
        save_tails(write.on(), [&tail], stamp).await?;
        save_settings(write.on(), &conversation, &new.settings).await?;
        let arrival = Arrival { conversation: &conversation, seq: 1, time: new.time, stamp };
        add(write.on(), arrival, &after.moves.added).await?;
        sqlx::query("update stints set role = ?3 where conversation = ?1 and user = ?2 and left_seq is null")
            .bind(conversation.as_str())
            .bind(new.settings.owner.as_str())
            .bind(to_name(Role::Owner))
            .execute(write.on())
            .await?;
        if after.large {
            sqlx::query("update conversations set large = 1 where id = ?1")
                .bind(conversation.as_str())
                .execute(write.on())
                .await?;
        }
        insert(write.on(), &after.drafts).await?;
        let outbox = remember(&mut write, new.time, &after.items()).await?;
        write.commit().await?;
        Ok(after.committed(outbox))
    }

    async fn group(&self, id: &GroupId) -> Result<Option<Group>> {
        let row = sqlx::query(concat!(
            "select ",
            group_columns!(),
            " from chat_groups g cross join conversations c on c.id = g.conversation where g.conversation = ?1"
        ))
        .bind(ConversationId::group(id).as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(group).transpose()
    }

    async fn groups_of(&self, user: &UserId, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>> {
        let rows = sqlx::query(concat!(
            "select ",
            group_columns!(),
            " from stints s
              cross join chat_groups g on g.conversation = s.conversation
              cross join conversations c on c.id = s.conversation
              where s.user = ?1 and s.left_seq is null and s.conversation > ?2
              order by s.conversation limit ?3"
        ))
        .bind(user.as_str())
        .bind(after_group(after))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(group).collect()
    }

    async fn search_groups(&self, query: &str, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>> {
        let rows = sqlx::query(concat!(
            "select ",
            group_columns!(),
            " from chat_groups g cross join conversations c on c.id = g.conversation
              where g.dissolved = 0 and g.conversation > ?2
                  and (g.name like '%' || ?3 || '%' escape '\\' or g.conversation = 'g:' || ?1)
              order by g.conversation limit ?4"
        ))
        .bind(query)
        .bind(after_group(after))
        .bind(escape_like(query))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(group).collect()
    }

    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: u32) -> Result<Vec<MemberWithName>> {
        let rows = sqlx::query(concat!(
            "select ",
            member_columns!(),
            ", a.name from stints s cross join accounts a on a.user = s.user
              where s.conversation = ?1 and s.left_seq is null and s.user > ?2 order by s.user limit ?3"
        ))
        .bind(ConversationId::group(group).as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok(MemberWithName { member: member(row)?, name: row.try_get("name")? })).collect()
    }

    async fn member(&self, group: &GroupId, user: &UserId) -> Result<Option<Member>> {
        let row = sqlx::query(concat!(
            "select ",
            member_columns!(),
            " from stints s where s.conversation = ?1 and s.user = ?2 and s.left_seq is null"
        ))
        .bind(ConversationId::group(group).as_str())
        .bind(user.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(member).transpose()
    }

    async fn change_group(&self, change: GroupChange, decide: Decide<'_>) -> Result<GroupChanged> {
        self.change(change, decide).await
    }

    async fn join_requests(&self, group: &GroupId, before: Option<&str>, limit: u32) -> Result<Vec<JoinRequest>> {
        let rows = sqlx::query(
            "select id, conversation, user, message, time from join_requests
             where conversation = ?1 and (?2 is null or id < ?2) order by id desc limit ?3",
        )
        .bind(ConversationId::group(group).as_str())
        .bind(before)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(join_request).collect()
    }

    async fn join_request(&self, group: &GroupId, id: &str) -> Result<Option<JoinRequest>> {
        let row = sqlx::query(
            "select id, conversation, user, message, time from join_requests where id = ?1 and conversation = ?2",
        )
        .bind(id)
        .bind(ConversationId::group(group).as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(join_request).transpose()
    }

    async fn managers(&self, group: &GroupId) -> Result<Vec<UserId>> {
        let found: Vec<String> = sqlx::query_scalar(
            "select user from stints indexed by stints_managers
             where conversation = ?1 and left_seq is null and role <> 'member' order by user",
        )
        .bind(ConversationId::group(group).as_str())
        .fetch_all(&self.readers)
        .await?;
        users(&found)
    }

    async fn create_room(&self, new: NewRoom) -> Result<()> {
        let conversation = ConversationId::room(&new.room);
        let tail = Tail { last_time: new.time, ..Tail::empty(conversation.clone(), 0) };
        let mut write = self.write().await?;
        let stamp = write.stamp;
        save_tails(write.on(), [&tail], stamp).await?;
        sqlx::query("insert into rooms (conversation, name, owner) values (?1, ?2, ?3)")
            .bind(conversation.as_str())
            .bind(new.name)
            .bind(new.owner.as_str())
            .execute(write.on())
            .await?;
        write.commit().await
    }

    async fn room(&self, room: &RoomId) -> Result<Option<Room>> {
        let row = sqlx::query("select name, owner from rooms where conversation = ?1")
            .bind(ConversationId::room(room).as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok(Room { room: room.clone(), name: row.try_get("name")?, owner: id(&row, "owner")? }))
            .transpose()
    }
}

/// Where a list of groups goes on; from the start, before the first id a group can have.
fn after_group(after: Option<&GroupId>) -> String {
    after.map_or_else(|| "g:".to_owned(), |group| ConversationId::group(group).to_string())
}
