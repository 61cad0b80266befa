//! `im-stack run`: a command beside components that live as long as it does.

use std::ffi::OsString;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use imcluster_tests::stack::{Durability, Kafka, Place, Postgres, Redis, RedisCluster};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// A variable that is set already names a component of the user's own, which is used as it is.
#[derive(Args)]
pub(crate) struct Run {
    /// One Redis, in `IM_TEST_REDIS_URL`
    #[arg(long)]
    redis: bool,
    /// A Redis Cluster of three, in `IM_TEST_REDIS_CLUSTER_URLS`, separated by commas
    #[arg(long)]
    redis_cluster: bool,
    /// A Kafka, in `IM_TEST_KAFKA_BROKERS`
    #[arg(long)]
    kafka: bool,
    /// A PostgreSQL, as its superuser, in `IM_TEST_POSTGRES_URL`
    #[arg(long)]
    postgres: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A component, if it was asked for and not given, and how its users find it.
type Started<T> = Option<(T, &'static str, String)>;

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        // From the first moment on, so that nothing is left behind when the start is cut short.
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let begun = Instant::now();
        let place = Place::temporary()?;
        let starting = async {
            tokio::try_join!(
                wanted(self.redis, "IM_TEST_REDIS_URL", async {
                    let redis = Redis::start(&place).await?;
                    let url = redis.url();
                    Ok((redis, url))
                }),
                wanted(self.redis_cluster, "IM_TEST_REDIS_CLUSTER_URLS", async {
                    let cluster = RedisCluster::start(&place).await?;
                    let urls = cluster.urls().join(",");
                    Ok((cluster, urls))
                }),
                wanted(self.kafka, "IM_TEST_KAFKA_BROKERS", async {
                    let kafka = Kafka::start(&place).await?;
                    let brokers = kafka.brokers();
                    Ok((kafka, brokers))
                }),
                wanted(self.postgres, "IM_TEST_POSTGRES_URL", async {
                    let postgres = Postgres::start(&place, Durability::Process).await?;
                    let url = postgres.url("postgres");
                    Ok((postgres, url))
                }),
            )
        };
        let components = tokio::select! {
            components = starting => components?,
            _ = interrupted.recv() => return Ok(ended_by(Signal::INT)),
            _ = terminated.recv() => return Ok(ended_by(Signal::TERM)),
        };
        let (redis, cluster, kafka, postgres) = &components;
        let variables = [variable(redis), variable(cluster), variable(kafka), variable(postgres)];
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        for (name, value) in variables.into_iter().flatten() {
            command.env(name, value);
        }
        eprintln!("im-stack: ready after {:.1} s", begun.elapsed().as_secs_f32());
        let mut child = command.spawn().with_context(|| format!("{} cannot be started", self.command[0].display()))?;
        let pid = Pid::from_child(&child);
        let (tell, mut ended) = oneshot::channel();
        std::thread::spawn(move || tell.send(child.wait()));
        let status = loop {
            tokio::select! {
                status = &mut ended => break status.context("nobody waits for the command")??,
                // Ctrl-C has reached the command by itself: it is in the terminal's foreground with us.
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {
                    // An error means that it has just ended.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        };
        // What nobody will look at again need not be stopped in good order: dropped is killed.
        Ok(exit_code(status))
    }
}

/// Starts a component if it is wanted and not given.
async fn wanted<T>(
    wanted: bool,
    name: &'static str,
    start: impl Future<Output = Result<(T, String)>>,
) -> Result<Started<T>> {
    if !wanted || std::env::var_os(name).is_some_and(|given| !given.is_empty()) {
        return Ok(None);
    }
    let (component, value) = start.await?;
    Ok(Some((component, name, value)))
}

fn variable<T>(started: &Started<T>) -> Option<(&'static str, &str)> {
    started.as_ref().map(|(_, name, value)| (*name, value.as_str()))
}

/// As a shell has it: 128 and the number of the signal.
fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
