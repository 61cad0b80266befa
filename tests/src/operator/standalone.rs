//! The operator as a process of its own, to be measured.

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;
use rustix::process::Signal;

use super::tenant::Tenant;
use crate::http::client;
use crate::server::resident_bytes;
use crate::stack::{Daemon, Place, Recipe};

/// It reads everything before it is ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for its metrics.
const ANSWER: Duration = Duration::from_secs(10);
/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that matters (`USER_HZ` is part of the kernel's ABI).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process for one namespace, which leads; killed when dropped.
pub struct Standalone {
    daemon: Daemon,
    port: u16,
    // Held, not read: the log is in it.
    _place: Place,
}

/// What an operator has used since its start.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Seconds of CPU, user and system.
    pub cpu_seconds: f64,
    /// Resident memory in bytes, now.
    pub resident_bytes: u64,
    /// Reconciles.
    pub reconciles: f64,
    /// Requests to the API server that only read: gets and lists, not the beginning of watches.
    pub reads: f64,
    /// Requests to the API server that write, without those for its Lease.
    pub writes: f64,
}

impl Deref for Standalone {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Standalone {
    /// Starts it, and waits until it leads.
    pub async fn start(tenant: &Tenant) -> Result<Self> {
        let (place, program, namespace) = (Place::temporary()?, program()?, tenant.name().to_owned());
        let port = place.port("operator")?;
        let recipe = Recipe {
            name: "operator".to_owned(),
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.args(["run", "--own-namespace", &namespace, "--listen", &format!("127.0.0.1:{port}")]);
                command
            }),
            user: None,
            ready: Box::new(|said| async move { said.contains("leads, as") }.boxed()),
            patience: PATIENCE,
            end: Signal::TERM,
        };
        let daemon = Daemon::new(&place, recipe);
        daemon.start().await?;
        Ok(Self { daemon, port, _place: place })
    }

    /// What it has used.
    pub async fn used(&self) -> Result<Used> {
        let pid = self.pid().context("the operator does not run")?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let metrics = client().get(url).timeout(ANSWER).send().await?.error_for_status()?.text().await?;
        let requests = |verbs: &[&str]| {
            sum(&metrics, "imcluster_operator_api_requests_total", |labels| {
                !labels.contains("resource=\"leases\"")
                    && verbs.iter().any(|it| labels.contains(&format!("verb=\"{it}\"")))
            })
        };
        Ok(Used {
            cpu_seconds: ticks(&stat).context("/proc/PID/stat is not as expected")? / TICKS_PER_SECOND,
            resident_bytes: resident_bytes(pid),
            reconciles: sum(&metrics, "imcluster_operator_reconciles_total", |_| true),
            reads: requests(&["get", "list"]),
            writes: requests(&["create", "update", "patch", "delete"]),
        })
    }
}

/// The program, built beside this one, or that of `IM_OPERATOR_BIN`.
fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("IM_OPERATOR_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "IM_OPERATOR_BIN names {}, which is no file", given.display());
        return Ok(given);
    }
    let own = std::env::current_exe().context("this program has no path")?;
    // Cargo puts tests one folder deeper than programs.
    let mut folders = own.ancestors().skip(1).take(2).map(|folder| folder.join("imcluster-operator"));
    let beside = folders.find(|program| program.is_file());
    beside.with_context(|| {
        format!("imcluster-operator is not beside {}: cargo build -p imcluster-operator", own.display())
    })
}

/// The sum of the series of a metric whose labels are as wanted.
fn sum(metrics: &str, name: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    let series = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let own = series.filter(|(labels, _)| (labels.is_empty() || labels.starts_with('{')) && wanted(labels));
    own.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

/// User and system time in ticks, of a line of `/proc/PID/stat`. The name in it may have spaces.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_their_labels() {
        let metrics =
            "# TYPE requests counter\nrequests{verb=\"get\"} 2\nrequests{verb=\"patch\"} 3\nrequests_more 9\nidle 4\n";
        assert!((sum(metrics, "requests", |_| true) - 5.0).abs() < 1e-9);
        assert!((sum(metrics, "requests", |labels| labels.contains("get")) - 2.0).abs() < 1e-9);
        assert!((sum(metrics, "idle", |_| true) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_time_of_a_process_is_the_fourteenth_and_fifteenth_field() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 1 0 0 0 250 30 0 0 20 0 3 0";
        assert_eq!(ticks(stat), Some(280.0));
    }
}
