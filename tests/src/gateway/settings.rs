//! What im-server is told, as far as a gateway without clients heeds it: by a flag, an environment variable, or a key of
//! the file, in this order (docs/configuration.md).

use std::net::SocketAddr;

use anyhow::{Context, Result};
use toml::Table;

use super::MANAGEMENT_PORT;
use super::life::DrainOrder;

/// The settings that it heeds. It takes all others as well.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its server id.
    pub server: u16,
    /// The name of its topic.
    pub topic: String,
    /// Where the management port is.
    pub listen: SocketAddr,
    /// What opens `/status` and `/drain`.
    pub token: Option<String>,
    /// How it drains after SIGTERM.
    pub drain: DrainOrder,
}

impl Settings {
    /// Reads them. `variable` is the environment.
    pub fn read(arguments: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut source = Source { arguments, variable: &variable, file: Table::new() };
        if let Some(file) = source.text("config") {
            let text = std::fs::read_to_string(&file).with_context(|| format!("{file} cannot be read"))?;
            source.file = text.parse().with_context(|| format!("{file} is not TOML"))?;
        }
        let server = source.text("server-id").context("server-id is missing: set --server-id or IM_SERVER_ID")?;
        // The name of a StatefulSet's pod ends in its number.
        let server = server.rsplit('-').next().unwrap_or_default();
        let server = server.parse().context("server-id is no number, and no pod's name that ends in one")?;
        let prefix = source.text("kafka-topic-prefix").unwrap_or_else(|| "im.".to_owned());
        let anywhere = SocketAddr::from(([0, 0, 0, 0], MANAGEMENT_PORT));
        Ok(Self {
            server,
            topic: format!("{prefix}{server}"),
            listen: source.parsed("management-listen")?.unwrap_or(anywhere),
            token: source.secret("management-token")?,
            drain: DrainOrder {
                deadline_seconds: source.parsed("drain-deadline-seconds")?.unwrap_or(300),
                connections_per_second: source.parsed("drain-connections-per-second")?.unwrap_or(200),
            },
        })
    }
}

struct Source<'a> {
    arguments: &'a [String],
    variable: &'a dyn Fn(&str) -> Option<String>,
    file: Table,
}

impl Source<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let (flag, given) = (format!("--{name}"), format!("--{name}="));
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if let Some(value) = argument.strip_prefix(&given) {
                return Some(value.to_owned());
            }
            if *argument == flag {
                return arguments.next().cloned();
            }
        }
        let variable = format!("IM_{}", name.to_uppercase().replace('-', "_"));
        // An empty variable is one that is not set.
        (self.variable)(&variable).filter(|value| !value.is_empty()).or_else(|| {
            let value = self.file.get(name)?;
            // None of those that it heeds is anything else.
            value.as_str().map(str::to_owned).or_else(|| Some(value.as_integer()?.to_string()))
        })
    }

    fn parsed<T>(&self, name: &str) -> Result<Option<T>>
    where
        T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        self.text(name).map(|text| text.parse().with_context(|| format!("{name} is {text}"))).transpose()
    }

    fn secret(&self, name: &str) -> Result<Option<String>> {
        let Some(file) = self.text(&format!("{name}-file")) else { return Ok(self.text(name)) };
        let text = std::fs::read_to_string(&file).with_context(|| format!("{file} cannot be read"))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings> {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        Settings::read(&arguments, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (config, token) = (folder.path().join("config.toml"), folder.path().join("token"));
        std::fs::write(&token, "opens-the-management-port\n").unwrap();
        let text = format!(
            "server-id = 1\ndrain-deadline-seconds = 10\ndrain-connections-per-second = 20\n\
             management-listen = \"0.0.0.0:9999\"\nkafka-topic-prefix = \"chat.\"\nmanagement-token-file = {token:?}\n\
             open-registration = true\n"
        );
        std::fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let settings = read(
            &["--create-topics", "--drain-deadline-seconds=30", "--log", "debug"],
            &[("IM_CONFIG", config), ("IM_SERVER_ID", "chat-7"), ("IM_DRAIN_DEADLINE_SECONDS", "40")],
        )
        .unwrap();
        assert_eq!((settings.server, settings.topic.as_str()), (7, "chat.7"));
        assert_eq!(settings.drain, DrainOrder { deadline_seconds: 30, connections_per_second: 20 });
        assert_eq!(settings.listen.to_string(), "0.0.0.0:9999");
        assert_eq!(settings.token.as_deref(), Some("opens-the-management-port"));
    }

    #[test]
    fn what_is_left_out_is_as_im_server_has_it() {
        let settings = read(&["--server-id", "3"], &[]).unwrap();
        assert_eq!((settings.server, settings.topic.as_str(), settings.token), (3, "im.3", None));
        assert_eq!(settings.listen.to_string(), "0.0.0.0:9090");
        assert_eq!(settings.drain, DrainOrder { deadline_seconds: 300, connections_per_second: 200 });
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let why = |arguments: &[&str]| format!("{:#}", read(arguments, &[]).err().expect("an error"));
        assert!(why(&[]).contains("server-id is missing"));
        assert!(why(&["--server-id", "chat"]).contains("server-id"));
        assert!(why(&["--server-id=1", "--drain-deadline-seconds=x"]).contains("drain-deadline-seconds is x"));
        assert!(why(&["--server-id=1", "--config=/nowhere"]).contains("/nowhere cannot be read"));
    }
}
