//! The command line: every setting is a flag and an environment variable.

#![allow(clippy::doc_markdown, reason = "settings are read as plain text, by --help")]

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// The image of im-server that belongs to this operator.
pub const RELEASE_IMAGE: &str = concat!("ghcr.io/imcluster/im-server:", env!("CARGO_PKG_VERSION"));

/// Makes of ImCluster resources gateways with stable server ids, and their topics.
#[derive(Debug, Parser)]
#[command(name = "imcluster-operator", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<Settings>),
    /// Print the CustomResourceDefinition, for kubectl apply --server-side -f -
    Crd,
}

/// Settings of `imcluster-operator run`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Where it works.
    #[command(flatten)]
    pub scope: ScopeSettings,
    /// How several operators agree on the one that works.
    #[command(flatten)]
    pub lease: LeaseSettings,
    /// Image of im-server for an ImCluster that names none and has no gateways yet
    #[arg(long, env = "IMCLUSTER_IMAGE", value_name = "IMAGE", default_value = RELEASE_IMAGE, value_parser = image)]
    pub image: String,
    /// Address of probes and metrics
    #[arg(long, env = "IMCLUSTER_LISTEN", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// What it writes about the run.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Where the operator works.
#[derive(Args, Clone, Debug)]
pub struct ScopeSettings {
    /// Namespace that the operator is in; without it, that of its service account, or of the context of the kubeconfig
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub own_namespace: Option<String>,
    /// Namespaces whose ImClusters it looks after, with commas; without any, its own
    #[arg(long, env = "IMCLUSTER_NAMESPACES", value_name = "NAMESPACE,…", default_value = "")]
    pub namespaces: NamespaceList,
    /// Looks after the ImClusters of all namespaces; needs a ClusterRole
    #[arg(long, env = "IMCLUSTER_ALL_NAMESPACES", value_name = "BOOL", num_args = 0..=1, default_value = "false",
          default_missing_value = "true", action = ArgAction::Set)]
    pub all_namespaces: bool,
}

/// How several operators agree on the one that works.
#[derive(Args, Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the Lease that the working operator holds; without it, the operator's own
    #[arg(long, env = "IMCLUSTER_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub lease_namespace: Option<String>,
    /// Name of that Lease: the same for all operators that look after the same ImClusters
    #[arg(long, env = "IMCLUSTER_LEASE_NAME", value_name = "NAME", default_value = "imcluster-operator",
          value_parser = label)]
    pub lease_name: String,
    /// What this process is called in the Lease and in events, followed by a random part; without it, the host's name
    #[arg(long, env = "POD_NAME", value_name = "NAME", value_parser = identity)]
    pub identity: Option<String>,
}

/// What a process writes about its run.
#[derive(Args, Clone, Debug)]
pub struct LogSettings {
    /// What to log, for instance info,imcluster_operator::topics=debug; the log goes to standard error
    #[arg(long, env = "IMCLUSTER_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// How to log: text for people, json for collectors
    #[arg(long, env = "IMCLUSTER_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The namespaces whose `ImCluster`s an operator looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Those, at least one.
    Listed(BTreeSet<String>),
    /// Every one, also those that come later.
    All,
}

/// Names of namespaces, written with commas; none is fine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceList(BTreeSet<String>);

/// A setting that does not fit: what is wrong, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl FromStr for NamespaceList {
    type Err = Unfit;

    fn from_str(text: &str) -> Result<Self, Unfit> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(namespace).collect::<Result<_, _>>().map(Self)
    }
}

impl ScopeSettings {
    /// The namespace that the operator is in. `fallback` is what the connection to Kubernetes says.
    pub fn own(&self, fallback: &str) -> String {
        self.own_namespace.clone().unwrap_or_else(|| fallback.to_owned())
    }

