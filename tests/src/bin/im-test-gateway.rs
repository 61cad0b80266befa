//! Gateways without clients: im-server's management contract, for tests of whoever manages gateways.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use imcluster_tests::attend::Wishes;
use imcluster_tests::cluster;
use imcluster_tests::gateway::{Called, Gateway, MANAGEMENT_PORT, Phase, Pods, Residents, Settings, router};
use tokio::net::TcpListener;

/// Plays gateways: the management port of im-server, and connections that are but a number.
#[derive(Parser)]
#[command(name = "im-test-gateway", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// One gateway, that takes the arguments, the environment and the file of im-server serve
    Serve {
        /// im-server's
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        settings: Vec<String>,
    },
    /// One in every pod of the cluster that KUBECONFIG names, as far as this machine is called by the pods' addresses
    Play {
        /// Where to listen
        #[arg(long, default_value_t = SocketAddr::from(([0, 0, 0, 0], MANAGEMENT_PORT)))]
        listen: SocketAddr,
    },
}

/// Between two looks at a drain.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Serve { settings } => serve(&settings).await,
        Task::Play { listen } => play(listen).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("im-test-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &[String]) -> Result<()> {
    let mut wishes = Wishes::new()?;
    let settings = Settings::read(arguments, |name| std::env::var(name).ok())?;
    let gateway = Arc::new(Gateway::alone(settings.server, settings.topic, settings.token));
    let listener = bind(settings.listen).await?;
    eprintln!("server {} on {}", settings.server, settings.listen);
    let stopped = async {
        wishes.next().await;
        if gateway.status().drain.is_none() {
            gateway.drain(settings.drain);
        }
        // It answers to the end; a second wish ends it at once.
        tokio::select! {
            () = drained(&gateway) => {}
            _ = wishes.next() => {}
        }
    };
    tokio::select! {
        () = stopped => Ok(()),
        ended = answer(listener, Residents::One(gateway.clone())) => ended,
    }
}

async fn drained(gateway: &Gateway) {
    // One that has not started has nobody to send away.
    while gateway.status().phase == Phase::Draining {
        tokio::time::sleep(LOOK).await;
    }
}

async fn play(listen: SocketAddr) -> Result<()> {
    let pods = Arc::new(Pods::default());
    let client = cluster::client().await?;
    let listener = bind(listen).await?;
    eprintln!("playing on {listen}");
    tokio::select! {
        ended = pods.follow(client) => ended,
        ended = answer(listener, Residents::Played(pods.clone())) => ended,
    }
}

async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be had: does another listen there?"))
}

async fn answer(listener: TcpListener, residents: Residents) -> Result<()> {
    Ok(axum::serve(listener, router(residents).into_make_service_with_connect_info::<Called>()).await?)
}
