//! Everybody comes back at once: what a reconnect costs the registry and the database.

use std::rc::Rc;
use std::time::Instant;

use anyhow::ensure;
use im_protocol::Terminal;

use crate::Target;
use crate::account::{device, each, each_of, http, sign_in, sign_up};
use crate::connection::{Identity, open};
use crate::counters::Counters;
use crate::process::file_limit;
use crate::report::Comeback;

/// Files this process needs beside its connections.
const OTHER_FILES: usize = 100;
/// Connections being opened at once: a crowd at the door, and within what one listener queues.
const AT_ONCE: usize = 500;

pub(crate) async fn run(target: &Target, connections: u32) -> anyhow::Result<Comeback> {
    let files = file_limit().unwrap_or(usize::MAX);
    let needed = connections as usize + OTHER_FILES;
    ensure!(needed <= files, "{needed} open files are needed and {files} are allowed: raise ulimit -n");
    let api = http(target.server[0])?;
    let terminal = Terminal::Desktop;
    each("accounts", 0..connections, |n| sign_up(api.clone(), n)).await?;
    let sessions = each("sign-ins", 0..connections, |n| sign_in(api.clone(), n, terminal)).await?;
    let sessions: Vec<_> = sessions.into_iter().map(Rc::new).collect();
    let connect = |n: u32| {
        let (target, session) = (target.clone(), sessions[n as usize].clone());
        async move {
            let token = session.access_token().await?;
            open(&target, n, Identity { token, terminal, device: device(terminal) }).await
        }
    };
    let first = each_of("connections", AT_ONCE, 0..connections, connect).await?;
    drop(first);
    let before = Counters::read(&target.management).await?;
    let start = Instant::now();
    let held = each_of("reconnects", AT_ONCE, 0..connections, connect).await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = Counters::read(&target.management).await?;
    drop(held);
    Ok(Comeback { connections, seconds, counted_per_connection: after.since(&before, f64::from(connections)) })
}
