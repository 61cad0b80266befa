//! The command line of the server.

use std::process::ExitCode;

use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser};
use im_server::config::{self, LogSettings, MigrateSettings, Problems, ServeSettings};
use im_server::dev::{self, DevOptions};
use im_server::gateway::Order;
use im_server::push_command::{self, PushCommand};
use im_server::server::Server;
use im_server::startup::WrongSettings;
use im_server::{serve, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};

// Signing in takes 19 MiB each time, on whatever thread is free: the system's allocator keeps one such block per thread
// for ever, this one gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Instant messaging in one process, or in many.
#[derive(Parser)]
#[command(name = "im-server", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Cli {}

/// What to run.
enum Command {
    Dev(Box<DevOptions>),
    Serve(Box<ServeSettings>),
    Migrate(MigrateSettings),
    Push(PushCommand),
}

/// What ends the process after a mistake in the settings, as after one on the command line.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let command = match command() {
        Ok(command) => command,
        Err(problems) => {
            eprintln!("im-server: {problems}");
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    let result = telemetry::start_log(command.log()).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(command))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes on one line: what a person at a terminal can act on.
            eprintln!("im-server: {error:#}");
            if error.is::<WrongSettings>() { ExitCode::from(WRONG_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

fn command() -> Result<Command, Problems> {
    let dev = config::with_variables(DevOptions::augment_args(clap::Command::new("dev"))).disable_help_flag(false);
    let matches = Cli::command()
        .subcommand(dev.about("Everything in one process: embedded database, two gateways, the chat page"))
        .subcommand(config::command::<ServeSettings>(
            "serve",
            "One server of a cluster; brings the database up to date first",
        ))
        .subcommand(config::command::<MigrateSettings>("migrate", "Bring the database to this version, and end"))
        .subcommand(push_command::command())
        .get_matches();
    let (name, matches) = matches.subcommand().expect("a subcommand is required");
    Ok(match name {
        "serve" => Command::Serve(Box::new(config::resolve(matches)?)),
        "migrate" => Command::Migrate(config::resolve(matches)?),
        "push" => Command::Push(PushCommand::of(matches)?),
        _ => Command::Dev(Box::new(DevOptions::from_arg_matches(matches).unwrap_or_else(|error| error.exit()))),
    })
}

impl Command {
    fn log(&self) -> &LogSettings {
        match self {
            Self::Dev(options) => &options.log,
            Self::Serve(settings) => &settings.log,
            Self::Migrate(settings) => &settings.log,
            Self::Push(command) => &command.settings.log,
        }
    }
}

/// What asks a process to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    // Before the start, so that an early Ctrl-C is not lost.
    let mut stop = Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    match command {
        Command::Dev(options) => {
            let metrics = im_server::api::install_metrics()?;
            let (server, addresses, _lock) = tokio::select! {
                started = dev::start(&options, metrics) => started?,
                () = stop.asked() => return Ok(()),
            };
            println!("{}", dev::greeting(addresses, &options.data));
            until_stopped(server, stop, dev::DRAIN).await
        }
        Command::Serve(settings) => {
            let metrics = im_server::api::install_metrics()?;
            let traces = telemetry::trace::start(&settings.trace, settings.listen.server_id)?;
            let server = tokio::select! {
                started = serve::start(&settings, metrics) => started?,
                () = stop.asked() => return Ok(()),
            };
            let result = until_stopped(server, stop, settings.drain.order()).await;
            if let Some(traces) = traces {
                traces.stop().await;
            }
            result
        }
        Command::Migrate(settings) => tokio::select! {
            migrated = serve::migrate(&settings) => migrated,
            () = stop.asked() => Ok(()),
        },
        Command::Push(command) => tokio::select! {
            said = command.run() => said.map(|said| print!("{said}")),
            () = stop.asked() => Ok(()),
        },
    }
}

/// Runs until someone asks for the end, and sends the clients to the other servers first. Who asks again cannot wait.
async fn until_stopped(mut server: Server, mut stop: Stop, order: Order) -> anyhow::Result<()> {
    let drain = server.drain();
    let asked = async {
        stop.asked().await;
        tokio::select! {
            () = drain.to_the_end(order) => {}
            () = stop.asked() => {}
        }
    };
    let failure = tokio::select! {
        () = asked => None,
        failure = server.failed() => Some(failure),
    };
    server.stop().await;
    failure.map_or(Ok(()), Err)
}
