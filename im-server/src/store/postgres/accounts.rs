//! Accounts.

use async_trait::async_trait;
use im_protocol::{TimeMs, UserId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::rows::{id, texts};
use super::{PostgresStore, call, error, transact};
use crate::store::values::escape_like;
use crate::store::{Account, Accounts, NewAccount, ProfileChange, Result};

pub(super) fn account(row: &PgRow) -> error::Result<Account> {
    Ok(Account { user: id(row, "user_id")?, name: row.try_get("name")?, avatar: row.try_get("avatar")? })
}

#[async_trait]
impl Accounts for PostgresStore {
    async fn create_account(&self, account: NewAccount) -> Result<bool> {
        let made = call!(self, "create_account", |on| sqlx::query(
            "insert into accounts (user_id, name, password_hash, created) values ($1, $2, $3, $4)
             on conflict do nothing",
        )
        .bind(account.user.as_str())
        .bind(account.name)
        .bind(account.password_hash)
        .bind(account.created)
        .execute(on));
        Ok(made.rows_affected() == 1)
    }

    async fn accounts(&self, users: &[UserId]) -> Result<Vec<Option<Account>>> {
        let rows = call!(self, "accounts", |on| sqlx::query(
            "select a.user_id, a.name, a.avatar from unnest($1::text[]) with ordinality e (user_id, n)
             left join accounts a on lower(a.user_id) = lower(e.user_id collate \"C\") order by e.n",
        )
        .bind(texts(users))
        .fetch_all(on));
        let found = |row: &PgRow| {
            let there = row.try_get::<Option<&str>, _>("user_id").map_err(error::Fault::from)?.is_some();
            Ok(there.then(|| account(row)).transpose()?)
        };
        rows.iter().map(found).collect()
    }

    async fn credentials(&self, user: &UserId) -> Result<Option<(UserId, String)>> {
        let row = call!(self, "credentials", |on| sqlx::query(
            "select user_id, password_hash from accounts where lower(user_id) = lower($1 collate \"C\")"
        )
        .bind(user.as_str())
        .fetch_optional(on));
        let found = |row: &PgRow| Ok::<_, error::Fault>((id(row, "user_id")?, row.try_get("password_hash")?));
        Ok(row.as_ref().map(found).transpose()?)
    }

    async fn update_profile(&self, user: &UserId, change: ProfileChange) -> Result<Option<Account>> {
        let row = transact!(self, "update_profile", |write| {
            let row = sqlx::query(
                "update accounts set name = coalesce($2, name), avatar = coalesce($3, avatar) where user_id = $1
                 returning user_id, name, avatar",
            )
            .bind(user.as_str())
            .bind(change.name.as_deref())
            .bind(change.avatar.as_deref())
            .fetch_optional(write.on())
            .await?;
            if row.is_some() && change.name.is_some() {
                let stamp = write.stamp().await?;
                // The name is the title of the direct conversations that others have with the user.
                sqlx::query(
                    "update user_conversations set stamp = $2 where (user_id, conversation) in (
                         select s.user_id, s.conversation
                         from stints mine join stints s on s.conversation = mine.conversation and s.left_seq is null
                         where mine.user_id = $1 and mine.left_seq is null and mine.conversation >= 'd:'
                             and mine.conversation < 'd;')",
                )
                .bind(user.as_str())
                .bind(stamp.0)
                .execute(write.on())
                .await?;
            }
            row
        });
        Ok(row.as_ref().map(account).transpose()?)
    }

    async fn search_accounts(&self, query: &str, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        let rows = call!(self, "search_accounts", |on| sqlx::query(
            "select user_id, name, avatar from accounts
             where user_id > $1 and (user_id ilike $2 || '%' escape '\\' or name ilike '%' || $2 || '%' escape '\\')
             order by user_id limit $3",
        )
        .bind(after.map_or("", UserId::as_str))
        .bind(escape_like(query))
        .bind(i64::from(limit))
        .fetch_all(on));
        Ok(rows.iter().map(account).collect::<error::Result<_>>()?)
    }

    async fn save_last_seen(&self, seen: &[(UserId, TimeMs)]) -> Result<()> {
        let (users, times): (Vec<&str>, Vec<TimeMs>) = seen.iter().map(|(user, time)| (user.as_str(), *time)).unzip();
        transact!(self, "save_last_seen", |write| {
            sqlx::query(
                "update accounts a set last_seen = greatest(a.last_seen, e.time)
                 from (select user_id, max(time) as time from unnest($1::text[], $2::bigint[]) u (user_id, time)
                       group by user_id) e
                 where a.user_id = e.user_id",
            )
            .bind(&users)
            .bind(&times)
            .execute(write.on())
            .await?;
        });
        Ok(())
    }

    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<TimeMs>>> {
        Ok(call!(self, "last_seen", |on| sqlx::query_scalar(
            "select a.last_seen from unnest($1::text[]) with ordinality e (user_id, n)
             left join accounts a on a.user_id = e.user_id order by e.n",
        )
        .bind(texts(users))
        .fetch_all(on)))
    }
}
