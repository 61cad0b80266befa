//! The real stack on one machine: for tests, and to try things out.

mod run;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Starts Redis, PostgreSQL, Kafka, nginx and im-servers on this machine, and stops them again.
#[derive(Parser)]
#[command(name = "im-stack", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs a command beside fresh components, tells it where they are, and passes its exit code on
    Run(run::Run),
    /// Starts everything and keeps it running until Ctrl-C
    Up(up::Up),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Run(run) => run.run().await,
        Task::Up(up) => up.run().await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("im-stack: {error:#}");
        ExitCode::FAILURE
    })
}
