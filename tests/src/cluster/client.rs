//! The API, for tests that ask more often than a `kubectl` can be started.

use anyhow::{Context, Result};
use kube::{Client, Config};

/// A client of the cluster that `KUBECONFIG` names. It lives as long as the runtime that it is made in.
pub async fn client() -> Result<Client> {
    Ok(Client::try_from(config().await?)?)
}

/// How to reach that cluster.
pub(crate) async fn config() -> Result<Config> {
    // An error means that somebody has chosen the same provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::env::var_os("KUBECONFIG").context("KUBECONFIG is not set: make test-cluster sets it")?;
    Ok(Config::from_kubeconfig(&kube::config::KubeConfigOptions::default()).await?)
}
