//! How PostgreSQL carries the statements out: by index, also those within the functions. It is counted what they read.

use std::sync::Arc;

use sqlx::Row;

use super::fresh::Database;
use super::postgres_commit::eventually;
use super::sqlite_plans::use_everything;
use super::world::Db;

/// Rows that are there before: a statement that walks through any of these tables reads as many.
const ROWS: i64 = 3000;

/// What others have said and done.
const OTHERS: &str = "
    insert into accounts (user_id, name, password_hash, created)
        select 'other' || n, 'name ' || n, '', 0 from generate_series(1, 3000) n;
    insert into conversations (id, head, last_time, stamp, members)
        select 'g:other' || n, 1, 0, 1, 1 from generate_series(1, 3000) n;
    insert into chat_groups (conversation, name, owner, announcement, join_mode, muted, dissolved)
        select 'g:other' || n, 'group ' || n, 'other' || n, '', 'open', false, false from generate_series(1, 3000) n;
    insert into stints (conversation, user_id, joined_seq, joined_time, role)
        select 'g:other' || n, 'other' || n, 1, 0, 'owner' from generate_series(1, 3000) n;
    insert into user_conversations (user_id, conversation, time, stamp)
        select 'other' || n, 'g:other' || n, 0, 1 from generate_series(1, 3000) n;
    insert into messages (conversation, seq, rev, changed, sender, client_message_id, time, kind, content, mention_all,
                          badge_count, own_count)
        select 'g:other' || n, 1, 0, 1, 'other' || n, 'c', 0, 'text', '{}', true, 1, 1 from generate_series(1, 3000) n;
    insert into sessions (id, user_id, terminal, device, created, last_seen, expires)
        select 'other' || n, 'other' || n, 'mobile', 'd', 0, 0, 9e18 from generate_series(1, 3000) n;
    insert into refresh_tokens (hash, session, number, expires)
        select decode(lpad(to_hex(n), 8, '0'), 'hex'), 'other' || n, 1, 9e18 from generate_series(1, 3000) n;
    insert into friends (user_id, friend, since)
        select 'other' || n, 'other' || n, 0 from generate_series(1, 3000) n;
    insert into friend_requests (id, asking, asked, message, time)
        select 'other' || n, 'other' || n, 'other' || n, '', 0 from generate_series(1, 3000) n;
    insert into blocks (user_id, other, time) select 'other' || n, 'other' || n, 0 from generate_series(1, 3000) n;
    insert into join_requests (id, conversation, user_id, message, time)
        select 'other' || n, 'g:other' || n, 'other' || n, '', 0 from generate_series(1, 3000) n;
    insert into outbox (time, items, server, epoch, token)
        select 0, '[]', 100 + n % 50, 1, n from generate_series(1, 3000) n;
    insert into servers (id, epoch, address, expires) select 100 + n, 1, '', 9e18 from generate_series(0, 49) n;
    insert into push_work (item, time, due) select n, 0, 9e18 from generate_series(1, 3000) n;
    insert into push_jobs (user_id, device, conversation, seq, count, mentioned, due)
        select 'other' || n, '', '', 1, 1, false, 9e18 from generate_series(1, 3000) n;";

/// Every table with how many of its rows were read one after the other, and by which index how many entries.
const READ: &str = "
    select coalesce(string_agg(what, e'\n' order by what), '') from (
        select relname || ': ' || seq_tup_read as what from pg_stat_user_tables
        where seq_tup_read >= 1000
        union all
        select relname || ' by ' || indexrelname || ': ' || idx_tup_read from pg_stat_user_indexes
        where idx_tup_read >= 1000) found";

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn no_statement_walks_through_a_table() {
    let database = Database::new().await;
    let store: Db = Arc::new(database.open().await);
    let mut beside = database.beside().await;
    sqlx::raw_sql(OTHERS).execute(&mut beside).await.unwrap();
    eventually(&mut beside, "select n_live_tup from pg_stat_user_tables where relname = 'push_jobs'", |row| {
        row.get::<i64, _>(0) >= ROWS
    })
    .await;
    // As the server does by itself within a minute.
    sqlx::raw_sql("analyze").execute(&mut beside).await.unwrap();
    sqlx::query("select pg_stat_reset()").execute(&mut beside).await.unwrap();
    use_everything(&store).await;
    drop(store);
    eventually(&mut beside, "select n_tup_ins from pg_stat_user_tables where relname = 'rooms'", |row| {
        row.get::<i64, _>(0) >= 1
    })
    .await;
    let read: String = sqlx::query_scalar(READ).fetch_one(&mut beside).await.unwrap();
    // A search by a part of a name has to look at every name.
    let walked: Vec<&str> = read
        .lines()
        .filter(|line| {
            !["accounts by accounts_pkey", "chat_groups by chat_groups_pkey"]
                .iter()
                .any(|search| line.starts_with(search))
        })
        .collect();
    assert!(walked.is_empty(), "{walked:#?}");
    database.end().await;
}
