//! The real stack on one machine: for tests, and to try things out.

mod run;

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
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Run(run) => run.run().await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("im-stack: {error:#}");
        ExitCode::FAILURE
    })
}
