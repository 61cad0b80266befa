//! Opening a PostgreSQL database: what is wrong with it is told, with what to do.

use std::time::Duration;

use im_server::store::StoreError;
use im_server::store::postgres::{OpenError, PostgresConfig, PostgresStore};
use sqlx::{AssertSqlSafe, Connection};
use tokio::net::TcpListener;

use super::fresh::{Database, url_of};

async fn error(config: &PostgresConfig) -> OpenError {
    PostgresStore::open(config).await.expect_err("it cannot be opened")
}

#[tokio::test]
async fn what_is_no_url_of_postgresql_is_told() {
    for url in ["mysql://root@127.0.0.1/im", "127.0.0.1:5432", "", "postgres://[::1/im"] {
        let error = error(&PostgresConfig::new(url)).await;
        assert!(matches!(error, OpenError::Url(_)), "{error:?}");
        assert!(error.to_string().contains("postgres://user:password@host:5432/database"), "{error}");
    }
}

#[tokio::test]
async fn a_host_where_nobody_listens_is_out_of_reach() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = error(&PostgresConfig::new(format!("postgres://im:geheim@{gone}/im"))).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&gone.to_string()), "{error}");
    assert!(!error.to_string().contains("geheim"));
}

#[tokio::test]
async fn a_host_that_says_nothing_is_out_of_reach_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://im@{}/im", silent.local_addr().unwrap());
    let config = PostgresConfig { acquire_timeout: Duration::from_millis(200), ..PostgresConfig::new(url) };
    let error = error(&config).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
}

#[test]
fn settings_show_no_password() {
    let shown = format!("{:?}", PostgresConfig::new("postgres://im:geheim@db/im"));
    assert!(!shown.contains("geheim"), "{shown}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_user_who_may_not_and_a_database_that_is_not_there_are_told() {
    let missing = error(&PostgresConfig::new(url_of("im_not_there"))).await;
    assert!(matches!(&missing, OpenError::NoDatabase { database, .. } if database == "im_not_there"), "{missing:?}");
    let (scheme, rest) = url_of("postgres").split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let host = rest.rsplit_once('@').map_or(rest.as_str(), |(_, host)| host);
    let stranger = error(&PostgresConfig::new(format!("{scheme}://im_stranger:geheim@{host}"))).await;
    assert!(matches!(&stranger, OpenError::Refused { user, .. } if user == "im_stranger"), "{stranger:?}");
    assert!(!stranger.to_string().contains("geheim"));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_database_of_a_newer_version_is_refused() {
    let database = Database::new().await;
    database.open().await.close().await;
    let mut beside = database.beside().await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'from the future', true, '', 0)",
    )
    .execute(&mut beside)
    .await
    .unwrap();
    let error = error(&database.config()).await;
    assert!(matches!(error, OpenError::Newer(9999)), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_database_of_another_encoding_is_refused() {
    let database = Database::new().await;
    let name = format!("im_test_ascii_{}", std::process::id());
    let mut beside = database.beside().await;
    let make = format!("create database {name} encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut beside).await.unwrap();
    let error = error(&PostgresConfig::new(url_of(&name))).await;
    assert!(matches!(&error, OpenError::Unsuitable(why) if why.contains("SQL_ASCII")), "{error:?}");
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {name}"))).execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn several_may_migrate_at_once_and_again() {
    let database = Database::new().await;
    let config = database.config();
    let migrations = (0..4).map(|_| PostgresStore::migrate(&config));
    for migrated in futures_util::future::join_all(migrations).await {
        migrated.unwrap();
    }
    PostgresStore::migrate(&config).await.unwrap();
    database.open().await.close().await;
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_user_who_may_only_read_and_write_rows_can_serve_what_another_has_migrated() {
    let database = Database::new().await;
    PostgresStore::migrate(&database.config()).await.unwrap();
    let mut beside = database.beside().await;
    let role = format!("im_role_{}", std::process::id());
    let grants = format!(
        "create role {role} login password 'x';
         revoke create on schema public from public;
         grant select, insert, update, delete on all tables in schema public to {role};
         grant select, usage, update on all sequences in schema public to {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(&mut beside).await.unwrap();
    let (scheme, rest) = database.url().split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let host = rest.rsplit_once('@').map_or(rest.as_str(), |(_, host)| host);
    let store = PostgresStore::open(&PostgresConfig::new(format!("{scheme}://{role}:x@{host}"))).await.unwrap();
    let store: super::world::Db = std::sync::Arc::new(store);
    let [alice] = super::world::people(&store, ["alice"]).await;
    let tea = super::world::group(&store, "tea", &alice, &[]).await;
    assert_eq!(super::world::say(&store, &tea, &alice, "hi").await, 2);
    drop(store);
    sqlx::raw_sql(AssertSqlSafe(format!("drop owned by {role}"))).execute(&mut beside).await.unwrap();
    database.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn a_database_that_goes_away_is_unavailable_and_comes_back() {
    use im_server::store::Accounts;
    let database = Database::new().await;
    let config = PostgresConfig { acquire_timeout: Duration::from_millis(500), ..database.config() };
    let store = PostgresStore::open(&config).await.unwrap();
    let mut server = sqlx::postgres::PgConnection::connect(&url_of("postgres")).await.unwrap();
    let name = database.url().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let allow = async |connection: &mut sqlx::postgres::PgConnection, yes: bool| {
        let alter = format!("alter database {name} allow_connections {yes}");
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut *connection).await.unwrap();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        sqlx::query(end).bind(&name).execute(connection).await.unwrap();
    };
    allow(&mut server, false).await;
    let error = store.last_seen(&[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    allow(&mut server, true).await;
    let back = async || store.last_seen(&[]).await.is_ok();
    tokio::time::timeout(Duration::from_secs(10), async { while !back().await {} }).await.unwrap();
    drop(store);
    database.end().await;
}
