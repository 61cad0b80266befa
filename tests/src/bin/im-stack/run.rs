//! `im-stack run`: a command beside components that live as long as it does.

use std::any::Any;
use std::ffi::OsString;
use std::future::Future;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use imcluster_tests::attend::{Wishes, ended_by};
use imcluster_tests::stack::{Durability, Kafka, Place, Postgres, Redis, RedisCluster};

/// A variable that is set already names a component of the user's own, which is used as it is.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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

/// A component that runs, and how its users find it.
struct Started {
    variable: &'static str,
    value: String,
    // Held, not looked at: it ends when it is dropped.
    _component: Box<dyn Any>,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        // From the first moment on, so that nothing is left behind when the start is cut short.
        let mut wishes = Wishes::new()?;
        let begun = Instant::now();
        let place = Place::temporary()?;
        let starting = async {
            tokio::try_join!(
                wanted(self.redis, "IM_TEST_REDIS_URL", async {
                    let redis = Redis::start(&place).await?;
                    Ok((redis.url(), redis))
                }),
                wanted(self.redis_cluster, "IM_TEST_REDIS_CLUSTER_URLS", async {
                    let cluster = RedisCluster::start(&place).await?;
                    Ok((cluster.urls().join(","), cluster))
                }),
                wanted(self.kafka, "IM_TEST_KAFKA_BROKERS", async {
                    let kafka = Kafka::start(&place).await?;
                    Ok((kafka.brokers(), kafka))
                }),
                wanted(self.postgres, "IM_TEST_POSTGRES_URL", async {
                    let postgres = Postgres::start(&place, Durability::Process).await?;
                    Ok((postgres.url("postgres"), postgres))
                }),
            )
        };
        let (redis, cluster, kafka, postgres) = tokio::select! {
            started = starting => started?,
            wish = wishes.next() => return Ok(ended_by(wish)),
        };
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        let components: Vec<Started> = [redis, cluster, kafka, postgres].into_iter().flatten().collect();
        for component in &components {
            command.env(component.variable, &component.value);
        }
        eprintln!("im-stack: ready after {:.1} s", begun.elapsed().as_secs_f32());
        let code = wishes.attend(command).await;
        // What nobody will look at again need not be stopped in good order: dropped is killed.
        drop(components);
        code
    }
}

/// Starts a component if it is wanted and not given.
async fn wanted<T: 'static>(
    wanted: bool,
    variable: &'static str,
    start: impl Future<Output = Result<(String, T)>>,
) -> Result<Option<Started>> {
    if !wanted || std::env::var_os(variable).is_some_and(|given| !given.is_empty()) {
        return Ok(None);
    }
    let (value, component) = start.await?;
    Ok(Some(Started { variable, value, _component: Box::new(component) }))
}
