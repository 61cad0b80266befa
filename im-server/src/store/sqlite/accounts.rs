//! Accounts.

use async_trait::async_trait;
use im_protocol::{TimeMs, UserId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::{id, json};
use crate::store::values::escape_like;
use crate::store::{Account, Accounts, NewAccount, ProfileChange, Result};

pub(super) fn account(row: &SqliteRow) -> Result<Account> {
    Ok(Account { user: id(row, "user")?, name: row.try_get("name")?, avatar: row.try_get("avatar")? })
}

#[async_trait]
impl Accounts for SqliteStore {
    async fn create_account(&self, account: NewAccount) -> Result<bool> {
        let mut write = self.write().await?;
        let made = sqlx::query(
            "insert into accounts (user, name, password_hash, created) values (?1, ?2, ?3, ?4) on conflict do nothing",
        )
        .bind(account.user.as_str())
        .bind(account.name)
        .bind(account.password_hash)
        .bind(account.created)
        .execute(write.on())
        .await?
        .rows_affected();
        write.commit().await?;
        Ok(made == 1)
    }

    async fn accounts(&self, users: &[UserId]) -> Result<Vec<Option<Account>>> {
        let mut found = vec![None; users.len()];
        let rows = sqlx::query(
            "select e.key as place, a.user, a.name, a.avatar
             from json_each(?1) e cross join accounts a on a.user = e.value collate nocase",
        )
        .bind(json(users))
        .fetch_all(&self.readers)
        .await?;
        for row in &rows {
            found[row.try_get::<u32, _>("place")? as usize] = Some(account(row)?);
        }
        Ok(found)
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<(UserId, String)>> {
        let row = sqlx::query("select user, password_hash from accounts where user = ?1 collate nocase")
            .bind(user.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok((id(&row, "user")?, row.try_get("password_hash")?))).transpose()
    }

    async fn update_profile(&self, user: &UserId, change: ProfileChange) -> Result<Option<Account>> {
        let mut write = self.write().await?;
        let row = sqlx::query(
            "update accounts set name = coalesce(?2, name), avatar = coalesce(?3, avatar) where user = ?1
             returning user, name, avatar",
        )
        .bind(user.as_str())
        .bind(change.name.as_deref())
        .bind(change.avatar.as_deref())
        .fetch_optional(write.on())
        .await?;
        if row.is_some() && change.name.is_some() {
            // The name is the title of the direct conversations that others have with the user.
            sqlx::query(
                "update user_conversations set stamp = ?2 where (user, conversation) in (
                     select s.user, s.conversation
                     from stints mine cross join stints s on s.conversation = mine.conversation and s.left_seq is null
                     where mine.user = ?1 and mine.left_seq is null and mine.conversation >= 'd:'
                         and mine.conversation < 'd;')",
            )
            .bind(user.as_str())
            .bind(write.stamp.0)
            .execute(write.on())
            .await?;
        }
        write.commit().await?;
        row.as_ref().map(account).transpose()
    }

    async fn search_accounts(&self, query: &str, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        let rows = sqlx::query(
            "select user, name, avatar from accounts
             where user > ?1 and (user like ?2 || '%' escape '\\' or name like '%' || ?2 || '%' escape '\\')
             order by user limit ?3",
        )
        .bind(after.map_or("", UserId::as_str))
        .bind(escape_like(query))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(account).collect()
    }

    async fn save_last_seen(&self, seen: &[(UserId, TimeMs)]) -> Result<()> {
        let mut write = self.write().await?;
        sqlx::query(
            "update accounts set last_seen = max(coalesce(last_seen, 0), e.time)
             from (select value ->> 0 as user, max(value ->> 1) as time from json_each(?1) group by 1) e
             where accounts.user = e.user",
        )
        .bind(json(seen))
        .execute(write.on())
        .await?;
        write.commit().await
    }

    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<TimeMs>>> {
        Ok(sqlx::query_scalar(
            "select a.last_seen from json_each(?1) e left join accounts a on a.user = e.value order by e.key",
        )
        .bind(json(users))
        .fetch_all(&self.readers)
        .await?)
    }
}
