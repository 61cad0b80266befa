//! Who has which address, and the link between the machine and the node.
//!
//! ```text
//! machine 10.244.255.1 ── link ── 10.244.255.2 node 10.244.0.1 ── bridge ── pods 10.244.0.0/24
//! ```
//!
//! The machine reaches pods and services by their own addresses. Pods reach what the machine has on [`MACHINE`], and
//! nothing beyond it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::stack::run;

/// The machine, as pods see it: what listens here serves them and nobody outside the machine.
pub const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 1);
/// The node: its API server, kubelet and node ports listen here, and pods leave by it.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The first address of the services, which is the API server's.
pub(super) const FIRST_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Where services have their addresses.
pub(super) const SERVICES: &str = "10.96.0.0/16";

/// The machine's end of the link.
pub(super) const LINK: &str = "imcluster0";
/// The node's end.
const NODE_LINK: &str = "machine";
/// Longest wait for the other side.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the link from the machine to the network name space of a process. It goes with that name space.
pub(super) fn link_machine_to(process: u32) -> Result<()> {
    until("the keeper has a network of its own", || {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        of(&process.to_string()).is_some_and(|theirs| Some(theirs) != of("self"))
    })?;
    ip(&[
        &format!("link add {LINK} type veth peer name {NODE_LINK} netns {process}"),
        &format!("address add {MACHINE}/30 dev {LINK}"),
        &format!("link set {LINK} up"),
        "route add 10.244.0.0/24 via 10.244.255.2",
        &format!("route add {SERVICES} via 10.244.255.2"),
        // Played pods have no process: whoever listens on 0.0.0.0 here answers for all of them.
        &format!("route add local 10.245.0.0/16 dev {LINK}"),
    ])
}

/// Whether the link is there.
pub(super) fn is_linked() -> bool {
    Path::new("/sys/class/net").join(LINK).exists()
}

/// The node's side, in its own network name space: the end of the link, and the bridge that the pods are on.
pub(super) fn arrange_node() -> Result<()> {
    until("the link to the machine is there", || ip(&[&format!("link show {NODE_LINK}")]).is_ok())?;
    ip(&[
        "link set lo up",
        &format!("address add 10.244.255.2/30 dev {NODE_LINK}"),
        &format!("link set {NODE_LINK} up"),
        "link add pods type bridge",
        &format!("address add {NODE}/24 dev pods"),
        "link set pods up",
        &format!("route add 10.245.0.0/16 via {MACHINE}"),
    ])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("the node's network cannot be made to forward")
}

fn ip(steps: &[&str]) -> Result<()> {
    steps.iter().try_for_each(|step| run(Command::new("ip").args(step.split_whitespace()), None))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() >= deadline {
            bail!("waited {PATIENCE:?} in vain until {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
