//! A real `im-server` process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The token with which a backend speaks for users, of every server started here.
pub const SERVICE_TOKEN: &str = "the-service-token-of-the-tests";
/// The token that opens `/status`.
pub const MANAGEMENT_TOKEN: &str = "the-management-token-of-the-tests";

/// Longest wait for a process to end.
const END: Duration = Duration::from_secs(15);

/// A folder that outlives the servers started on it.
#[derive(Clone, Debug)]
pub struct Folder(Arc<TempDir>);

impl Folder {
    /// A fresh one, removed with its last owner.
    pub fn fresh() -> Self {
        Self(Arc::new(TempDir::new().expect("a temporary folder")))
    }

    /// What goes to `--data`.
    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// What the servers on this folder wrote to their standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.0.path().join("server.log")
    }
}

/// A running server; killed when dropped, if it was started here.
#[derive(Debug)]
pub struct Server {
    process: Option<Mutex<Child>>,
    folder: Folder,
    flags: Vec<String>,
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The TCP framing.
    pub tcp: SocketAddr,
    /// Probes, metrics, status.
    pub management: SocketAddr,
}

impl Server {
    /// Starts `im-server dev` on a folder, with further flags, and waits until it greets.
    pub fn start(folder: &Folder, flags: &[&str]) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at([any; 3], folder, flags.iter().map(ToString::to_string).collect())
    }

    /// Starts another on the same folder and addresses with the same flags, after this one has ended.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::start_at([self.http, self.tcp, self.management], &self.folder, self.flags.clone())
    }

    fn start_at(addresses: [SocketAddr; 3], folder: &Folder, flags: Vec<String>) -> Self {
        let mut process = spawn(addresses, folder, &flags);
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let Some([http, tcp, management]) = greeted(&mut lines) else {
            let status = process.wait();
            panic!("im-server ended without a greeting ({status:?}); it said:\n{}", folder.log());
        };
        std::thread::spawn(move || lines.for_each(drop));
        let process = Some(Mutex::new(process));
        Self { process, folder: folder.clone(), flags, http, tcp, management }
    }

    /// Starts one that is expected to refuse, and returns its exit status and what it said.
    pub fn refused(folder: &Folder) -> (ExitStatus, String) {
        let before = folder.log().len();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = spawn([any; 3], folder, &[]);
        let status = ended(&mut process);
        (status, folder.log().split_off(before))
    }

    /// One that somebody else has started and will stop.
    pub fn elsewhere(http: SocketAddr, tcp: SocketAddr, management: SocketAddr) -> Self {
        Self { process: None, folder: Folder::fresh(), flags: Vec::new(), http, tcp, management }
    }

    fn process(&self) -> MutexGuard<'_, Child> {
        self.process.as_ref().expect("a server that was started here").lock()
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Kills it at once, as `kill -9` does.
    pub fn kill(&self) {
        let mut process = self.process();
        process.kill().expect("a child can be killed");
        process.wait().expect("a killed child can be waited for");
    }

    /// Asks it to stop, as Kubernetes does.
    pub fn terminate(&self) {
        let process = self.process();
        kill_process(Pid::from_child(&process), Signal::TERM).expect("a child can be signalled");
    }

    /// Waits for its end after [`Server::terminate`].
    pub fn exit_status(&self) -> ExitStatus {
        ended(&mut self.process())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process().id())
    }
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a running process has VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("VmRSS is a number of KiB") * 1024
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let process = process.get_mut();
            // An error means that it has ended before.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn spawn(addresses: [SocketAddr; 3], folder: &Folder, flags: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(folder.log_path()).expect("the log can be opened");
    let [http, tcp, management] = addresses.map(|address| address.to_string());
    Command::new(binary())
        .arg("dev")
        .arg("--data")
        .arg(folder.data())
        .args(["--listen", &http, "--tcp-listen", &tcp, "--management-listen", &management])
        .args(["--service-token", SERVICE_TOKEN, "--management-token", MANAGEMENT_TOKEN])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", binary().display()))
}

/// The addresses for HTTP, TCP and management in the greeting; `None` if the output ends before.
fn greeted(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<[SocketAddr; 3]> {
    let mut address = |name: &str| {
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.trim_start().starts_with(name))?;
        let value = line.split_whitespace().nth(1)?;
        let host = value.split_once("://").map_or(value, |(_, rest)| rest);
        host.split('/').next()?.parse().ok()
    };
    Some([address("WebSocket")?, address("TCP")?, address("management")?])
}

fn ended(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + END;
    loop {
        if let Some(status) = process.try_wait().expect("a child can be waited for") {
            return status;
        }
        assert!(Instant::now() < deadline, "im-server did not end within {END:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The server to test: `IM_SERVER_BIN`, or else the one of this workspace, built now with the tests' own profile, so that
/// it is never an older one.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("IM_SERVER_BIN") {
            let given = PathBuf::from(given);
            assert!(given.is_file(), "IM_SERVER_BIN names {}, which is no file", given.display());
            return given;
        }
        let test = std::env::current_exe().expect("a test has a path");
        // target/<profile>/deps/<test>
        let profile = test.ancestors().nth(2).expect("a test lies two folders below its profile's");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "im-server", "--target-dir"]);
        build.arg(profile.parent().expect("a profile lies in the target folder"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let outcome = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(
            outcome.as_ref().is_ok_and(ExitStatus::success),
            "im-server cannot be built ({outcome:?}): build it yourself and name it in IM_SERVER_BIN"
        );
        profile.join("im-server")
    })
}
