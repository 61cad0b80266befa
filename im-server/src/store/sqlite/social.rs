//! Friends, friend requests and blocks.

use async_trait::async_trait;
use im_protocol::{ConversationId, TimeMs, UserId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::accounts::account;
use super::rows::{id, json, parse};
use super::{SqliteStore, Write};
use crate::store::{Account, Answered, Friend, FriendRequest, Requested, Result, Social};

fn request(row: &SqliteRow) -> Result<FriendRequest> {
    Ok(FriendRequest {
        id: row.try_get("id")?,
        from: id(row, "asking")?,
        to: id(row, "asked")?,
        message: row.try_get("message")?,
        time: row.try_get("time")?,
    })
}

fn friend(row: &SqliteRow) -> Result<Friend> {
    Ok(Friend { user: id(row, "friend")?, name: row.try_get("name")?, remark: row.try_get("remark")? })
}

fn users(found: &[String]) -> Result<Vec<UserId>> {
    found.iter().map(|user| parse(user)).collect()
}

/// A remark is the title of the direct conversation: notes that it changed for `user`.
async fn touch_title(write: &mut Write, user: &UserId, friend: &UserId) -> Result<()> {
    let stamp = write.stamp;
    sqlx::query("update user_conversations set stamp = ?3 where user = ?1 and conversation = ?2")
        .bind(user.as_str())
        .bind(ConversationId::direct(user, friend).as_str())
        .bind(stamp.0)
        .execute(write.on())
        .await?;
    Ok(())
}

#[async_trait]
impl Social for SqliteStore {
    async fn request_friend(&self, request: FriendRequest) -> Result<Requested> {
        let mut write = self.write().await?;
        let facts = sqlx::query(
            "select exists (select 1 from friends where user = ?1 and friend = ?2) as friends,
                    exists (select 1 from blocks where user = ?2 and other = ?1) as blocked",
        )
        .bind(request.from.as_str())
        .bind(request.to.as_str())
        .fetch_one(write.on())
        .await?;
        if facts.try_get("friends")? {
            return Ok(Requested::AlreadyFriends);
        }
        if facts.try_get("blocked")? {
            return Ok(Requested::Blocked);
        }
        let open = sqlx::query(
            "insert into friend_requests (id, asking, asked, message, time) values (?1, ?2, ?3, ?4, ?5)
             on conflict (asking, asked) do update set message = excluded.message
             returning id, asking, asked, message, time",
        )
        .bind(request.id)
        .bind(request.from.as_str())
        .bind(request.to.as_str())
        .bind(request.message)
        .bind(request.time)
        .fetch_one(write.on())
        .await?;
        write.commit().await?;
        Ok(Requested::Open(self::request(&open)?))
    }

    async fn friend_requests(&self, to: &UserId, before: Option<&str>, limit: u32) -> Result<Vec<FriendRequest>> {
        let rows = sqlx::query(
            "select id, asking, asked, message, time from friend_requests
             where asked = ?1 and (?2 is null or id < ?2) order by id desc limit ?3",
        )
        .bind(to.as_str())
        .bind(before)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(request).collect()
    }

    async fn answer_friend_request(&self, to: &UserId, id: &str, accept: bool, time: TimeMs) -> Result<Answered> {
        let mut write = self.write().await?;
        let row = sqlx::query(
            "delete from friend_requests where id = ?1 and asked = ?2 returning id, asking, asked, message, time",
        )
        .bind(id)
        .bind(to.as_str())
        .fetch_optional(write.on())
        .await?;
        let Some(row) = row else { return Ok(Answered::NotFound) };
        let request = request(&row)?;
        if accept {
            sqlx::query("delete from friend_requests where asking = ?1 and asked = ?2")
                .bind(to.as_str())
                .bind(request.from.as_str())
                .execute(write.on())
                .await?;
            sqlx::query(
                "insert into friends (user, friend, since) values (?1, ?2, ?3), (?2, ?1, ?3) on conflict do nothing",
            )
            .bind(to.as_str())
            .bind(request.from.as_str())
            .bind(time)
            .execute(write.on())
            .await?;
        }
        write.commit().await?;
        Ok(Answered::Done(request))
    }

    async fn friends(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Friend>> {
        let rows = sqlx::query(
            "select f.friend, a.name, f.remark from friends f cross join accounts a on a.user = f.friend
             where f.user = ?1 and f.friend > ?2 order by f.friend limit ?3",
        )
        .bind(user.as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(friend).collect()
    }

    async fn friends_among(&self, user: &UserId, others: &[UserId]) -> Result<Vec<UserId>> {
        let found: Vec<String> = sqlx::query_scalar(
            "select f.friend from json_each(?2) e cross join friends f on f.user = ?1 and f.friend = e.value
             order by e.key",
        )
        .bind(user.as_str())
        .bind(json(others))
        .fetch_all(&self.readers)
        .await?;
        users(&found)
    }

    async fn set_remark(&self, user: &UserId, friend: &UserId, remark: &str) -> Result<bool> {
        let mut write = self.write().await?;
        let set = sqlx::query("update friends set remark = ?3 where user = ?1 and friend = ?2")
            .bind(user.as_str())
            .bind(friend.as_str())
            .bind(remark)
            .execute(write.on())
            .await?
            .rows_affected();
        touch_title(&mut write, user, friend).await?;
        write.commit().await?;
        Ok(set == 1)
    }

    async fn remove_friend(&self, user: &UserId, friend: &UserId) -> Result<bool> {
        let mut write = self.write().await?;
        let gone = sqlx::query("delete from friends where (user = ?1 and friend = ?2) or (user = ?2 and friend = ?1)")
            .bind(user.as_str())
            .bind(friend.as_str())
            .execute(write.on())
            .await?
            .rows_affected();
        touch_title(&mut write, user, friend).await?;
        touch_title(&mut write, friend, user).await?;
        write.commit().await?;
        Ok(gone > 0)
    }

    async fn blocks(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        let rows = sqlx::query(
            "select a.user, a.name, a.avatar from blocks b cross join accounts a on a.user = b.other
             where b.user = ?1 and b.other > ?2 order by b.other limit ?3",
        )
        .bind(user.as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(account).collect()
    }

    async fn set_block(&self, user: &UserId, other: &UserId, blocked: bool, time: TimeMs) -> Result<()> {
        let mut write = self.write().await?;
        if blocked {
            sqlx::query("insert into blocks (user, other, time) values (?1, ?2, ?3) on conflict do nothing")
                .bind(user.as_str())
                .bind(other.as_str())
                .bind(time)
                .execute(write.on())
                .await?;
        } else {
            sqlx::query("delete from blocks where user = ?1 and other = ?2")
                .bind(user.as_str())
                .bind(other.as_str())
                .execute(write.on())
                .await?;
        }
        write.commit().await
    }

    async fn blocked_by(&self, user: &UserId, others: &[UserId]) -> Result<Vec<UserId>> {
        let found: Vec<String> = sqlx::query_scalar(
            "select b.user from json_each(?2) e cross join blocks b on b.user = e.value and b.other = ?1
             order by e.key",
        )
        .bind(user.as_str())
        .bind(json(others))
        .fetch_all(&self.readers)
        .await?;
        users(&found)
    }
}
