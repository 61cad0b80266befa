//! Kafka: one node, broker and controller at once.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::FutureExt;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataTopic;
use rustix::process::Signal;

use super::daemon::{Daemon, Recipe, find, run};
use super::place::{Place, cache};

/// About 5 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest wait for an answer to a request of ours.
const ANSWER: Duration = Duration::from_secs(10);
/// The release that `scripts/need kafka` brings.
const VERSION: &str = "4.1.1";
/// Any will do; one node never meets another.
const CLUSTER: &str = "aW1jbHVzdGVyLXN0YWNrMQ";

/// One Kafka.
pub struct Kafka {
    daemon: Daemon,
    place: Place,
    programs: Programs,
    node: Node,
    /// What the format tool has to know beyond the properties.
    format: Vec<String>,
}

#[derive(Clone)]
struct Programs {
    java: PathBuf,
    classes: String,
}

/// Another way to the broker: clients that come by it are told the proxy's address.
#[derive(Clone, Copy, Debug)]
pub struct Entrance {
    /// Where the broker listens for it.
    pub listen: SocketAddr,
    /// Where its clients are told to go.
    pub advertise: SocketAddr,
}

/// The way in that takes TLS and a password only, by SCRAM.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// `host:port`, as clients want it.
    pub brokers: String,
    /// Whom clients have to trust: a PEM file.
    pub ca: PathBuf,
}

/// Protects a file that lives as long as a test.
const STORE_PASSWORD: &str = "changeit";

impl Deref for Kafka {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Kafka {
    /// Formats the data folder where there is none yet, and starts.
    pub async fn start(place: &Place) -> Result<Self> {
        Self::start_with(place, &[]).await
    }

    /// Starts with further entrances.
    pub async fn start_with(place: &Place, entrances: &[Entrance]) -> Result<Self> {
        let room = place.room("kafka")?;
        let node = Node::first(&room)?;
        let properties = properties(&room, node, entrances);
        Self::launch(room, node, &properties, vec!["--standalone".to_owned()]).await
    }

    /// Starts another broker of the same Kafka: the second, the third….
    pub async fn join(&self, place: &Place, number: u8, entrances: &[Entrance]) -> Result<Self> {
        let room = place.room(&format!("kafka-{number}"))?;
        let node = Node { number, port: room.port("broker")?, controller: self.node.controller };
        let properties = properties(&room, node, entrances);
        Self::launch(room, node, &properties, Vec::new()).await
    }

    /// Starts one that makes topics which somebody only asks about, with further entrances.
    pub async fn start_making_topics(place: &Place, entrances: &[Entrance]) -> Result<Self> {
        let room = place.room("kafka")?;
        let node = Node::first(&room)?;
        let properties = properties(&room, node, entrances);
        let properties = properties.replace("auto.create.topics.enable=false", "auto.create.topics.enable=true");
        Self::launch(room, node, &properties, vec!["--standalone".to_owned()]).await
    }

    /// Starts with an entrance for one user with a password, beside the one for everybody.
    pub async fn start_guarded(place: &Place, user: &str, password: &str) -> Result<(Self, Guarded)> {
        let room = place.room("kafka")?;
        let (store, ca) = certificate(&room).await?;
        let port = room.port("guarded")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let entrance = Entrance { listen: address, advertise: address };
        let node = Node::first(&room)?;
        let plain = properties(&room, node, &[entrance]);
        let properties = format!(
            "{}\
             sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.entrance0.scram-sha-256.sasl.jaas.config={SCRAM} required;\n\
             listener.name.entrance0.scram-sha-512.sasl.jaas.config={SCRAM} required;\n\
             ssl.keystore.location={}\n\
             ssl.keystore.password={STORE_PASSWORD}\n",
            plain.replace("ENTRANCE0:PLAINTEXT", "ENTRANCE0:SASL_SSL"),
            store.display(),
        );
        let mut format = vec!["--standalone".to_owned()];
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            format.extend(["--add-scram".to_owned(), format!("{mechanism}=[name={user},password={password}]")]);
        }
        let kafka = Self::launch(room, node, &properties, format).await?;
        Ok((kafka, Guarded { brokers: format!("localhost:{port}"), ca }))
    }

    async fn launch(room: Place, node: Node, properties: &str, format: Vec<String>) -> Result<Self> {
        let programs = Programs::find()?;
        let properties = room.write("server.properties", properties)?;
        let command = {
            let (programs, properties) = (programs.clone(), properties.clone());
            move || {
                let mut command = programs.java("kafka.Kafka");
                command.arg(&properties);
                command
            }
        };
        let recipe = Recipe {
            name: "kafka".to_owned(),
            command: Box::new(command),
            user: None,
            ready: Box::new(|said| async move { said.contains("Kafka Server started") }.boxed()),
            patience: PATIENCE,
            end: Signal::TERM,
        };
        let kafka = Self { daemon: Daemon::new(&room, recipe), place: room, programs, node, format };
        kafka.format().await?;
        kafka.daemon.start().await?;
        Ok(kafka)
    }

