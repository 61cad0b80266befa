//! PostgreSQL.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::daemon::{Daemon, Recipe, User, find, other_than_root, run};
use super::place::Place;

/// A start after a kill replays the log first.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest wait for a connection of ours.
const CONNECT: Duration = Duration::from_secs(5);
/// Of the superuser. It guards against nothing but a wrong one: the server listens on 127.0.0.1 only.
const PASSWORD: &str = "imcluster";

/// What a PostgreSQL promises when the machine, not only its process, dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What was committed is on the disk.
    Disk,
    /// What was committed survives the process alone: for tests, which do not switch machines off.
    Process,
}

/// One PostgreSQL with the superuser `postgres`.
pub struct Postgres {
    daemon: Daemon,
    port: u16,
    /// Whom its files belong to, where that is somebody else.
    user: Option<User>,
}

impl Deref for Postgres {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Postgres {
    /// Makes the data folder where there is none yet, and starts.
    pub async fn start(place: &Place, durability: Durability) -> Result<Self> {
        let programs = programs()?;
        let user = other_than_root()?;
        let room = place.room("postgres")?;
        let data = room.path().join("data");
        if !data.exists() {
            let password = room.write("password", PASSWORD)?;
            // Named when it is complete, so that an interrupted one is not taken for a database.
            let unfinished = room.path().join("unfinished");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)
                    .with_context(|| format!("{} cannot be removed", unfinished.display()))?;
            }
            let mut initdb = Command::new(programs.join("initdb"));
            initdb.args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]);
            initdb.arg(format!("--pwfile={}", password.display())).arg("--pgdata").arg(&unfinished);
            let made = user.clone();
            tokio::task::spawn_blocking(move || run(&initdb, made.as_ref())).await??;
            fs::rename(&unfinished, &data).with_context(|| format!("{} cannot be made", data.display()))?;
        }
        let port = room.port("postgres")?;
        let program = programs.join("postgres");
        let fsync = if durability == Durability::Disk { "on" } else { "off" };
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            // The path of a socket may be too long for one in a deep folder.
            "unix_socket_directories=".to_owned(),
            format!("fsync={fsync}"),
            "max_connections=300".to_owned(),
        ];
        let recipe = Recipe {
            name: "postgres".to_owned(),
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.arg("-D").arg(&data);
                for setting in &settings {
                    command.arg("-c").arg(setting);
                }
                command
            }),
            user: user.clone(),
            ready: Box::new(move |_| async move { connect(port, "postgres").await.is_ok() }.boxed()),
            patience: PATIENCE,
            end: Signal::INT,
        };
        let daemon = Daemon::new(&room, recipe);
        daemon.start().await?;
        Ok(Self { daemon, port, user })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `postgres://…` of a database, as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_by((Ipv4Addr::LOCALHOST, self.port).into(), database)
    }

    /// `postgres://…` by way of a link.
    pub fn url_by(&self, link: SocketAddr, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@{link}/{database}")
    }

    /// A connection to a database, as the superuser.
    pub async fn connect(&self, database: &str) -> Result<PgConnection> {
        connect(self.port, database).await
    }

    /// Makes a database, unless it is there.
    pub async fn database(&self, name: &str) -> Result<()> {
        let mut connection = self.connect("postgres").await?;
        let found = sqlx::query("select 1 from pg_database where datname = $1").bind(name);
        if found.fetch_optional(&mut connection).await?.is_none() {
            connection.execute(AssertSqlSafe(format!("create database \"{name}\""))).await?;
        }
        Ok(())
    }

    /// Makes a database whose files lie in a folder, which must be empty and exist.
    pub async fn database_in(&self, name: &str, folder: &Path) -> Result<()> {
        if let Some(user) = &self.user {
            let (user, group) = (user.user.parse()?, user.group.parse()?);
            chown(folder, Some(user), Some(group))
                .with_context(|| format!("{} cannot be given away", folder.display()))?;
        }
        let mut connection = self.connect("postgres").await?;
        let folder = folder.display();
        connection.execute(AssertSqlSafe(format!("create tablespace \"{name}\" location '{folder}'"))).await?;
        connection.execute(AssertSqlSafe(format!("create database \"{name}\" tablespace \"{name}\""))).await?;
        Ok(())
    }

    /// Ends at once, as after a power cut, without the memory that a kill would leave behind.
    pub async fn stop_immediately(&self) -> bool {
        self.daemon.signal(Signal::QUIT);
        self.daemon.ended_within(Duration::from_secs(30)).await
    }

    /// Cuts all connections of clients to a database; returns how many there were.
    pub async fn cut(&self, database: &str) -> Result<u64> {
        let mut connection = self.connect("postgres").await?;
        // A worker that cleans up behind the scenes stands in the list too.
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = $1 and pid <> pg_backend_pid() and backend_type = 'client backend'";
        Ok(sqlx::query(cut).bind(database).execute(&mut connection).await?.rows_affected())
    }
}

async fn connect(port: u16, database: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::new().host("127.0.0.1").port(port);
    let options = options.username("postgres").password(PASSWORD).database(database).disable_statement_logging();
    let answer = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        connection.ping().await?;
        Ok::<_, sqlx::Error>(connection)
    };
    Ok(tokio::time::timeout(CONNECT, answer).await??)
}

/// The folder of the newest server programs.
fn programs() -> Result<PathBuf> {
    let mut folders = Vec::new();
    // Debian keeps them out of PATH, by version.
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        if let Some(number) = version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) {
            folders.push((number, version.path().join("bin")));
        }
    }
    folders.sort_unstable();
    let by_version = folders.into_iter().rev().map(|(_, folder)| folder.join("postgres"));
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    let told = told.map(|folder| PathBuf::from(folder.trim()).join("postgres"));
    let candidates: Vec<PathBuf> = by_version.chain(told).chain(["postgres".into()]).collect();
    let postgres = find(&candidates).context("the PostgreSQL server is missing: run scripts/need postgres")?;
    Ok(postgres.parent().expect("a file lies in a folder").to_owned())
}
