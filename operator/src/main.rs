//! The command line of the operator.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use imcluster_operator::config::{Cli, Command, LeaseSettings, Settings};
use imcluster_operator::events::Events;
use imcluster_operator::http::{self, Readiness};
use imcluster_operator::leader::{KubeLease, Leadership};
use imcluster_operator::running::Running;
use imcluster_operator::telemetry::{self, metrics};
use imcluster_operator::{client, definition, topics};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd => std::io::stdout().write_all(imcluster_crds::manifest().as_bytes()).map_err(Into::into),
        Command::Run(settings) => run(&settings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes on one line: what a person at a terminal can act on.
            eprintln!("imcluster-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> anyhow::Result<()> {
    // Fails only where a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    telemetry::start_log(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(operate(settings));
    // Nothing is waited for: whatever still runs may not, if the leadership is lost.
    runtime.shutdown_background();
    result
}

async fn operate(settings: &Settings) -> anyhow::Result<()> {
    let shutdown = on_signals()?;
    let readiness = Readiness::waiting("the API server");
    let handle = metrics::install()?;
    let _upkeep = AbortOnDropHandle::new(tokio::spawn(metrics::keep(handle.clone())));
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("listen on {}", settings.listen))?;
    tracing::info!("probes and metrics on {}", listener.local_addr()?);
    let router = http::router(readiness.clone(), handle);
    let _http = AbortOnDropHandle::new(tokio::spawn(async { axum::serve(listener, router).await }));

    let config = kube::Config::infer().await.context("find the API server: run in a pod, or set KUBECONFIG")?;
    let own = settings.scope.own(&config.default_namespace);
    let namespaces = settings.scope.namespaces(&own)?;
    let lease_client = client::for_lease(config.clone())?;
    let client = client::for_work(config)?;
    tracing::info!("version {}, looks after {namespaces}", env!("CARGO_PKG_VERSION"));

    readiness.wait_for("the CustomResourceDefinition of ImCluster");
    tokio::select! {
        () = definition::awaited(&client) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let LeaseSettings { lease_namespace, lease_name, identity } = &settings.lease;
    let lease = KubeLease::new(lease_client, lease_namespace.as_ref().unwrap_or(&own), lease_name);
    let identity = unique(identity.as_deref())?;
    let mut leadership = Leadership::seek(lease, identity.clone());
    readiness.wait_for("what is watched to be read");
    let mut work = tokio::spawn(imcluster_operator::run(Running {
        events: Events::start(client.clone(), leadership.writing(), identity),
        client,
        own_namespace: own,
        namespaces,
        release: settings.image.clone(),
        writing: leadership.writing(),
        leading: leadership.leading(),
        kafka: telemetry::kafka::counted(Arc::new(topics::admin::connect)),
        readiness,
        shutdown,
    }));
    tokio::select! {
        ended = &mut work => ended??,
        lost = leadership.lost() => return Err(lost),
    }
    leadership.release().await;
    Ok(())
}

/// A name that no other process has, or had: one that is restarted in the same pod is another one.
fn unique(name: Option<&str>) -> anyhow::Result<String> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => hostname::get().context("ask for the host's name; or set --identity")?.to_string_lossy().into_owned(),
    };
    Ok(format!("{name}_{:08x}", rand::random::<u32>()))
}

/// Cancelled by SIGTERM or Ctrl-C. The second one ends the process at once: who asks again cannot wait.
fn on_signals() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("stops");
            asked.cancel();
        }
    });
    Ok(shutdown)
}
