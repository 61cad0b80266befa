//! Values of settings, and what is said of one that cannot be read. None of them prints a secret.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use im_protocol::ServerId;
use im_sdk::bus::kafka::Password;

use crate::chat::{KEY_BYTES, Secret};

/// What is said of a value that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

fn unfit<T>(reason: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit(reason.into()))
}

/// A server id: a number, or the name of a `StatefulSet` pod, which ends in one.
pub(super) fn server_id(text: &str) -> Result<ServerId, Unfit> {
    let number = text.rsplit('-').next().unwrap_or(text);
    match number.parse() {
        Ok(number) => Ok(ServerId(number)),
        Err(_) => unfit(format!("expected a number from 0 to {}, or a pod's name that ends in one", u16::MAX)),
    }
}

/// Yes or no.
pub(super) fn boolean(text: &str) -> Result<bool, Unfit> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => unfit("expected true or false"),
    }
}

/// A secret that signs.
pub(super) fn signing_secret(text: &str) -> Result<Secret, Unfit> {
    if text.len() < KEY_BYTES {
        return unfit(format!(
            "expected at least {KEY_BYTES} characters, got {}: make one with `openssl rand -hex 32`",
            text.len()
        ));
    }
    Ok(Secret::new(text))
}

/// Characters of a token: a bearer of it may do a lot.
const TOKEN_CHARS: usize = 16;

/// A token that is compared with what a caller brings.
pub(super) fn token(text: &str) -> Result<Secret, Unfit> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return unfit("expected visible ASCII characters: it travels in an HTTP header");
    }
    if text.len() < TOKEN_CHARS {
        return unfit(format!("expected at least {TOKEN_CHARS} characters, got {}", text.len()));
    }
    Ok(Secret::new(text))
}

/// A password that is handed on.
#[allow(clippy::unnecessary_wraps, reason = "the form of a value's parser")]
pub(super) fn password(text: &str) -> Result<Password, Unfit> {
    Ok(Password::new(text))
}

/// A file that is there and can be read.
pub(super) fn readable_file(text: &str) -> Result<PathBuf, Unfit> {
    match std::fs::File::open(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => unfit(format!("the file cannot be read: {error}")),
    }
}

/// Which lines of the log are written.
pub(super) fn log_filter(text: &str) -> Result<String, Unfit> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => unfit(format!("{error}: expected levels like info or info,im_server::delivery=debug")),
    }
}

/// A part of all.
pub(super) fn share(text: &str) -> Result<f64, Unfit> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => unfit("expected a number from 0 to 1"),
    }
}

/// A URL of HTTP.
pub(super) fn http_url(text: &str) -> Result<String, Unfit> {
    match text.split_once("://") {
        Some(("http" | "https", _)) if host(text).is_some() => Ok(text.to_owned()),
        _ => unfit("expected http://HOST:PORT or https://HOST:PORT"),
    }
}

/// A database.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `PostgreSQL`, with the whole URL.
    Postgres(String),
    /// The path of an `SQLite` file.
    Sqlite(PathBuf),
}

impl FromStr for DatabaseUrl {
    type Err = Unfit;

    fn from_str(text: &str) -> Result<Self, Unfit> {
        let forms = "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///PATH/OF/FILE";
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => match host(text) {
                Some(_) => Ok(Self::Postgres(text.to_owned())),
                None => unfit(format!("it names no host: {forms}")),
            },
            Some(("sqlite", path)) if !path.is_empty() && !path.contains("memory:") => Ok(Self::Sqlite(path.into())),
            Some(("sqlite", _)) => unfit("it names no file: expected sqlite:///PATH/OF/FILE"),
            _ => unfit(forms),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => write!(f, "PostgreSQL at {}", host(url).unwrap_or_default()),
            Self::Sqlite(path) => write!(f, "SQLite in {}", path.display()),
        }
    }
}

/// `host:port,host:port`.
pub(super) fn brokers(text: &str) -> Result<String, Unfit> {
    let good = |broker: &str| {
        broker.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match text.split(',').find(|broker| !good(broker)) {
        None => Ok(text.to_owned()),
        Some(bad) => unfit(format!("{bad:?} is not HOST:PORT: expected a list like kafka-0:9092,kafka-1:9092")),
    }
}

/// The prefix of topic names: what Kafka allows in a name, with room for the server id.
pub(super) fn topic_prefix(text: &str) -> Result<String, Unfit> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=240).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        unfit("expected 1 to 240 letters, digits, dots, dashes or underscores")
    }
}

/// Host and port of a URL; without user, password, path and query.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty() && !host.starts_with(':')).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_s_name_is_its_server_id() {
        assert_eq!(server_id("chat-gateway-3"), Ok(ServerId(3)));
        assert_eq!(server_id("0"), Ok(ServerId(0)));
        for bad in ["", "65536", "chat-gateway", "3a", "chat-gateway-"] {
            assert!(server_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_is_printed_without_its_password() {
        let database: DatabaseUrl = "postgres://im:pa55@db.example:5432/im?sslmode=require".parse().unwrap();
        assert_eq!(format!("{database:?}"), "PostgreSQL at db.example:5432");
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        let bad =
            ["mysql://u:pa55@h/d", "u:pa55@h", "postgres://", "postgres://u:pa55@/d", "sqlite://", "sqlite::memory:"];
        for bad in bad {
            let error = bad.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains("expected") && !error.contains("pa55"), "{bad}: {error}");
        }
    }

    #[test]
    fn every_broker_needs_a_port() {
        assert!(brokers("a:9092,b.example:9093").is_ok());
        for bad in ["", "a", "a:9092,", "a:9092,b", "a:port", ":9092"] {
            assert!(brokers(bad).is_err(), "{bad}");
        }
    }
}
