//! Opens connections: what is set on them on purpose stands here.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, TlsCertificates, TlsMode,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::config::{Credentials, RedisConfig};
use super::error::ConnectError;

/// For an answer. A look-up of a thousand users takes milliseconds; a Redis that forks to save its data, or takes over
/// from a failed master, may stall for hundreds. Beyond a second the messages that wait are better off going to every
/// server. (The crate's own 500 ms would call a busy Redis a dead one.)
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// For a connection to one address, TLS and the greeting included: more than one lost SYN, which is sent again after 1 s.
const CONNECT: Duration = Duration::from_millis(1500);

/// For finding the master by Sentinels, one of which may be down, and connecting to it.
const FIND_MASTER: Duration = Duration::from_secs(4);

/// The system gives a connection up on which nothing is acked for so long: a peer that vanished without a word would
/// otherwise keep it half open for a quarter of an hour.
const UNACKED: Duration = Duration::from_secs(2);

/// Attempts of one call in a cluster, for the slots that have just moved: a failover takes seconds, which no call waits for.
const REDIRECTS: u32 = 4;

/// Between them: milliseconds.
const REDIRECT_WAIT: std::ops::RangeInclusive<u64> = 10..=100;

/// Opens connections to a single Redis, or to the master that Sentinels name.
pub(super) enum Opener {
    Single(Box<Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
}

impl Opener {
    pub(super) fn single(config: &RedisConfig) -> Result<Self, ConnectError> {
        let (host, port) = &config.nodes[0];
        let info = connection_info(config, host, *port).map_err(|error| config.error(&error))?;
        let client = match certificates(config)? {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        client.map(Box::new).map(Self::Single).map_err(|error| config.error(&error))
    }

    pub(super) fn sentinel(config: &RedisConfig, master: &str) -> Result<Self, ConnectError> {
        Ok(Self::Sentinel(Box::new(Mutex::new(sentinel_client(config, master)?))))
    }

    pub(super) async fn open(&self) -> RedisResult<MultiplexedConnection> {
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
        match self {
            Self::Single(client) => client.get_multiplexed_async_connection_with_config(&settings).await,
            Self::Sentinel(client) => {
                let open = async { client.lock().await.get_async_connection_with_config(&settings).await };
                timeout(FIND_MASTER, open).await.unwrap_or_else(|_| Err(timed_out()))
            }
        }
    }
}

/// Opens a cluster: the connections to its nodes look after themselves.
pub(super) async fn open_cluster(config: &RedisConfig) -> Result<ClusterConnection, ConnectError> {
    let failed = |error: &RedisError| config.error(error);
    let nodes = config.nodes.iter().map(|(host, port)| connection_info(config, host, *port));
    let nodes = nodes.collect::<RedisResult<Vec<_>>>().map_err(|error| failed(&error))?;
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(CONNECT)
        .response_timeout(ANSWER)
        .overall_response_timeout(Some(ANSWER))
        .retries(REDIRECTS)
        .min_retry_wait(*REDIRECT_WAIT.start())
        .max_retry_wait(*REDIRECT_WAIT.end())
        .tcp_settings(tcp_settings());
    if let Some(certificates) = certificates(config)? {
        builder = builder.certs(certificates);
    }
    let client = builder.build().map_err(|error| failed(&error))?;
    match client.get_async_connection().await {
        Ok(connection) => Ok(connection),
        // The crate says that no node could be connected to. One of them says why.
        Err(error) => Err(match Opener::single(config)?.open().await {
            Ok(mut connection) => {
                let slots: RedisResult<::redis::Value> =
                    ::redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await;
                failed(slots.as_ref().err().unwrap_or(&error))
            }
            Err(reason) => failed(&reason),
        }),
    }
}

fn connection_info(config: &RedisConfig, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
    let info = address(config.tls, host, port).into_connection_info()?;
    Ok(info.set_redis_settings(redis_settings(config)).set_tcp_settings(tcp_settings()))
}

fn address(tls: bool, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn redis_settings(config: &RedisConfig) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(config.database);
    if let Some(user) = &config.credentials.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &config.credentials.password {
        settings = settings.set_password(password);
    }
    settings
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNACKED);
    settings
}

fn certificates(config: &RedisConfig) -> Result<Option<TlsCertificates>, ConnectError> {
    let Some(path) = &config.ca_file else { return Ok(None) };
    let failed = |reason: String| ConnectError::CaFile { path: path.clone(), reason };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    if !pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Err(failed("it holds no certificate in PEM form".to_owned()));
    }
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn sentinel_client(config: &RedisConfig, master: &str) -> Result<SentinelClient, ConnectError> {
    let failed = |error: RedisError| config.error(&error);
    let sentinels = config.nodes.iter().map(|(host, port)| address(config.tls, host, *port));
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master).map_err(failed)?;
    builder = builder
        .set_client_to_redis_db(config.database)
        .set_client_to_redis_tcp_settings(tcp_settings())
        .set_client_to_sentinel_tcp_settings(tcp_settings());
    let Credentials { user, password } = &config.credentials;
    if let Some(user) = user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    let Credentials { user, password } = &config.sentinel_credentials;
    if let Some(user) = user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if config.tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(config)? {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build().map_err(failed)
}

pub(super) fn timed_out() -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}
