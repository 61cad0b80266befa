//! Redis: one, or a cluster of three.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use redis::{Client, FromRedisValue, cmd};
use rustix::process::Signal;

use super::daemon::{Daemon, Recipe, find};
use super::place::Place;

/// Redis answers within milliseconds of its start; loading a large file takes longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Gossip between three nodes takes a second or two.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for an answer to a command of ours.
const ANSWER: Duration = Duration::from_secs(5);
/// Slots of a cluster.
const SLOTS: u32 = 16_384;

/// One Redis.
pub struct Redis {
    daemon: Daemon,
    port: u16,
    /// The port of the cluster's own talk, if it is in one.
    bus: Option<u16>,
}

impl Deref for Redis {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Redis {
    /// Starts one that forgets everything when it stops, as a cache may.
    pub async fn start(place: &Place) -> Result<Self> {
        let redis = Self::prepare(place, "redis", &["--save", ""])?;
        redis.daemon.start().await?;
        Ok(redis)
    }

    /// Starts one that keeps its data in its folder.
    pub async fn start_keeping(place: &Place) -> Result<Self> {
        let redis = Self::prepare(place, "redis", &["--save", "60 1"])?;
        redis.daemon.start().await?;
        Ok(redis)
    }

    fn prepare(place: &Place, name: &str, options: &[&str]) -> Result<Self> {
        let program = find(&["redis-server".into()]).context("redis-server is missing: run scripts/need redis")?;
        let room = place.room(name)?;
        let port = room.port("redis")?;
        let is_member = options.contains(&"--cluster-enabled");
        let bus = is_member.then(|| room.port("bus")).transpose()?;
        let mut arguments = vec!["--bind".into(), "127.0.0.1".into(), "--port".into(), port.to_string()];
        arguments.extend(["--dir".into(), room.path().display().to_string()]);
        if let Some(bus) = bus {
            arguments.extend(["--cluster-port".into(), bus.to_string()]);
        }
        arguments.extend(options.iter().map(ToString::to_string));
        let recipe = Recipe {
            name: name.to_owned(),
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.args(&arguments);
                command
            }),
            user: None,
            ready: Box::new(move |_| async move { ask::<String>(port, &["PING"]).await.is_ok() }.boxed()),
            patience: PATIENCE,
            end: Signal::TERM,
        };
        Ok(Self { daemon: Daemon::new(&room, recipe), port, bus })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://…`.
    pub fn url(&self) -> String {
        self.url_by((Ipv4Addr::LOCALHOST, self.port).into())
    }

    /// `redis://…` by way of a link.
    pub fn url_by(&self, link: SocketAddr) -> String {
        format!("redis://{link}")
    }

    /// Gives a command, such as `["CLIENT", "PAUSE", "2000"]`.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        ask(self.port, words).await.with_context(|| format!("{} refused {}", self.daemon.name(), words.join(" ")))
    }

    /// Forgets everything at once.
    pub async fn flush(&self) -> Result<()> {
        self.command(&["FLUSHALL"]).await
    }
}

async fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> Result<T> {
    let client = Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    let answer = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    };
    Ok(tokio::time::timeout(ANSWER, answer).await??)
}

/// Three masters that share the slots between them, without replicas.
pub struct RedisCluster {
    /// The nodes.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three nodes and makes them one cluster.
    pub async fn start(place: &Place) -> Result<Self> {
        const NODES: u32 = 3;
        let options = ["--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let nodes = (0..NODES).map(|node| Redis::prepare(place, &format!("redis-cluster-{node}"), &options));
        let nodes: Vec<Redis> = nodes.collect::<Result<_>>()?;
        try_join_all(nodes.iter().map(|node| node.daemon.start())).await?;
        for (index, node) in (0..NODES).zip(&nodes) {
            // Its own since an earlier start in the same folder.
            if node.command::<String>(&["CLUSTER", "INFO"]).await?.contains("cluster_slots_assigned:0") {
                let (first, last) = (index * SLOTS / NODES, (index + 1) * SLOTS / NODES - 1);
                let slots = [first.to_string(), last.to_string()];
                let _: () = node.command(&["CLUSTER", "ADDSLOTSRANGE", &slots[0], &slots[1]]).await?;
                // Nodes with equal epochs would first have to find out who gives way.
                let _: () = node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
            }
            let bus = nodes[0].bus.expect("a member has a bus").to_string();
            let _: () = node.command(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string(), &bus]).await?;
        }
        let cluster = Self { nodes };
        cluster.until_whole().await?;
        Ok(cluster)
    }

    /// Waits until every node knows all nodes and all slots are served.
    pub async fn until_whole(&self) -> Result<()> {
        let deadline = Instant::now() + CLUSTER_PATIENCE;
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            loop {
                let info = node.command::<String>(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                if info.contains("cluster_state:ok") && info.contains(&known) {
                    break;
                }
                if Instant::now() >= deadline {
                    bail!("the Redis Cluster was not whole within {CLUSTER_PATIENCE:?}; {} says:\n{info}", node.name());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// The nodes' URLs.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }
}