    async fn format(&self) -> Result<()> {
        if self.place.path().join("data/meta.properties").exists() {
            return Ok(());
        }
        let mut format = self.programs.java("kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER, "-c"]).arg(self.place.path().join("server.properties"));
        format.args(&self.format);
        tokio::task::spawn_blocking(move || run(&format, None)).await?
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// `host:port`, as clients want it.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.node.port)
    }

    /// Removes a topic with all that is in it.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        for result in self.admin()?.delete_topics(&[name], &patient()).await? {
            result.map_err(|(topic, error)| anyhow!("{topic} cannot be removed: {error}"))?;
        }
        Ok(())
    }

    /// Makes a topic of one partition, with nothing set.
    pub async fn create_topic(&self, name: &str) -> Result<()> {
        let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
        for result in self.admin()?.create_topics(&[topic], &patient()).await? {
            result.map_err(|(topic, error)| anyhow!("{topic} cannot be made: {error}"))?;
        }
        Ok(())
    }

    /// The topics whose names begin so.
    pub async fn topics(&self, prefix: &str) -> Result<BTreeSet<String>> {
        let admin = self.admin()?;
        let metadata = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, ANSWER)).await??;
        let names = metadata.topics().iter().map(MetadataTopic::name);
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config.create().context("no client of Kafka")
    }

    /// Throws everything away that it holds, topics included; it must not run.
    pub async fn empty(&self) -> Result<()> {
        ensure!(self.daemon.pid().is_none(), "a running Kafka cannot be emptied");
        let data = self.place.path().join("data");
        std::fs::remove_dir_all(&data).with_context(|| format!("{} cannot be removed", data.display()))?;
        self.format().await
    }
}

fn patient() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER))
}

impl Programs {
    fn find() -> Result<Self> {
        let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
        let candidates: Vec<PathBuf> = home.into_iter().chain(["java".into()]).collect();
        let java = find(&candidates).context("java is missing: run scripts/need kafka")?;
        let folder = cache()?.join(format!("kafka-{VERSION}"));
        ensure!(folder.is_dir(), "Kafka {VERSION} is not in {}: run scripts/need kafka", folder.display());
        Ok(Self { java, classes: format!("{}/*", folder.display()) })
    }

    /// A Java program of Kafka's. 384 MiB is enough for a broker; the quick compiler and collector are the ones for a
    /// process that lives for minutes beside others.
    fn java(&self, class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &self.classes, class]);
        command
    }
}

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

/// A key with a certificate for this machine that it signed itself: as a store for the broker, as PEM for its clients.
async fn certificate(room: &Place) -> Result<(PathBuf, PathBuf)> {
    let (store, pem) = (room.path().join("broker.p12"), room.path().join("ca.pem"));
    if pem.exists() {
        return Ok((store, pem));
    }
    let keytool = || {
        let mut keytool = Command::new("keytool");
        keytool.args(["-storepass", STORE_PASSWORD, "-alias", "broker", "-keystore"]).arg(&store);
        keytool
    };
    let (mut make, mut export) = (keytool(), keytool());
    make.args(["-genkeypair", "-keyalg", "EC", "-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1"]);
    export.args(["-exportcert", "-rfc", "-file"]).arg(&pem);
    tokio::task::spawn_blocking(move || run(&make, None).and_then(|()| run(&export, None))).await??;
    Ok((store, pem))
}

/// One of the brokers of a Kafka. The first is its controller as well.
#[derive(Clone, Copy)]
struct Node {
    /// From 1.
    number: u8,
    /// Where it listens on 127.0.0.1.
    port: u16,
    /// Where the first one's controller listens.
    controller: u16,
}

impl Node {
    fn first(room: &Place) -> Result<Self> {
        Ok(Self { number: 1, port: room.port("broker")?, controller: room.port("controller")? })
    }
}

fn properties(room: &Place, node: Node, entrances: &[Entrance]) -> String {
    let Node { number, port, controller } = node;
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut advertised = listeners.clone();
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (number, Entrance { listen, advertise }) in entrances.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(listeners, ",ENTRANCE{number}://{listen}");
        let _ = write!(advertised, ",ENTRANCE{number}://{advertise}");
        let _ = write!(protocols, ",ENTRANCE{number}:PLAINTEXT");
    }
    let mut roles = "broker";
    if number == 1 {
        roles = "broker,controller";
        for listeners in [&mut listeners, &mut advertised] {
            let _ = write!(listeners, ",CONTROLLER://127.0.0.1:{controller}");
        }
    }
    let data = room.path().join("data");
    format!(
        "node.id={number}\n\
         process.roles={roles}\n\
         listeners={listeners}\n\
         advertised.listeners={advertised}\n\
         listener.security.protocol.map={protocols}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         log.dirs={data}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         log.cleaner.dedupe.buffer.size=4194304\n",
        data = data.display(),
    )
}
