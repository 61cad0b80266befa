//! What all tests of an operator share: it is brought up once.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use kube::{Client, Config};
use rustix::process::Signal;
use tokio::sync::OnceCell;

use super::log::Log;
use super::tenant::Tenant;
use crate::cluster::network::MACHINE;
use crate::cluster::{self, Kubectl, played_nodes};
use crate::gateway;
use crate::stack::{Daemon, Entrance, Kafka, Place, Recipe, cache};

/// Played nodes, of 250 pods each; a gateway wants a quarter of a core, of which a node has 64.
const NODES: u8 = 4;
/// Longest wait for the played gateways.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster, a Kafka, and the gateways of all played pods.
pub struct World {
    config: Config,
    kubectl: Kubectl,
    /// The Kafka that the operator and the pods reach.
    pub kafka: Kafka,
    bootstrap: SocketAddr,
    gateways: Daemon,
    log: &'static Log,
    // Held, not read: there is one address for all, and one port.
    _turn: File,
}

impl World {
    /// The one of this process, on the cluster that `KUBECONFIG` names, which has to be this machine's own. Another process's
    /// is waited for.
    pub async fn shared() -> &'static Self {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        WORLD.get_or_init(|| async { Self::begin().await.unwrap_or_else(|error| panic!("no world: {error:#}")) }).await
    }

    async fn begin() -> Result<Self> {
        let log = Log::of_this_process();
        let folder = cache()?.join("world");
        let turn = tokio::task::spawn_blocking({
            let path = folder.with_extension("lock");
            move || -> Result<File> {
                let turn = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
                turn.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
                Ok(turn)
            }
        });
        let turn = turn.await??;
        // Nobody clears up after a static: what is left of the last world goes now.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
        }
        let place = Place::at(&folder)?;
        let config = cluster::config().await?;
        let kubectl = Kubectl::from_environment()?;
        kubectl.apply_text(&imcluster_crds::manifest())?;
        kubectl.apply(&played_nodes(NODES))?;
        let definition = "customresourcedefinition/imclusters.imcluster.dev";
        kubectl.run(&["wait", "--for=condition=Established", definition, "--timeout=60s"])?;
        let bootstrap = SocketAddr::from((MACHINE, place.port("bootstrap")?));
        let entrances = [Entrance { listen: bootstrap, advertise: bootstrap }];
        let gateways = gateways(&place)?;
        let (kafka, ()) = tokio::try_join!(Kafka::start_with(&place, &entrances), gateways.start())?;
        Ok(Self { config, kubectl, kafka, bootstrap, gateways, log, _turn: turn })
    }

    /// A namespace of its own for a test, with everything that an `ImCluster` refers to.
    pub async fn tenant(&'static self, test: &str) -> Tenant {
        Tenant::new(self, test).await.unwrap_or_else(|error| panic!("no namespace: {error:#}"))
    }

    /// A client that may do everything. It lives as long as the runtime that it is made in.
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone()).expect("what was right for the first client")
    }

    /// How to reach the cluster, for clients with layers.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// kubectl, as a person has it.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// `host:port` of Kafka, for the machine and for pods.
    pub fn bootstrap(&self) -> SocketAddr {
        self.bootstrap
    }

    /// What this process and the played gateways have logged about something, at last.
    pub(super) fn said_about(&self, word: &str) -> String {
        const LINES: usize = 40;
        let gateways = self.gateways.said();
        let mut about: Vec<&str> = gateways.lines().rev().filter(|line| line.contains(word)).take(LINES).collect();
        about.reverse();
        format!("log:\n{}gateways:\n{}", self.log.tail(word, LINES), about.join("\n"))
    }
}

/// Of all played pods.
fn gateways(place: &Place) -> Result<Daemon> {
    let program = gateway::program()?;
    let recipe = Recipe {
        name: "gateways".to_owned(),
        command: Box::new(move || {
            let mut command = Command::new(&program);
            command.arg("play");
            command
        }),
        user: None,
        ready: Box::new(|said| async move { said.contains("playing on") }.boxed()),
        patience: PATIENCE,
        end: Signal::TERM,
    };
    Ok(Daemon::new(place, recipe))
}
