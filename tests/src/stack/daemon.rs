//! A process of the stack, and what a test may do to it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::place::Place;

/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(20);
/// A process that does not end when it is asked is killed after this long.
const STOP: Duration = Duration::from_secs(30);
/// How much of a log goes into an error.
const TAIL: usize = 4_000;

/// How a process is started, known to be ready, and asked to end.
pub(crate) struct Recipe {
    /// What people call it.
    pub(crate) name: String,
    /// The program and its arguments, without the user it runs as.
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// The user to become, where root is refused.
    pub(crate) user: Option<User>,
    /// Whether it answers; gets what it has logged since its start.
    pub(crate) ready: Box<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>,
    /// Longest time until it is ready.
    pub(crate) patience: Duration,
    /// The signal that ends it in good order.
    pub(crate) end: Signal,
}

/// A user that is not root.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// User id.
    pub(crate) user: String,
    /// Group id.
    pub(crate) group: String,
}

/// A process that may be started again; killed when dropped.
pub struct Daemon {
    recipe: Recipe,
    log: PathBuf,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    /// Length of the log before this process.
    log_from: u64,
}

impl Daemon {
    pub(crate) fn new(place: &Place, recipe: Recipe) -> Self {
        let log = place.path().join(format!("{}.log", recipe.name));
        Self { recipe, log, running: Mutex::default() }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Where it writes what it has to say.
    pub fn log(&self) -> &std::path::Path {
        &self.log
    }

    /// Starts it, unless it runs, and waits until it is ready.
    pub async fn start(&self) -> Result<()> {
        self.spawn()?;
        self.until_ready().await
    }

    /// Starts it, unless it runs, and does not wait.
    pub fn spawn(&self) -> Result<()> {
        let mut running = self.running.lock();
        if let Some(running) = running.as_mut()
            && running.child.try_wait()?.is_none()
        {
            return Ok(());
        }
        let name = &self.recipe.name;
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("{} cannot be written", self.log.display()))?;
        let log_from = log.metadata()?.len();
        let mut command = bound_to_us(&(self.recipe.command)(), self.recipe.user.as_ref());
        // A group of its own: Ctrl-C in the terminal is for the tool, which then stops everything in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = spawn_from_a_lasting_thread(command)
            .with_context(|| format!("{name} cannot be started through setpriv (of util-linux)"))?;
        *running = Some(Running { child, log_from });
        Ok(())
    }

    /// Waits until it is ready.
    pub async fn until_ready(&self) -> Result<()> {
        let name = &self.recipe.name;
        let deadline = Instant::now() + self.recipe.patience;
        loop {
            if let Some(status) = self.exit_status() {
                bail!("{name} ended at its start ({status}); the end of {} is:\n{}", self.log.display(), self.tail());
            }
            if (self.recipe.ready)(self.said()).await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let patience = self.recipe.patience;
                bail!(
                    "{name} was not ready within {patience:?}; the end of {} is:\n{}",
                    self.log.display(),
                    self.tail()
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its process id; `None` if it does not run.
    pub fn pid(&self) -> Option<u32> {
        let mut running = self.running.lock();
        let child = &mut running.as_mut()?.child;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// How it ended; `None` while it runs and before its first start.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.running.lock().as_mut()?.child.try_wait().ok().flatten()
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&self) {
        if let Some(running) = self.running.lock().as_mut() {
            // An error means that it has ended before.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Asks it to end and does not wait.
    pub fn terminate(&self) {
        self.signal(self.recipe.end);
    }

    /// Asks it to end and waits until it has; kills it if it takes too long. Returns whether it ended by itself.
    pub async fn stop(&self) -> bool {
        self.terminate();
        let ended = self.ended_within(STOP).await;
        self.kill();
        ended
    }

    /// Waits for its end.
    pub async fn ended_within(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        while self.pid().is_some() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// Stops it where it stands, as a machine that hangs: its sockets stay, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Daemon::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = self.running.lock().as_mut()
            && matches!(running.child.try_wait(), Ok(None))
        {
            // Not waited for yet, so that the id is still its own.
            let _ = kill_process(Pid::from_child(&running.child), signal);
        }
    }

    /// What it has logged since its last start.
    pub fn said(&self) -> String {
        let from = self.running.lock().as_ref().map_or(0, |running| running.log_from);
        let read = || -> io::Result<String> {
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// The end of it, enough to explain a failure.
    pub fn tail(&self) -> String {
        let said = self.said();
        let from = said.len().saturating_sub(TAIL);
        said[said.ceil_char_boundary(from)..].to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // PostgreSQL leaves shared memory behind when it is killed, and takes its own signal at once.
        if self.recipe.end == Signal::INT && self.pid().is_some() {
            self.signal(Signal::QUIT);
            let deadline = Instant::now() + Duration::from_secs(5);
            while self.pid().is_some() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
        }
        self.kill();
    }
}

/// Runs a program to its end, as a step before a start; what it said is in the error.
pub(crate) fn run(command: &Command, user: Option<&User>) -> Result<()> {
    let mut command = bound_to_us(command, user);
    let name = command.get_args().last().unwrap_or_default().to_owned();
    let output = command.stdin(Stdio::null()).output().context("setpriv (of util-linux) cannot be started")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        bail!("{command:?} … {} failed ({}):\n{}", name.display(), output.status, said.trim());
    }
    Ok(())
}

/// The same command, ended by the kernel when we end, and run as another user. `setpriv` replaces itself by the program, so
/// that the child's id is the program's.
fn bound_to_us(command: &Command, user: Option<&User>) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL"]);
    if let Some(User { user, group }) = user {
        bound.args(["--reuid", user, "--regid", group, "--clear-groups"]);
        // The data may lie in a folder that only root may enter, such as root's home.
        bound.args(["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]);
    }
    bound.arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

/// The kernel's "parent" is a thread: a child ends with the thread that started it. This one lasts as long as the process,
/// while a test's or a runtime's does not.
fn spawn_from_a_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in taken {
                // An error means that nobody waits for the answer any more.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, answered) = mpsc::channel();
    SPAWNER.send((command, answer)).expect("the thread lasts");
    answered.recv().expect("every order is answered")
}

/// The first of these programs that is there: a path as it is, a name along `PATH`.
pub(crate) fn find(candidates: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.iter().find_map(|candidate| {
        if candidate.components().count() > 1 {
            return candidate.is_file().then(|| candidate.clone());
        }
        // Where Debian keeps servers that are not for everybody.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        folders.map(|folder| folder.join(candidate)).find(|file| file.is_file())
    })
}

/// A user of the machine that is not root, for programs that refuse root; `None`: we are not root ourselves.
pub(super) fn other_than_root() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let find = |wanted: &str| {
        let fields: Vec<&str> =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == wanted)?;
        Some(User { user: (*fields.get(2)?).to_owned(), group: (*fields.get(3)?).to_owned() })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    user.map(Some).context("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}
