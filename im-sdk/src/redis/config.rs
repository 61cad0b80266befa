//! Where Redis is, and who we are there: read from a URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use ::redis::RedisError;

use super::error::ConnectError;

/// Where Redis is, and who we are there.
///
/// | URL | what it means |
/// |---|---|
/// | `redis://host` | one Redis, port 6379 |
/// | `redis://user:password@host:6380/2` | with an ACL user, another port, database 2 |
/// | `redis://:password@host` | with a password alone |
/// | `rediss://host` | the same over TLS |
/// | `redis+sentinel://s1,s2:26380,s3/master-name` | the master that Sentinels name; their port is 26379 |
/// | `redis+sentinel://s1,s2/master-name/2?sentinel_password=…` | database 2; credentials of the Sentinels themselves |
/// | `redis+cluster://h1,h2:7001,h3` | a Redis Cluster, found by any of these nodes |
/// | `rediss+sentinel://…`, `rediss+cluster://…` | the same over TLS |
///
/// `redis+sentinel` takes `sentinel_user` and `sentinel_password`. What is special in a URL is written with percent
/// signs, in a password too (`p%40ss` is `p@ss`). TLS trusts the system's certificate authorities unless
/// [`RedisConfig::with_ca_file`] names one. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub(super) kind: Kind,
    /// Host and port: of Redis, of the Sentinels, or of nodes of the cluster.
    pub(super) nodes: Vec<(String, u16)>,
    pub(super) tls: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) credentials: Credentials,
    pub(super) sentinel_credentials: Credentials,
    pub(super) database: i64,
    pub(super) prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    /// The master's name.
    Sentinel(String),
    Cluster,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// What is wrong with a Redis URL. It repeats no part that could hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Redis URL is wrong: {0}")]
pub struct RedisUrlError(&'static str);

/// What keys begin with, unless it is set.
const PREFIX: &str = "im:";

impl RedisConfig {
    /// Keys begin with it: several installations can share a Redis. Without braces, which have a meaning of their own
    /// in a cluster.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, RedisUrlError> {
        if prefix.contains(['{', '}']) {
            return Err(RedisUrlError("the key prefix must have no braces"));
        }
        Ok(Self { prefix: prefix.to_owned(), ..self })
    }

    /// A PEM file with the certificate authorities to trust, in place of the system's.
    pub fn with_ca_file(self, path: impl Into<PathBuf>) -> Result<Self, RedisUrlError> {
        if !self.tls {
            return Err(RedisUrlError("a CA file needs TLS: write rediss:// in place of redis://"));
        }
        Ok(Self { ca_file: Some(path.into()), ..self })
    }

    /// host:port, several with commas: what a message may show.
    pub fn address(&self) -> String {
        let each = self
            .nodes
            .iter()
            .map(|(host, port)| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
        each.collect::<Vec<_>>().join(",")
    }

    pub(super) fn error(&self, error: &RedisError) -> ConnectError {
        let master = match &self.kind {
            Kind::Sentinel(master) => Some(master.as_str()),
            Kind::Single | Kind::Cluster => None,
        };
        ConnectError::of(error, &self.address(), master)
    }
}

impl FromStr for RedisConfig {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        const FORMS: &str = "it must begin with redis://, rediss://, redis+sentinel:// or redis+cluster:// (with TLS: \
                             rediss+sentinel://, rediss+cluster://)";
        let (scheme, rest) = url.trim().split_once("://").ok_or(RedisUrlError(FORMS))?;
        let (tls, form) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis", form) => (false, form),
            ("rediss", form) => (true, form),
            _ => return Err(RedisUrlError(FORMS)),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (credentials(user)?, hosts),
            None => (Credentials::default(), authority),
        };
        let (port, kind, database) = match form {
            "" => (6379, Kind::Single, path),
            "cluster" if !path.is_empty() && path != "0" => {
                return Err(RedisUrlError("a Redis Cluster has no databases: nothing may follow its hosts"));
            }
            "cluster" => (6379, Kind::Cluster, ""),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(RedisUrlError("with Sentinels the master's name follows the hosts: …/master-name"));
                }
                (26379, Kind::Sentinel(decoded(master)?), database)
            }
            _ => return Err(RedisUrlError(FORMS)),
        };
        let nodes = hosts.split(',').map(|host| node(host, port)).collect::<Result<Vec<_>, _>>()?;
        if kind == Kind::Single && nodes.len() > 1 {
            return Err(RedisUrlError("several hosts need redis+sentinel:// or redis+cluster://"));
        }
        let database = match database {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| RedisUrlError("the database must be a number"))?.into(),
        };
        let sentinel_credentials = sentinel_credentials(&kind, query)?;
        let prefix = PREFIX.to_owned();
        Ok(Self { kind, nodes, tls, ca_file: None, credentials, sentinel_credentials, database, prefix })
    }
}

/// `user:password`, `:password` or `user`.
fn credentials(text: &str) -> Result<Credentials, RedisUrlError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let part = |text: &str| if text.is_empty() { Ok(None) } else { decoded(text).map(Some) };
    Ok(Credentials { user: part(user)?, password: part(password)? })
}

