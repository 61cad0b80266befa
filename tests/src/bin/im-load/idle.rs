//! Connections that do nothing, and what each costs the server.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use im_protocol::Terminal;

use crate::Target;
use crate::account::{device, each, http, sign_in, sign_up};
use crate::connection::{Identity, Reader, Writer, keep_alive, open};
use crate::process::{Processes, file_limit};
use crate::report::Idle;

/// One device may have this many connections.
const PER_DEVICE: u32 = 5;
/// One user may have a device of each class.
const TERMINALS: [Terminal; 5] = Terminal::ALL;
/// The memory is looked at this often while connections are made.
const STEPS: u32 = 10;
/// How long the server may take to settle before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// Files this process needs beside its connections.
const OTHER_FILES: usize = 100;

pub(crate) async fn run(target: &Target, connections: u32, seconds: u32) -> anyhow::Result<Idle> {
    let files = file_limit().unwrap_or(usize::MAX);
    let needed = connections as usize + OTHER_FILES;
    ensure!(needed <= files, "{needed} open files are needed and {files} are allowed: raise ulimit -n");
    let process = Processes::find(&target.server_pid, &target.server);

    // Signing in costs the server memory of its own, so it is done with before the first look.
    let api = http(target.server[0])?;
    let devices = connections.div_ceil(PER_DEVICE);
    let classes = u32::try_from(TERMINALS.len())?;
    each("accounts", 0..devices.div_ceil(classes), |n| sign_up(api.clone(), n)).await?;
    let terminal = |device: u32| TERMINALS[(device % classes) as usize];
    let sessions = each("sign-ins", 0..devices, |n| sign_in(api.clone(), n / classes, terminal(n))).await?;
    let sessions: Vec<_> = sessions.into_iter().map(Rc::new).collect();

    let broken = Rc::new(Cell::new(0));
    let mut writers: Vec<Rc<Writer>> = Vec::new();
    let mut samples = Vec::new();
    let mut beating: Option<tokio::task::JoinHandle<()>> = None;
    let mut connecting = Duration::ZERO;
    for step in 0..=STEPS {
        let first = u32::try_from(writers.len())?;
        let until = u32::try_from(u64::from(connections) * u64::from(step) / u64::from(STEPS))?;
        let start = Instant::now();
        let opened = each("connections", first..until, |n| {
            let device_n = n / PER_DEVICE;
            let (target, session) = (target.clone(), sessions[device_n as usize].clone());
            let terminal = terminal(device_n);
            async move {
                let token = session.access_token().await?;
                open(&target, n, Identity { token, terminal, device: device(terminal) }).await
            }
        })
        .await?;
        connecting += start.elapsed();
        let mut heartbeat = None;
        for (reader, writer, told) in opened {
            heartbeat = Some(told.heartbeat);
            tokio::task::spawn_local(hold(reader, writer.clone(), broken.clone()));
            writers.push(writer);
        }
        if let Some(heartbeat) = heartbeat {
            // The pinging starts over with all of them; a round is well within the heartbeat.
            if let Some(beating) = beating.replace(tokio::task::spawn_local(keep_alive(writers.clone(), heartbeat))) {
                beating.abort();
            }
        }
        tokio::time::sleep(SETTLE).await;
        if let Some(bytes) = process.as_ref().and_then(|process| process.resident_bytes().ok()) {
            // In the first fifth the server still gives back what signing in took.
            if step > STEPS / 5 {
                samples.push((f64::from(until), bytes));
            }
            eprintln!("{until} connections, {:.1} MiB", bytes / 1024.0 / 1024.0);
        }
    }
    let before = process.as_ref().and_then(|process| process.cpu_seconds().ok());
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let after = process.as_ref().and_then(|process| process.cpu_seconds().ok());
    let held = start.elapsed().as_secs_f64();
    let used = before.zip(after).map(|(before, after)| after - before);
    Ok(Idle {
        connections,
        seconds: held,
        connects_per_second: f64::from(connections) / connecting.as_secs_f64(),
        bytes_per_connection: slope(&samples),
        cpu_micros_per_connection_second: used.map(|used| used * 1e6 / held / f64::from(connections)),
        broken: broken.get(),
    })
}

async fn hold(mut reader: Reader, writer: Rc<Writer>, broken: Rc<Cell<u64>>) {
    loop {
        if let Err(error) = reader.read(&writer, |_| Ok(())).await.context("an idle connection broke") {
            if broken.replace(broken.get() + 1) == 0 {
                eprintln!("{error:#}");
            }
            return;
        }
    }
}

/// The slope of the line that fits the points best: what one more costs, whatever the first ones did.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = f64::from(u32::try_from(points.len()).ok().filter(|count| *count > 1)?);
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_does_not_depend_on_what_the_server_weighs_without_connections() {
        let points: Vec<_> = (0..5).map(|n| (f64::from(n), 1e6 + 2048.0 * f64::from(n))).collect();
        assert!((slope(&points).unwrap() - 2048.0).abs() < 1e-6);
        assert_eq!(slope(&points[..1]), None);
    }
}
