//! `im-server dev`: everything in one process, on one folder, with two gateway server ids, so that what goes between
//! users really crosses the bus.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use im_protocol::{ErrorCode, ServerId, UserId};
use im_sdk::bus::MemoryBus;
use im_sdk::reads::MemoryReadPositions;
use im_sdk::registry::MemoryRegistry;

use crate::api::{AddressLimits, Management};
use crate::chat::{Chat, Registrar, Secret, Settings};
use crate::config::{LogSettings, PushSettings};
use crate::gateway::{Admission, Bounds, Order};
use crate::identity::LEASE_TTL;
use crate::keyring::Keyring;
use crate::server::{Assembly, Server, serve_management};
use crate::store::sqlite::SqliteStore;

/// Records that may wait for a server; the relay waits when it is full.
const BUS_CAPACITY: usize = 16 * 1024;

/// `dev` has ten times the limits per address of production: a developer's tests come from one address.
const ADDRESS_LIMITS_TIMES: u32 = 10;

/// Where `im-server dev` listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The TCP framing.
    pub tcp: SocketAddr,
    /// Probes, metrics, status.
    pub management: SocketAddr,
}

/// There is no other server that could take the connections over, so all of them end at once.
pub const DRAIN: Order = Order { deadline: Duration::ZERO, per_second: 1 };

/// Options of `im-server dev`.
#[derive(Args, Clone, Debug)]
pub struct DevOptions {
    /// Folder for the database and the signing secret
    #[arg(long, value_name = "DIR", default_value = "./im-data")]
    pub data: PathBuf,
    /// Address of HTTP and WebSocket
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address of the TCP framing
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8090")]
    pub tcp_listen: SocketAddr,
    /// Address of probes, metrics and status
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    pub management_listen: SocketAddr,
    /// Token that opens /status on the management port; without one it stays closed
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub management_token: Option<String>,
    /// Token with which a backend sends for any user; without one no backend can
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub service_token: Option<String>,
    /// No limits per user and per address, for load tests
    #[arg(long)]
    pub no_limits: bool,
    /// Who is told of what found nobody connected
    #[command(flatten)]
    pub push: PushSettings,
    /// What to log
    #[command(flatten)]
    pub log: LogSettings,
}

/// Starts the server. The lock keeps a second one off the folder as long as it is held.
pub async fn start(
    options: &DevOptions,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) -> anyhow::Result<(Server, Addresses, DataLock)> {
    if let Some(wrong) = options.push.contradiction() {
        bail!("{wrong}");
    }
    let data = &options.data;
    std::fs::create_dir_all(data).with_context(|| format!("the data folder {} cannot be made", data.display()))?;
    let lock = DataLock::take(data)?;
    let store = SqliteStore::open(&data.join("im.sqlite")).await?;
    let mut settings =
        Settings { open_registration: true, password_chars: 1, recall_within: None, ..Settings::default() };
    if options.no_limits {
        settings.limits.messages_per_second = 0;
        settings.limits.message_burst = 0;
    }
    let address_limits =
        if options.no_limits { AddressLimits::none() } else { AddressLimits::times(ADDRESS_LIMITS_TIMES) };
    let secret = |token: &Option<String>| {
        token.as_ref().filter(|token| !token.is_empty()).map(|token| Secret::new(token.as_str()))
    };
    let management = Management::new(ServerId(0), secret(&options.management_token), metrics);
    let management_address = serve_management(management.clone(), options.management_listen).await?;
    let mut server = Server::start(Assembly {
        store: Arc::new(store),
        committers: 1,
        registry: Arc::new(MemoryRegistry::new()),
        positions: Arc::new(MemoryReadPositions::default()),
        bus: Arc::new(MemoryBus::new(BUS_CAPACITY)),
        servers: vec![ServerId(0), ServerId(1)],
        address: String::new(),
        lease: LEASE_TTL,
        settings,
        keyring: Keyring::fixed(signing_secret(data)?),
        service_token: secret(&options.service_token),
        admission: Admission { limits: Arc::new(address_limits), ..Admission::default() },
        bounds: Bounds::DEFAULT,
        drain_notice: Duration::ZERO,
        push: options.push.config(),
        management,
    })
    .await?;
    make_demo(server.chat()).await?;
    let (http, tcp) = server.listen(options.listen, options.tcp_listen).await?;
    let addresses = Addresses { http, tcp, management: management_address };
    Ok((server, addresses, lock))
}

/// What a person at a terminal wants to know.
pub fn greeting(addresses: Addresses, data: &Path) -> String {
    let Addresses { http, tcp, management } = addresses;
    format!(
        r#"ImCluster is running. Two gateway server ids, everything embedded, data in {data}

  page        http://{http}/          sign in as alice/alice or bob/bob, in two windows
  WebSocket   ws://{http}/v1/connect
  TCP         {tcp}
  HTTP API    http://{http}/docs
  management  http://{management}/metrics

Send a message from alice to bob:

  curl -s http://{http}/v1/messages -H 'Content-Type: application/json' -H "Authorization: Bearer $(curl -s http://{http}/v1/sessions -H 'Content-Type: application/json' -d '{{"user":"alice","password":"alice","terminal":"bot","device":"curl"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')" -d "{{\"to\":\"bob\",\"client_message_id\":\"curl-$(date +%s%N)\",\"kind\":\"text\",\"content\":{{\"text\":\"hello from curl\"}}}}"

Ctrl-C stops it; what was acked is there at the next start.
"#,
        data = data.display()
    )
}

/// A folder that only one server uses: an open file with the operating system's lock, which ends with the process.
pub struct DataLock(#[allow(dead_code, reason = "held, not used")] File);

impl DataLock {
    fn take(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                file.read_to_string(&mut process)?;
                bail!(
                    "the data folder {} is in use by another im-server (process {process}): stop it, or give this one a \
                     folder of its own with --data",
                    data.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }
}

/// The secret in the data folder, made at the first start.
fn signing_secret(data: &Path) -> anyhow::Result<Secret> {
    let path = data.join("signing-secret");
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() >= 32 => return Ok(Secret::new(bytes)),
        Ok(_) => {
            bail!("{} is too short: delete it to have a new one made; everyone signs in again then", path.display())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
    let bytes: [u8; 32] = rand::random();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(Secret::new(bytes))
}

/// Two accounts that are friends, and a group: made at the first start.
async fn make_demo(chat: &Chat) -> anyhow::Result<()> {
    let alice = UserId::parse("alice")?;
    let bob = UserId::parse("bob")?;
    for (user, name) in [(&alice, "Alice"), (&bob, "Bob")] {
        match chat.register(Registrar::Public, user.clone(), Some(user.to_string()), name).await {
            Ok(_) => {}
            // An earlier start made it, and perhaps was interrupted: what is there stays as it is.
            Err(error) if error.code == ErrorCode::AlreadyExists => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let request = chat.request_friend(&alice, &bob, "Hello Bob").await?;
    chat.answer_friend_request(&bob, &request.id, true).await?;
    let group = chat.create_group(&alice, Some("Demo"), vec![bob]).await?;
    tracing::info!(%group, "made the accounts alice and bob, and a group of the two");
    Ok(())
}