fn decoded(text: &str) -> Result<String, RedisUrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| RedisUrlError("a part written with percent signs is not UTF-8"))?.into_owned())
}

fn node(text: &str, default_port: u16) -> Result<(String, u16), RedisUrlError> {
    const BAD_PORT: RedisUrlError = RedisUrlError("a port must be a number from 1 to 65535");
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, ""))) => (address, None),
        Some(Some((address, rest))) => (address, Some(rest.strip_prefix(':').ok_or(BAD_PORT)?)),
        Some(None) => return Err(RedisUrlError("an IPv6 address must end with a bracket")),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(RedisUrlError("a host is missing"));
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(BAD_PORT)?,
    };
    Ok((host.to_owned(), port))
}

fn sentinel_credentials(kind: &Kind, query: &str) -> Result<Credentials, RedisUrlError> {
    let mut credentials = Credentials::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match (kind, name) {
            (Kind::Sentinel(_), "sentinel_user") => &mut credentials.user,
            (Kind::Sentinel(_), "sentinel_password") => &mut credentials.password,
            _ => {
                return Err(RedisUrlError(
                    "after the question mark only sentinel_user and sentinel_password can stand, with Sentinels",
                ));
            }
        };
        *place = Some(decoded(value)?);
    }
    Ok(credentials)
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("kind", &self.kind)
            .field("nodes", &self.address())
            .field("tls", &self.tls)
            .field("ca_file", &self.ca_file)
            .field("credentials", &self.credentials)
            .field("sentinel_credentials", &self.sentinel_credentials)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .finish()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Credentials").field("user", &self.user).field("password", &password).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> RedisConfig {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn problem(url: &str) -> String {
        url.parse::<RedisConfig>().expect_err(url).to_string()
    }

    #[test]
    fn a_single_redis_is_read_with_all_its_parts() {
        let plain = config("redis://cache");
        assert_eq!((plain.kind.clone(), plain.address(), plain.tls), (Kind::Single, "cache:6379".to_owned(), false));
        let full = config("rediss://im:p%40ss%2F@cache.example.org:6380/2");
        assert_eq!((full.address(), full.tls, full.database), ("cache.example.org:6380".to_owned(), true, 2));
        assert_eq!(full.credentials.user.as_deref(), Some("im"));
        assert_eq!(full.credentials.password.as_deref(), Some("p@ss/"));
        let password = config("redis://:secret@cache").credentials;
        assert_eq!((password.user, password.password.as_deref()), (None, Some("secret")));
        assert_eq!(config("redis://[::1]:6380").nodes, [("::1".to_owned(), 6380)]);
        assert_eq!(config("redis://[::1]").address(), "[::1]:6379");
    }

    #[test]
    fn sentinels_come_with_the_masters_name() {
        let sentinels = config("redis+sentinel://:pw@s1,s2:26380/chat/3?sentinel_user=u&sentinel_password=s%26");
        assert_eq!(sentinels.kind, Kind::Sentinel("chat".to_owned()));
        assert_eq!((sentinels.address(), sentinels.database), ("s1:26379,s2:26380".to_owned(), 3));
        assert_eq!(sentinels.sentinel_credentials.user.as_deref(), Some("u"));
        assert_eq!(sentinels.sentinel_credentials.password.as_deref(), Some("s&"));
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_nodes() {
        let cluster = config("rediss+cluster://u:p@h1,h2:7001");
        assert_eq!((cluster.kind.clone(), cluster.tls), (Kind::Cluster, true));
        assert_eq!(cluster.address(), "h1:6379,h2:7001");
    }

    #[test]
    fn a_wrong_url_is_told_what_is_wrong_with_it() {
        for (url, part) in [
            ("", "must begin with"),
            ("http://cache", "must begin with"),
            ("redis+nonsense://cache", "must begin with"),
            ("redis://", "host is missing"),
            ("redis://a,,b", "host is missing"),
            ("redis://a,b", "several hosts"),
            ("redis://a:port", "a port must be"),
            ("redis://a:0", "a port must be"),
            ("redis://[::1", "bracket"),
            ("redis://a/first", "database must be a number"),
            ("redis+sentinel://a,b", "master's name"),
            ("redis+cluster://a,b/3", "no databases"),
            ("redis://a?timeout=3", "after the question mark"),
            ("redis://:%ff@a", "not UTF-8"),
        ] {
            let problem = problem(url);
            assert!(problem.contains(part), "{url}: {problem}");
        }
        assert!(config("redis://a").with_ca_file("/ca.pem").is_err());
        assert!(config("redis://a").with_prefix("im:{x}").is_err());
    }

    #[test]
    fn no_password_is_shown() {
        let config = config("redis+sentinel://u:hidden@a/m?sentinel_password=hidden");
        assert!(!format!("{config:?}").contains("hidden"));
        for url in ["redis://u:hidden@a,b", "rediss://u:hidden@a:99999", "u:hidden@a"] {
            assert!(!problem(url).contains("hidden"));
        }
    }
}
