//! `im-load`: an open-loop load generator. It runs on one thread, because it shares the machine with the server it
//! measures.

mod account;
mod connection;
mod counters;
mod framing;
mod idle;
mod order;
mod process;
mod reconnect;
mod report;
mod traffic;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load a server and measure it. Sends are due at fixed times whatever the server does, and latency counts
/// from when a send was due: a server that stalls cannot hide it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct Target {
    /// The server's HTTP address; several, separated by commas: users connect to them in turn.
    #[arg(long, global = true, default_value = "127.0.0.1:8080", value_delimiter = ',')]
    server: Vec<SocketAddr>,
    /// The same of its TCP address, for --transport tcp.
    #[arg(long, global = true, default_value = "127.0.0.1:8090", value_delimiter = ',')]
    tcp: Vec<SocketAddr>,
    /// The management addresses, for what the servers count: round trips, records, statements.
    #[arg(long, global = true, value_delimiter = ',')]
    management: Vec<SocketAddr>,
    /// By which kind of socket.
    #[arg(long, global = true, value_enum, default_value_t = Transport::Ws)]
    transport: Transport,
    /// The server's process, for CPU and memory, or several; else those that listen on the HTTP ports.
    #[arg(long, global = true, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Load a server on another machine. Without this only loopback addresses are taken.
    #[arg(long, global = true)]
    remote: bool,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Ws,
    Tcp,
}

#[derive(Subcommand)]
enum Command {
    /// Many senders in small groups: how many sends are acked.
    Sends(Sends),
    /// One large group in which everybody is online: how many deliveries are made.
    Fanout(Fanout),
    /// Connections that do nothing: what each costs.
    Idle(Idle),
    /// Connections that are lost and come back all at once: what each costs the registry and the database.
    Reconnect(Reconnect),
}

#[derive(Args)]
struct Load {
    /// Sends per second, all senders together.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// For how long, after the warm-up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Seconds of load before anything is counted.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=600))]
    warm_up: u32,
    /// Bytes of a message's text.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    bytes: u32,
}

#[derive(Args)]
struct Sends {
    /// Users that send, each on a connection of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    senders: u32,
    /// Users of one group; each of them sends there.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=400))]
    group_size: u32,
    #[command(flatten)]
    load: Load,
}

#[derive(Args)]
struct Fanout {
    /// Members of the group, all online.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    members: u32,
    /// How many of them send.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    senders: u32,
    #[command(flatten)]
    load: Load,
}

#[derive(Args)]
struct Idle {
    /// How many.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=500_000))]
    connections: u32,
    /// For how long they are held to measure the CPU.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

#[derive(Args)]
struct Reconnect {
    /// How many.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    connections: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        // The figures stand, but not every message arrived once and in order.
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("im-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<bool> {
    let target = cli.target;
    let elsewhere = target.server.iter().chain(&target.tcp).find(|address| !address.ip().is_loopback());
    if let (Some(address), false) = (elsewhere, target.remote) {
        anyhow::bail!("{address} is not on this machine: --remote says that you mean it");
    }
    // Two TLS stacks are linked in, so one has to be named; an error means that someone has.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match cli.command {
            Command::Sends(sends) => {
                let group_size = sends.group_size.min(sends.senders);
                let plan =
                    traffic::Plan { users: sends.senders, group_size, senders_per_group: group_size, load: sends.load };
                traffic::run(&target, plan).await.map(|report| report.print(target.json))
            }
            Command::Fanout(fanout) => {
                let plan = traffic::Plan {
                    users: fanout.members,
                    group_size: fanout.members,
                    senders_per_group: fanout.senders.min(fanout.members),
                    load: fanout.load,
                };
                traffic::run(&target, plan).await.map(|report| report.print(target.json))
            }
            Command::Idle(idle) => {
                idle::run(&target, idle.connections, idle.seconds).await?.print(target.json);
                Ok(true)
            }
            Command::Reconnect(reconnect) => {
                reconnect::run(&target, reconnect.connections).await?.print(target.json);
                Ok(true)
            }
        }
    })
}
