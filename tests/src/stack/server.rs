//! `im-server serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;
use rustix::process::Signal;

use super::daemon::{Daemon, Recipe};
use super::nginx::Upstream;
use super::place::Place;

/// A server waits for the lease of its predecessor's address and reads two tables before it is ready.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest wait for an answer of the management port.
const ANSWER: Duration = Duration::from_secs(2);

/// What all servers of a cluster have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The program.
    pub program: PathBuf,
    /// `postgres://…`
    pub database: String,
    /// `redis://…`
    pub redis: String,
    /// `host:port,…`
    pub kafka: String,
    /// Signs access tokens.
    pub jwt_secret: String,
    /// Opens `/status` and `/drain`.
    pub management_token: String,
    /// With which a backend speaks for users.
    pub service_token: String,
    /// Further settings by their environment variables.
    pub settings: Vec<(String, String)>,
}

/// One server of a cluster.
pub struct ImServer {
    daemon: Daemon,
    /// Its server id.
    pub id: u16,
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The TCP framing.
    pub tcp: SocketAddr,
    /// Probes, metrics, status, drain.
    pub management: SocketAddr,
}

impl Deref for ImServer {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl ImServer {
    /// One that is not started yet.
    pub fn prepare(place: &Place, id: u16, common: &Common) -> Result<Self> {
        Self::prepare_as(place, format!("server-{id}"), id, common)
    }

    /// One of another name, so that two can have one id.
    pub fn prepare_as(place: &Place, name: String, id: u16, common: &Common) -> Result<Self> {
        let room = place.room(&name)?;
        let address =
            |purpose: &str| Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, room.port(purpose)?)));
        let (http, tcp, management) = (address("http")?, address("tcp")?, address("management")?);
        let mut variables: Vec<(String, String)> = [
            ("IM_SERVER_ID", id.to_string()),
            ("IM_LISTEN", http.to_string()),
            ("IM_TCP_LISTEN", tcp.to_string()),
            ("IM_MANAGEMENT_LISTEN", management.to_string()),
            ("IM_DATABASE_URL", common.database.clone()),
            ("IM_REDIS_URL", common.redis.clone()),
            ("IM_KAFKA_BROKERS", common.kafka.clone()),
            ("IM_JWT_SECRET", common.jwt_secret.clone()),
            ("IM_MANAGEMENT_TOKEN", common.management_token.clone()),
            ("IM_SERVICE_TOKEN", common.service_token.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        variables.extend(common.settings.iter().cloned());
        let program = common.program.clone();
        let recipe = Recipe {
            name,
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.args(["serve", "--create-topics"]).envs(variables.iter().cloned());
                command
            }),
            user: None,
            ready: Box::new(move |_| is_ready(management).boxed()),
            patience: PATIENCE,
            end: Signal::TERM,
        };
        Ok(Self { daemon: Daemon::new(&room, recipe), id, http, tcp, management })
    }

    /// Where an entrance finds it.
    pub fn upstream(&self) -> Upstream {
        Upstream { http: self.http, tcp: self.tcp }
    }

    /// Whether it wants connections.
    pub async fn is_ready(&self) -> bool {
        is_ready(self.management).await
    }
}

async fn is_ready(management: SocketAddr) -> bool {
    let answer = crate::http::client().get(format!("http://{management}/readyz")).timeout(ANSWER).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The server program: `IM_SERVER_BIN`, or the one built beside this program.
pub fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("IM_SERVER_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "IM_SERVER_BIN names {}, which is no file", given.display());
        return Ok(given);
    }
    let beside = std::env::current_exe().context("this program has no path")?.with_file_name("im-server");
    ensure!(beside.is_file(), "{} is missing: build it, or name another in IM_SERVER_BIN", beside.display());
    Ok(beside)
}
