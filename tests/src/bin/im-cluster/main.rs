//! A real Kubernetes on this machine: for tests, and to try things out.

mod parts;
mod run;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use imcluster_tests::cluster::{Found, Image, Kubectl, Kubernetes, keep, played_nodes};

/// Brings up a real Kubernetes of one node on this machine, without Docker, and takes it down again.
#[derive(Parser)]
#[command(name = "im-cluster", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Brings the cluster up, unless it runs, and says how to use it; with KUBECONFIG set, it uses that one
    Up,
    /// Takes it down, with everything that it had
    Down,
    /// Says whether this machine lets a cluster run on it, by its exit code, and what it forbids
    Check,
    /// Runs a command with KUBECONFIG set to a cluster, and passes its exit code on; one that was not there is taken down
    Run(run::Run),
    /// Puts an image on the node that runs a program of this machine, with the libraries it loads
    Image {
        /// What pods call it, such as example.com/thing:1
        name: String,
        /// The program
        program: PathBuf,
        /// A folder whose content goes into the image's root
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// What an `ImCluster` needs: images of the programs beside this one on the node, and Redis, PostgreSQL and a Kafka of three
    /// brokers as services of a namespace, with the passwords of manifests/examples/smallest.yaml; until Ctrl-C
    Parts(parts::Parts),
    /// Adds nodes without processes, whose pods are Ready at once; pods there tolerate the taint imcluster.dev/played
    Play {
        /// How many there are, of 250 pods each
        #[arg(value_parser = clap::value_parser!(u8).range(1..=200))]
        nodes: u8,
    },
    /// What runs inside
    #[command(hide = true)]
    Keep { state: PathBuf, lock: PathBuf },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Up => up().await,
        Task::Down => down(),
        Task::Check => Kubernetes::can_run_here().map(|()| ExitCode::SUCCESS),
        Task::Run(run) => run.run().await,
        Task::Image { name, program, folder } => image(&name, &program, folder),
        Task::Parts(parts) => parts.run().await,
        Task::Play { nodes } => play(nodes),
        Task::Keep { state, lock } => keep(&state, &lock).await.map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("im-cluster: {error:#}");
        ExitCode::FAILURE
    })
}

/// The kubeconfig of a cluster of the user's own, if it is not ours.
fn given(own: &Kubernetes) -> Option<PathBuf> {
    let given = std::env::var_os("KUBECONFIG").filter(|given| !given.is_empty()).map(PathBuf::from);
    given.filter(|given| *given != own.kubeconfig())
}

/// This program as the keeper.
fn keeper() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program cannot find itself")?);
    command.arg("keep");
    Ok(command)
}

async fn up() -> Result<ExitCode> {
    let own = Kubernetes::here()?;
    let kubeconfig = if let Some(given) = given(&own) {
        eprintln!("im-cluster: KUBECONFIG is set, so that cluster is used and none is started");
        given
    } else {
        match own.up(keeper()?).await? {
            Found::Running => eprintln!("im-cluster: it runs already"),
            Found::Started => eprintln!("im-cluster: it is up; logs are in {}", own.logs().display()),
        }
        own.kubeconfig()
    };
    println!("export KUBECONFIG={}", kubeconfig.display());
    println!("export PATH={}:$PATH", Kubectl::new(&kubeconfig)?.folder().display());
    println!("# kubectl get nodes");
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<ExitCode> {
    Kubernetes::here()?.down()?;
    eprintln!("im-cluster: it is down");
    Ok(ExitCode::SUCCESS)
}

fn image(name: &str, program: &std::path::Path, folder: Option<PathBuf>) -> Result<ExitCode> {
    let image = Image::of_program(name, program)?;
    let image = match folder {
        Some(folder) => image.with_folder(&folder)?,
        None => image,
    };
    Kubernetes::here()?.import(&image)?;
    Ok(ExitCode::SUCCESS)
}

fn play(nodes: u8) -> Result<ExitCode> {
    let own = Kubernetes::here()?;
    let kubeconfig = given(&own).unwrap_or_else(|| own.kubeconfig());
    Kubectl::new(&kubeconfig)?.apply(&played_nodes(nodes))?;
    Ok(ExitCode::SUCCESS)
}
