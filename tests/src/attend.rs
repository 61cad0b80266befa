//! A command beside something that runs as long as it does.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::oneshot;

/// Ctrl-C, and a service manager's wish. Heeded from its making on.
pub struct Wishes {
    interrupted: Signals,
    terminated: Signals,
}

impl Wishes {
    /// Heeds them from now on.
    pub fn new() -> Result<Self> {
        Ok(Self { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupted.recv() => Signal::INT,
            _ = self.terminated.recv() => Signal::TERM,
        }
    }

    /// Runs a command to its end and passes its exit code on.
    pub async fn attend(&mut self, mut command: Command) -> Result<ExitCode> {
        let name = command.get_program().display().to_string();
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let pid = Pid::from_child(&child);
        let (tell, mut ended) = oneshot::channel();
        std::thread::spawn(move || tell.send(child.wait()));
        loop {
            tokio::select! {
                status = &mut ended => return Ok(exit_code(status.context("nobody waits for the command")??)),
                // Ctrl-C has reached the command by itself: it is in the terminal's foreground with us.
                wish = self.next() => if wish == Signal::TERM {
                    // An error means that it has just ended.
                    let _ = kill_process(pid, Signal::TERM);
                },
            }
        }
    }
}

/// As a shell has it: 128 and the number of the signal.
pub fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
