//! `im-stack`, as a person or a Makefile calls it.

use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use imcluster_tests::http::Http;
use imcluster_tests::stack::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const TOOL: &str = env!("CARGO_BIN_EXE_im-stack");
/// Longest wait for something to be gone.
const GONE: Duration = Duration::from_secs(10);

/// `im-stack run --redis` with a script that a shell runs.
fn run(script: &str) -> Command {
    let mut command = Command::new(TOOL);
    command.args(["run", "--redis", "--", "sh", "-c", script]).env_remove("IM_TEST_REDIS_URL");
    command
}

/// A running tool; killed when dropped, if it has not ended.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next line of its output that begins so.
    fn line(&mut self, beginning: &str) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("no line begins with {beginning:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn address(redis_url: &str) -> SocketAddr {
    redis_url.trim().strip_prefix("redis://").expect("a URL of Redis").parse().expect("an address")
}

fn until_gone(address: SocketAddr) {
    let deadline = Instant::now() + GONE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "something still listens on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs Redis: make test-stack"]
fn a_command_is_told_where_things_are_and_its_exit_code_comes_back() {
    let output = run("echo $IM_TEST_REDIS_URL; exit 7").output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    until_gone(address(&String::from_utf8(output.stdout).unwrap()));
    let killed = run("kill -KILL $$").output().unwrap();
    assert_eq!(killed.status.code(), Some(128 + 9), "as a shell says it");
}

#[test]
#[ignore = "needs Redis: make test-stack"]
fn a_component_of_the_users_own_is_used_as_it_is() {
    let output = run("echo $IM_TEST_REDIS_URL").env("IM_TEST_REDIS_URL", "redis://mine:1").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "redis://mine:1\n");
}

#[test]
#[ignore = "needs Redis: make test-stack"]
fn what_was_started_ends_with_the_tool_even_when_that_is_killed() {
    // The command ends with the pipe it reads from.
    let mut running = Running::start(run("echo $IM_TEST_REDIS_URL; read never"));
    let redis = address(&running.line("redis://"));
    TcpStream::connect(redis).expect("Redis runs");
    running.process.kill().unwrap();
    until_gone(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL, Kafka and nginx: make test-stack"]
async fn the_whole_stack_comes_up_names_what_dies_and_goes_down_with_everything() {
    let place = Place::temporary().unwrap();
    let [http, tcp] = ["http", "tcp"].map(|it| SocketAddr::from(([127, 0, 0, 1], place.port(it).unwrap())));
    let mut up = Command::new(TOOL);
    up.args(["up", "--servers", "2", "--data"]).arg(place.path());
    up.args(["--listen", &http.to_string(), "--tcp-listen", &tcp.to_string()]);
    let mut running = Running::start(up);
    let server = running.line("server-1");
    let redis = address(running.line("Redis").split_once(' ').unwrap().1);
    running.line("kill -9");

    let pid = server.rsplit_once("pid ").unwrap().1.parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    running.line("server-1 has ended");
    let api = Http::new(http, http.ip());
    for user in ["alice", "bob"] {
        let credentials = json!({"user": user, "password": user, "terminal": "bot", "device": "test"});
        api.post("/v1/sessions", credentials).await;
    }

    let refused = Command::new(TOOL).arg("up").arg("--data").arg(place.path()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("another im-stack runs on"), "{said}");

    kill_process(Pid::from_child(&running.process), Signal::TERM).unwrap();
    assert!(running.process.wait().unwrap().success());
    for address in [http, tcp, redis] {
        until_gone(address);
    }
}
