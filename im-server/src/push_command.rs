//! `im-server push`: what could not be delivered, and another try.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use im_protocol::{DeviceId, TimeMs};

use crate::chat::now_ms;
use crate::config::{self, DatabaseUrl, MigrateSettings, Problems};
use crate::store::postgres::{PostgresConfig, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{DeadLetter, Store};

/// What to do with dead letters.
#[derive(Clone, Debug)]
pub struct PushCommand {
    /// Where they are.
    pub settings: MigrateSettings,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    List { limit: u32 },
    Replay { id: Option<String> },
}

/// The subcommand, for the command line and its help.
pub fn command() -> Command {
    let limit = Arg::new("limit").long("limit").value_name("N").default_value("100").value_parser(value_parser!(u32));
    let dead = config::command::<MigrateSettings>("dead", "List pushes that failed for good, newest first")
        .arg(limit.help("How many at most"));
    let id = Arg::new("id").long("id").value_name("ID").help("The one of this id");
    let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help("All of them");
    let which = ArgGroup::new("which").args(["id", "all"]).required(true);
    let replay = config::command::<MigrateSettings>("replay", "Try pushes again that failed for good")
        .args([id, all])
        .group(which);
    Command::new("push")
        .about("Pushes that failed for good: list them, try them again")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([dead, replay])
}

impl PushCommand {
    /// What the command line says.
    pub fn of(matches: &ArgMatches) -> Result<Self, Problems> {
        let (name, matches) = matches.subcommand().expect("a subcommand is required");
        let what = match name {
            "replay" => What::Replay { id: matches.get_one("id").cloned() },
            _ => What::List { limit: matches.get_one("limit").copied().expect("it has a default") },
        };
        Ok(Self { settings: config::resolve(matches)?, what })
    }

    /// Does it, and says what there was.
    pub async fn run(&self) -> anyhow::Result<String> {
        let url = &self.settings.database.database_url;
        if let DatabaseUrl::Sqlite(path) = url
            && !path.exists()
        {
            bail!("there is no database at {}", path.display());
        }
        let store: Arc<dyn Store> = match url {
            DatabaseUrl::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
            DatabaseUrl::Postgres(url) => Arc::new(PostgresStore::open(&PostgresConfig::new(url)).await?),
        };
        Ok(match &self.what {
            What::List { limit } => listed(&store.dead_letters(*limit).await?),
            What::Replay { id } => {
                let count = store.replay_dead_letters(id.as_deref(), now_ms()).await?;
                match id {
                    Some(id) if count == 0 => bail!("there is no dead letter {id}"),
                    _ => format!("{count} to be tried again\n"),
                }
            }
        })
    }
}

/// A line for each, columns apart by tabs.
fn listed(letters: &[DeadLetter]) -> String {
    let mut text = String::from("id\tfailed\tattempts\tuser\tdevice\tconversation\tseq\tcount\treason\n");
    for DeadLetter { id, key, notice, attempts, reason, time } in letters {
        let (failed, device) = (date(*time), key.device.as_ref().map_or("-", DeviceId::as_str));
        // Writing into memory cannot fail.
        let _ = writeln!(
            text,
            "{id}\t{failed}\t{attempts}\t{}\t{device}\t{}\t{}\t{}\t{reason}",
            key.user, key.conversation, notice.seq, notice.count
        );
    }
    text
}

fn date(time: TimeMs) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(time.max(0).cast_unsigned()))
}
