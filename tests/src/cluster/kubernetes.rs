//! The cluster from outside: brought up once and found again, and taken down.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::components::is_ready;
use super::image::Image;
use super::keeper::socket;
use super::pki::authority_of;
use super::programs::Programs;
use super::{cgroups, network, sysctls};
use crate::http::client_trusting;
use crate::stack::{cache, run};

/// About 15 s on an idle machine.
const START: Duration = Duration::from_mins(4);
/// A cluster that was ready once answers within this, or is started again.
const AGAIN: Duration = Duration::from_mins(1);
/// Longest wait for the end of all processes; and a keeper whose start was cut short gives up in between.
const END: Duration = Duration::from_mins(1);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(50);
/// How much of the keeper's log goes into an error.
const TAIL: usize = 6_000;

/// The one cluster of this machine.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// Everything that it has.
    state: PathBuf,
    /// Held as long as it is kept.
    lock: PathBuf,
}

/// Whether the cluster had to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It ran already.
    Running,
    /// It runs now.
    Started,
}

impl Kubernetes {
    /// The one of this user's cache; it need not run.
    pub fn here() -> Result<Self> {
        let cache = cache()?;
        Ok(Self { state: cache.join("cluster"), lock: cache.join("cluster.lock") })
    }

    /// Who may do everything in it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Its folder of logs, one file for each component.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Brings it up, unless it runs; what is left of an earlier one, or does not answer, is taken down before.
    ///
    /// `keeper` is the program, with its arguments, that calls [`super::keep`] with the two paths that it is given as its last
    /// arguments.
    pub async fn up(&self, mut keeper: Command) -> Result<Found> {
        let _turn = self.turn()?;
        if self.is_kept()? {
            match self.until_ready(AGAIN, || self.is_kept()).await {
                Ok(()) => return Ok(Found::Running),
                Err(error) => eprintln!("im-cluster: the cluster that runs is started afresh: {error:#}"),
            }
        }
        let programs = Programs::find()?;
        self.clear()?;
        fs::create_dir_all(self.logs()).with_context(|| format!("{} cannot be made", self.state.display()))?;
        sysctls::remember(&self.sysctls())?;
        keeper.arg(&self.state).arg(&self.lock);
        let mut child = self.spawn(&programs, &keeper)?;
        fs::write(self.process(), child.id().to_string())?;
        let started = match network::link_machine_to(child.id()) {
            Ok(()) => self.until_ready(START, || Ok(child.try_wait()?.is_none())).await,
            Err(error) => Err(error.context("the machine and the node cannot be linked")),
        };
        if let Err(error) = started {
            // The logs stay, for whoever wants to know why.
            self.end()?;
            return Err(error.context(format!("the cluster did not start; its logs are in {}", self.logs().display())));
        }
        Ok(Found::Started)
    }

    /// Takes it down and everything that it had away, if there is anything.
    pub fn down(&self) -> Result<()> {
        let _turn = self.turn()?;
        self.clear()
    }

    /// Whether this machine lets a node run on it: name spaces with a network of their own, and control groups. The error says
    /// what it forbids. What is installed is not looked at.
    pub fn can_run_here() -> Result<()> {
        ensure!(geteuid().is_root(), "only root can bring up a cluster");
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--propagation", "private", "--"]);
        probe.args(["sh", "-c", "mount -t tmpfs none /mnt && PATH=$PATH:/usr/sbin:/sbin ip link add type veth"]);
        run(&probe, None).context("this machine lets nobody have mounts and a network of their own")?;
        cgroups::make()
    }

    /// Puts an image on the node.
    pub fn import(&self, image: &Image) -> Result<()> {
        ensure!(self.is_kept()?, "the cluster does not run: make cluster-up");
        image.import(&Programs::find()?.ctr, &socket(&self.state))
    }

    /// One call at a time changes something.
    fn turn(&self) -> Result<File> {
        ensure!(
            geteuid().is_root(),
            "only root can bring up a cluster on this machine; or set KUBECONFIG to one of your own"
        );
        let path = self.lock.with_extension("turn");
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let turn = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        turn.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
        Ok(turn)
    }

    /// Whether a keeper lives.
    fn is_kept(&self) -> Result<bool> {
        let Ok(lock) = File::open(&self.lock) else { return Ok(false) };
        match lock.try_lock() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error).context("the keeper's lock cannot be looked at"),
        }
    }

    /// The process that the keeper hangs on, if it lives. Its number alone could be another's by now.
    fn keeper(&self) -> Option<Pid> {
        let number = fs::read_to_string(self.process()).ok()?.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{number}/cmdline")).ok()?;
        command.split('\0').any(|word| Path::new(word) == self.state).then(|| Pid::from_raw(number))?
    }

    /// Starts the keeper in name spaces of its own; its process is the one that holds them, and everything ends with it.
    fn spawn(&self, programs: &Programs, keeper: &Command) -> Result<Child> {
        let log = File::create(self.keeper_log())?;
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
        // setsid: it outlives the terminal. It replaces itself by unshare, so that the child's id is unshare's.
        let mut command = Command::new("setsid");
        command.args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "--"]).arg(&programs.catatonit).arg("--");
        command.arg(keeper.get_program()).args(keeper.get_args());
        command.env("PATH", path).env_remove("KUBECONFIG").current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("setsid (of util-linux) cannot be started")
    }

    async fn until_ready(&self, longest: Duration, mut lives: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + longest;
        loop {
            let lives = lives()?;
            let why = match self.answers().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !lives {
                bail!("its keeper ended:\n{}", self.keeper_tail());
            }
            if Instant::now() >= deadline {
                bail!("it was not ready within {longest:?} ({why:#}):\n{}", self.keeper_tail());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn answers(&self) -> Result<()> {
        ensure!(self.state.join("ready").exists(), "not everything is started yet");
        let authority = authority_of(&self.state.join("pki"))?;
        is_ready(&client_trusting(&authority)?).await
    }

    /// Ends it, and makes the machine as it was, without a trace.
    fn clear(&self) -> Result<()> {
        self.end()?;
        match fs::remove_dir_all(&self.state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", self.state.display()))
            }
            _ => Ok(()),
        }
    }

    /// Ends all processes; with them go mounts, network and containers.
    fn end(&self) -> Result<()> {
        if let Some(pid) = self.keeper() {
            // An error means that it has just ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        let deadline = Instant::now() + END;
        while self.is_kept()? || network::is_linked() {
            if Instant::now() >= deadline {
                bail!(
                    "the cluster does not end: a process holds {}, or another user's cluster has the interface {}",
                    self.lock.display(),
                    network::LINK
                );
            }
            std::thread::sleep(LOOK);
        }
        cgroups::remove()?;
        sysctls::restore(&self.sysctls())
    }

    fn process(&self) -> PathBuf {
        self.state.join("process")
    }

    fn sysctls(&self) -> PathBuf {
        self.state.join("sysctls")
    }

    fn keeper_log(&self) -> PathBuf {
        self.logs().join("keeper.log")
    }

    fn keeper_tail(&self) -> String {
        let said = fs::read_to_string(self.keeper_log()).unwrap_or_default();
        let from = said.len().saturating_sub(TAIL);
        said[said.ceil_char_boundary(from)..].to_owned()
    }
}
