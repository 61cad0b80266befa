//! `im-cluster parts`: what an `ImCluster` needs, for a person who tries one.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use imcluster_tests::attend::Wishes;
use imcluster_tests::cluster::network::MACHINE;
use imcluster_tests::cluster::{Image, Kubectl, Kubernetes};
use imcluster_tests::proxy::Proxy;
use imcluster_tests::stack::{Durability, Entrance, Kafka, Place, Postgres, Redis};
use serde_json::{Value, json};
use sqlx::Executor;

/// As `manifests/examples/smallest.yaml` has it.
const PASSWORD: &str = "change-me";
/// As the operator of this release has it.
const IMAGES: &str = "ghcr.io/imcluster";
/// Kafka's brokers: as many as a topic has copies, where nobody says otherwise.
const BROKERS: u8 = 3;

#[derive(Args)]
pub(crate) struct Parts {
    /// Whose services redis, postgres and kafka they are
    #[arg(long, default_value = "default")]
    namespace: String,
}

impl Parts {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut wishes = Wishes::new()?;
        import_images()?;
        // Nothing of it is kept: it goes with this process, and so does its folder.
        let place = Place::temporary()?;
        let stack = Stack::start(&place).await?;
        let kubectl = Kubectl::new(&Kubernetes::here()?.kubeconfig())?;
        let services = self.services(&stack);
        kubectl.apply(&services)?;
        eprintln!(
            "im-cluster: redis:6379, postgres:5432 and kafka:9092 are services of the namespace {} until Ctrl-C",
            self.namespace
        );
        wishes.next().await;
        for name in ["redis", "postgres", "kafka"] {
            kubectl.run(&["delete", "service,endpointslice", name, "--ignore-not-found", "-n", &self.namespace])?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Services without pods: their endpoints are on the machine.
    fn services(&self, stack: &Stack) -> Value {
        let mut items = Vec::new();
        for (name, port, endpoint) in [
            ("redis", 6379, stack.redis.1.address().port()),
            ("postgres", 5432, stack.postgres.1.address().port()),
            ("kafka", 9092, stack.bootstrap),
        ] {
            let metadata = json!({
                "name": name,
                "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": name },
            });
            items.push(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": { "ports": [{ "name": name, "port": port, "targetPort": endpoint }] },
            }));
            items.push(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": [{ "addresses": [MACHINE] }],
                "ports": [{ "name": name, "port": endpoint }],
            }));
        }
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    }
}

/// Puts the programs of this build on the node, under the names that the manifests have.
fn import_images() -> Result<()> {
    let kubernetes = Kubernetes::here()?;
    let own = std::env::current_exe().context("this program cannot find itself")?;
    for program in ["im-server", "imcluster-operator"] {
        let name = format!("{IMAGES}/{program}:{}", env!("CARGO_PKG_VERSION"));
        kubernetes.import(&Image::of_program(&name, &own.with_file_name(program))?)?;
        eprintln!("im-cluster: {name} is on the node");
    }
    Ok(())
}

/// All of it, where pods reach it.
struct Stack {
    redis: (Redis, Proxy),
    postgres: (Postgres, Proxy),
    _kafka: Vec<Kafka>,
    bootstrap: u16,
}

impl Stack {
    async fn start(place: &Place) -> Result<Self> {
        let (redis, postgres, (kafka, bootstrap)) =
            tokio::try_join!(Redis::start(place), Postgres::start(place, Durability::Process), brokers(place),)?;
        redis.command::<()>(&["CONFIG", "SET", "requirepass", PASSWORD]).await?;
        let mut sql = postgres.connect("postgres").await?;
        for statement in
            [format!("create role im login password '{PASSWORD}'"), "create database im owner im".to_owned()]
        {
            sql.execute(sqlx::AssertSqlSafe(statement)).await?;
        }
        let (to_redis, to_postgres) = (reach(redis.port()).await?, reach(postgres.port()).await?);
        Ok(Self { redis: (redis, to_redis), postgres: (postgres, to_postgres), _kafka: kafka, bootstrap })
    }
}

/// The brokers, and the port of the first one.
async fn brokers(place: &Place) -> Result<(Vec<Kafka>, u16)> {
    let entrance = |number: u8| {
        let address = SocketAddr::from((MACHINE, place.port(&format!("kafka-entrance-{number}"))?));
        Ok::<_, anyhow::Error>(Entrance { listen: address, advertise: address })
    };
    let first_entrance = entrance(1)?;
    let first = Kafka::start_with(place, &[first_entrance]).await?;
    let mut all = Vec::new();
    for number in 2..=BROKERS {
        all.push(first.join(place, number, &[entrance(number)?]).await?);
    }
    all.push(first);
    Ok((all, first_entrance.listen.port()))
}

/// A way for pods to something of this machine.
async fn reach(port: u16) -> Result<Proxy> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Proxy::between(SocketAddr::from((MACHINE, 0)), target).await?)
}
