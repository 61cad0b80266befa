//! What the server's process costs, from /proc.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that matters (`USER_HZ` is part of the kernel's ABI).
const TICKS_PER_SECOND: f64 = 100.0;

/// The servers' processes.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Vec<Process>);

impl Processes {
    /// The processes given, or those that listen on the ports. `None` if one cannot be seen, for instance because it
    /// belongs to another user.
    pub(crate) fn find(pids: &[u32], servers: &[SocketAddr]) -> Option<Self> {
        if !pids.is_empty() {
            return Some(Self(pids.iter().copied().map(Process).collect()));
        }
        servers.iter().map(|server| Process::listening(*server)).collect::<Option<_>>().map(Self)
    }

    /// Seconds of CPU so far, user and system, of all together.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.0.iter().map(|process| process.cpu_seconds()).sum()
    }

    /// Bytes of memory that are resident, of all together.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<f64> {
        self.0.iter().map(|process| process.resident_bytes()).sum()
    }
}

/// A process of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    fn listening(server: SocketAddr) -> Option<Self> {
        let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .find_map(|table| listener(&fs::read_to_string(table).ok()?, server.port()))?;
        let socket = format!("socket:[{inode}]");
        let mut processes = fs::read_dir("/proc").ok()?.flatten();
        processes.find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            holds(&entry.path().join("fd"), &socket).then_some(Self(pid))
        })
    }

    /// This process.
    pub(crate) fn this() -> Self {
        Self(std::process::id())
    }

    /// Seconds of CPU so far, user and system.
    pub(crate) fn cpu_seconds(self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).context("the server's process is gone")?;
        ticks(&stat).map(|ticks| ticks / TICKS_PER_SECOND).context("/proc/PID/stat is not as expected")
    }

    fn resident_bytes(self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).context("the server's process is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    }
}

/// How many files this process may open.
pub(crate) fn file_limit() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The inode of the socket that listens on `port`, from a table of `/proc/net`.
fn listener(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (_, local_port) = fields.next()?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        // After the state: queues, timer, retransmits, uid, timeout, inode.
        let inode = fields.nth(5)?;
        (state == LISTEN && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| inode.parse().ok())?
    })
}

fn holds(descriptors: &Path, socket: &str) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else { return false };
    entries.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == socket))
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted after the command, which may hold spaces and brackets.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_a_port_is_found_among_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1\n";
        assert_eq!(listener(table, 8080), Some(222));
        assert_eq!(listener(table, 8081), None);
    }

    #[test]
    fn a_command_with_brackets_does_not_shift_the_fields() {
        assert_eq!(ticks("7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42.0));
    }
}
