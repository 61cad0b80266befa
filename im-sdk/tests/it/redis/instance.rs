//! Redises that a test starts for itself, to stop, empty or break them.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::redis::{FromRedisValue, RedisResult};
use tempfile::TempDir;

use crate::wait::until_within;

/// Nothing here takes long; a test that runs into this has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One process. It ends with the value.
pub(super) struct Instance {
    pub(super) port: u16,
    arguments: Vec<String>,
    /// Removed with the value.
    _folder: TempDir,
    process: Child,
}

impl Instance {
    /// Starts one that saves nothing, with further settings.
    pub(super) async fn start(settings: &[&str]) -> Self {
        Self::run(&["--save", ""], settings).await
    }

    pub(super) async fn sentinel_of(master: &Self) -> Self {
        let monitor = format!("--sentinel monitor chat 127.0.0.1 {} 1", master.port);
        Self::run(
            &["--sentinel"],
            &[&monitor, "--sentinel down-after-milliseconds chat 500", "--sentinel failover-timeout chat 2000"],
        )
        .await
    }

    async fn run(first: &[&str], settings: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let config = folder.path().join("redis.conf");
        let mut lines = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.path().display());
        for setting in settings {
            lines.push_str(setting.trim_start_matches("--"));
            lines.push('\n');
        }
        std::fs::write(&config, lines).unwrap();
        let mut arguments = vec![config.display().to_string()];
        arguments.extend(first.iter().map(ToString::to_string));
        let process = spawn(&arguments);
        let instance = Self { port, arguments, _folder: folder, process };
        instance.wait().await;
        instance
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command, beside the registry under test.
    pub(super) fn command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = ::redis::Client::open(self.url())?.get_connection_with_timeout(PATIENCE)?;
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut connection)
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The same again, on the same port and folder.
    pub(super) async fn restart(&mut self) {
        self.process = spawn(&self.arguments);
        self.wait().await;
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap().success());
    }

    async fn wait(&self) {
        // With TLS or a password it answers with an error, and is there.
        until_within(PATIENCE, "it listens", async || TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
        let loading = |answer: RedisResult<String>| answer.is_err_and(|error| error.code() == Some("LOADING"));
        until_within(PATIENCE, "it has loaded", async || !loading(self.command(&["PING"]))).await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

pub(super) fn free_port() -> u16 {
    // Below 55536: the bus of a cluster's node takes the port 10000 above.
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        if port < 55_536 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A cluster of three.
pub(super) async fn cluster_of_three() -> Vec<Instance> {
    let settings = ["--cluster-enabled yes", "--cluster-node-timeout 1000"];
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Instance::start(&settings).await);
    }
    let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(addresses)
        .arg("--cluster-yes")
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("redis-cli is installed").success());
    let ready = |node: &Instance| {
        node.command::<String>(&["CLUSTER", "INFO"]).is_ok_and(|info| info.contains("cluster_state:ok"))
    };
    until_within(PATIENCE, "the cluster is made", async || nodes.iter().all(ready)).await;
    nodes
}
