//! Friends, friend requests and blocks.

use async_trait::async_trait;
use im_protocol::{ConversationId, TimeMs, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::accounts::account;
use super::rows::{id, texts, users};
use super::session::Write;
use super::{PostgresStore, call, error, transact};
use crate::store::{Account, Answered, Friend, FriendRequest, Requested, Result, Social};

fn opened(row: &PgRow) -> error::Result<FriendRequest> {
    Ok(FriendRequest {
        id: row.try_get("id")?,
        from: id(row, "asking")?,
        to: id(row, "asked")?,
        message: row.try_get("message")?,
        time: row.try_get("time")?,
    })
}

fn friend(row: &PgRow) -> error::Result<Friend> {
    Ok(Friend { user: id(row, "friend")?, name: row.try_get("name")?, remark: row.try_get("remark")? })
}

/// A remark is the title of the direct conversation: notes that it changed for `user`.
async fn touch_title(write: &mut Write<'_>, user: &UserId, friend: &UserId) -> error::Result<()> {
    let stamp = write.stamp().await?;
    sqlx::query("update user_conversations set stamp = $3 where user_id = $1 and conversation = $2")
        .bind(user.as_str())
        .bind(ConversationId::direct(user, friend).as_str())
        .bind(stamp.0)
        .execute(write.on())
        .await?;
    Ok(())
}

#[async_trait]
impl Social for PostgresStore {
    async fn request_friend(&self, request: FriendRequest) -> Result<Requested> {
        let open = transact!(self, "request_friend", |write| {
            let facts = sqlx::query(
                "select exists (select from friends where user_id = $1 and friend = $2) as friends,
                        exists (select from blocks where user_id = $2 and other = $1) as blocked",
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
                "insert into friend_requests (id, asking, asked, message, time) values ($1, $2, $3, $4, $5)
                 on conflict (asking, asked) do update set message = excluded.message
                 returning id, asking, asked, message, time",
            )
            .bind(request.id.as_str())
            .bind(request.from.as_str())
            .bind(request.to.as_str())
            .bind(request.message.as_str())
            .bind(request.time)
            .fetch_one(write.on())
            .await?;
            Requested::Open(opened(&open)?)
        });
        Ok(open)
    }

    async fn friend_requests(&self, to: &UserId, before: Option<&str>, limit: u32) -> Result<Vec<FriendRequest>> {
        let rows = call!(self, "friend_requests", |on| sqlx::query(
            "select id, asking, asked, message, time from friend_requests
             where asked = $1 and ($2::text is null or id < $2) order by id desc limit $3",
        )
        .bind(to.as_str())
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(opened).collect::<error::Result<_>>()?)
    }

    async fn answer_friend_request(&self, to: &UserId, id: &str, accept: bool, time: TimeMs) -> Result<Answered> {
        let answered = transact!(self, "answer_friend_request", |write| {
            let row = sqlx::query(
                "delete from friend_requests where id = $1 and asked = $2 returning id, asking, asked, message, time",
            )
            .bind(id)
            .bind(to.as_str())
            .fetch_optional(write.on())
            .await?;
            let Some(row) = row else { return Ok(Answered::NotFound) };
            let request = opened(&row)?;
            if accept {
                sqlx::query("delete from friend_requests where asking = $1 and asked = $2")
                    .bind(to.as_str())
                    .bind(request.from.as_str())
                    .execute(write.on())
                    .await?;
                sqlx::query(
                    "insert into friends (user_id, friend, since) values ($1, $2, $3), ($2, $1, $3)
                     on conflict do nothing",
                )
                .bind(to.as_str())
                .bind(request.from.as_str())
                .bind(time)
                .execute(write.on())
                .await?;
            }
            Answered::Done(request)
        });
        Ok(answered)
    }

    async fn friends(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Friend>> {
        let rows = call!(self, "friends", |on| sqlx::query(
            "select f.friend, a.name, f.remark from friends f join accounts a on a.user_id = f.friend
             where f.user_id = $1 and f.friend > $2 order by f.friend limit $3",
        )
        .bind(user.as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(friend).collect::<error::Result<_>>()?)
    }

    async fn friends_among(&self, user: &UserId, others: &[UserId]) -> Result<Vec<UserId>> {
        let found: Vec<String> = call!(self, "friends_among", |on| sqlx::query_scalar(
            "select f.friend from unnest($2::text[]) with ordinality e (other, n)
             join friends f on f.user_id = $1 and f.friend = e.other order by e.n",
        )
        .bind(user.as_str())
        .bind(texts(others))
        .fetch_all(on));
        Ok(users(&found)?)
    }

    async fn set_remark(&self, user: &UserId, friend: &UserId, remark: &str) -> Result<bool> {
        let set = transact!(self, "set_remark", |write| {
            let set = sqlx::query("update friends set remark = $3 where user_id = $1 and friend = $2")
                .bind(user.as_str())
                .bind(friend.as_str())
                .bind(remark)
                .execute(write.on())
                .await?
                .rows_affected();
            touch_title(&mut write, user, friend).await?;
            set
        });
        Ok(set == 1)
    }

    async fn remove_friend(&self, user: &UserId, friend: &UserId) -> Result<bool> {
        let gone = transact!(self, "remove_friend", |write| {
            let gone = sqlx::query(
                "delete from friends where (user_id = $1 and friend = $2) or (user_id = $2 and friend = $1)",
            )
            .bind(user.as_str())
            .bind(friend.as_str())
            .execute(write.on())
            .await?
            .rows_affected();
            touch_title(&mut write, user, friend).await?;
            touch_title(&mut write, friend, user).await?;
            gone
        });
        Ok(gone > 0)
    }

    async fn blocks(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        let rows = call!(self, "blocks", |on| sqlx::query(
            "select a.user_id, a.name, a.avatar from blocks b join accounts a on a.user_id = b.other
             where b.user_id = $1 and b.other > $2 order by b.other limit $3",
        )
        .bind(user.as_str())
        .bind(after.map_or("", UserId::as_str))
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(account).collect::<error::Result<_>>()?)
    }

    async fn set_block(&self, user: &UserId, other: &UserId, blocked: bool, time: TimeMs) -> Result<()> {
        if blocked {
            call!(self, "set_block", |on| sqlx::query(
                "insert into blocks (user_id, other, time) values ($1, $2, $3) on conflict do nothing"
            )
            .bind(user.as_str())
            .bind(other.as_str())
            .bind(time)
            .execute(on));
        } else {
            call!(self, "set_block", |on| sqlx::query("delete from blocks where user_id = $1 and other = $2")
                .bind(user.as_str())
                .bind(other.as_str())
                .execute(on));
        }
        Ok(())
    }

    async fn blocked_by(&self, user: &UserId, others: &[UserId]) -> Result<Vec<UserId>> {
        let found: Vec<String> = call!(self, "blocked_by", |on| sqlx::query_scalar(
            "select b.user_id from unnest($2::text[]) with ordinality e (other, n)
             join blocks b on b.user_id = e.other and b.other = $1 order by e.n",
        )
        .bind(user.as_str())
        .bind(texts(others))
        .fetch_all(on));
        Ok(users(&found)?)
    }
}