    /// The namespaces to look after, for an operator in the namespace `own`.
    pub fn namespaces(&self, own: &str) -> Result<Namespaces, Unfit> {
        match (self.all_namespaces, &self.namespaces.0) {
            (true, listed) if listed.is_empty() => Ok(Namespaces::All),
            (true, _) => Err(Unfit("--namespaces and --all-namespaces exclude each other: leave one out".to_owned())),
            (false, listed) if listed.is_empty() => Ok(Namespaces::Listed(BTreeSet::from([own.to_owned()]))),
            (false, listed) => Ok(Namespaces::Listed(listed.clone())),
        }
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(names) => f.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
            Self::All => f.write_str("all namespaces"),
        }
    }
}

/// A name as Kubernetes gives them to namespaces.
fn namespace(text: &str) -> Result<String, Unfit> {
    label(text).map_err(|Unfit(why)| Unfit(format!("{text:?} is not the name of a namespace: {why}")))
}

/// A DNS label (RFC 1123).
fn label(text: &str) -> Result<String, Unfit> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
    if ends && text.len() <= 63 && text.bytes().all(|byte| plain(byte) || byte == b'-') {
        Ok(text.to_owned())
    } else {
        Err(Unfit("expected 1 to 63 of a-z, 0-9 and -, which neither begin nor end with -".to_owned()))
    }
}

/// Events take 128 characters, and the random part needs some.
fn identity(text: &str) -> Result<String, Unfit> {
    if (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(Unfit("expected 1 to 100 printable characters without spaces, like the name of a pod".to_owned()))
    }
}

fn image(text: &str) -> Result<String, Unfit> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(Unfit("expected an image like registry.example.com/im-server:1.2.3".to_owned()))
    }
}

fn log_filter(text: &str) -> Result<String, Unfit> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            Err(Unfit(format!("{error}: expected levels like info or info,imcluster_operator::topics=debug")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, String> {
        let whole = ["imcluster-operator", "run"].iter().chain(arguments);
        match Cli::try_parse_from(whole) {
            Ok(Cli { command: Command::Run(settings) }) => Ok(*settings),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn namespaces(arguments: &[&str]) -> Result<Namespaces, Unfit> {
        settings(arguments).unwrap().scope.namespaces("here")
    }

    fn listed(names: &[&str]) -> Namespaces {
        Namespaces::Listed(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn an_operator_looks_after_its_own_namespace_unless_told_otherwise() {
        assert_eq!(namespaces(&[]), Ok(listed(&["here"])));
        assert_eq!(namespaces(&["--namespaces", ""]), Ok(listed(&["here"])));
        assert_eq!(namespaces(&["--namespaces", "b, a,,b"]), Ok(listed(&["a", "b"])));
        assert_eq!(namespaces(&["--all-namespaces"]), Ok(Namespaces::All));
        assert_eq!(namespaces(&["--all-namespaces", "false"]), Ok(listed(&["here"])));
    }

    #[test]
    fn listed_namespaces_and_all_of_them_exclude_each_other() {
        let said = namespaces(&["--all-namespaces", "--namespaces", "a"]).unwrap_err().to_string();
        assert!(said.contains("leave one out"), "{said}");
    }

    #[test]
    fn what_the_pod_says_of_its_namespace_goes_before_what_the_connection_says() {
        assert_eq!(settings(&[]).unwrap().scope.own("theirs"), "theirs");
        assert_eq!(settings(&["--own-namespace", "ours"]).unwrap().scope.own("theirs"), "ours");
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_with_what_is_expected() {
        for (arguments, expected) in [
            (["--namespaces", "a,B"], "\"B\" is not the name of a namespace: expected 1 to 63 of a-z"),
            (["--own-namespace", "a-"], "neither begin nor end with -"),
            (["--lease-name", ""], "expected 1 to 63 of a-z"),
            (["--identity", "a b"], "like the name of a pod"),
            (["--image", ""], "expected an image like"),
            (["--listen", "8080"], "invalid socket address"),
            (["--log", "chatty=loud"], "expected levels like info"),
            (["--log-format", "xml"], "possible values: text, json"),
        ] {
            let said = settings(&arguments).expect_err(expected);
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
    }
}
