//! `im-client`: talk from a terminal.

mod chat;
mod input;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use im_client::{Client, Config, Endpoint, LocalStore, MemoryStore, SqliteStore, random_id};
use im_protocol::{ConversationId, DeviceId, UserId};
use tracing_subscriber::EnvFilter;

/// Instant messaging from a terminal.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Chat line by line. Type /help inside.
    Chat(Chat),
}

#[derive(Args)]
struct Chat {
    /// The server's HTTP address.
    #[arg(long, env = "IM_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Who signs in.
    #[arg(long, env = "IM_USER")]
    user: String,
    /// The password. Other users of this machine see a command's arguments: prefer the variable.
    #[arg(long, env = "IM_PASSWORD", hide_env_values = true)]
    password: String,
    /// Open the direct conversation with this user.
    #[arg(long, conflicts_with = "conversation")]
    to: Option<UserId>,
    /// Open this conversation, for instance g:01J….
    #[arg(long)]
    conversation: Option<ConversationId>,
    /// Connect by TCP to HOST:PORT instead of WebSocket.
    #[arg(long, value_name = "HOST:PORT")]
    tcp: Option<String>,
    /// Keep messages and the unsent queue in this folder; else nothing is kept.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Cli { command: Command::Chat(chat) } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("im-client: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(chat)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("im-client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(chat: Chat) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::new(chat.server, chat.user, chat.password);
    if let Some(address) = chat.tcp {
        config.endpoint = Endpoint::Tcp(address);
    }
    let store: Arc<dyn LocalStore> = match &chat.data {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            config.who.device = device(dir)?;
            // One file per user: what one keeps is not for the other.
            Arc::new(SqliteStore::open(&dir.join(format!("{}.db", config.who.user.to_ascii_lowercase()))).await?)
        }
        None => Arc::new(MemoryStore::default()),
    };
    let (client, events) = Client::connect(config, store).await?;
    let open = chat.conversation.or_else(|| chat.to.map(|to| ConversationId::direct(client.me(), &to)));
    chat::run(client, events, open).await
}

/// This installation's id: made once, kept in the folder.
fn device(dir: &std::path::Path) -> Result<DeviceId, Box<dyn std::error::Error>> {
    let path = dir.join("device");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let device = random_id();
            std::fs::write(&path, device.as_str())?;
            Ok(device)
        }
        Err(error) => Err(error.into()),
    }
}
