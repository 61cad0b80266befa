//! The gateway: sockets, framings, and one task per connection between a socket and the rules.

mod drain;
mod hello;
mod listen;
mod outbox;
mod peer;
mod policy;
mod requests;
mod session;
mod sweep;
mod tcp;
mod websocket;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use im_protocol::limits::{HEARTBEAT_MS, SILENCE_TENTHS};
use im_protocol::server::GoAway;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use drain::{Drain, Order, SETTLE};
pub use listen::{connect_route, serve_http, serve_tcp};
pub use outbox::Bounds;
pub use peer::{NoNetwork, TrustedProxies};
pub use sweep::sweep;

use crate::api::AddressLimits;
use crate::chat::Chat;
use crate::hub::Hub;

/// What every connection needs.
pub struct Gateway {
    /// The rules.
    pub(crate) chat: Arc<Chat>,
    hubs: Vec<Arc<Hub>>,
    next: AtomicUsize,
    bounds: Bounds,
    admission: Admission,
    /// Whether new connections are taken.
    open: watch::Sender<bool>,
    leaving: CancellationToken,
    tasks: TaskTracker,
}

/// Who is let in.
#[derive(Clone, Default)]
pub struct Admission {
    /// How often one address may knock.
    pub limits: Arc<AddressLimits>,
    /// Connections at once, those before `hello` included; more are sent to another server.
    pub max_connections: Option<NonZeroUsize>,
    /// The proxies that are believed about whom they speak for.
    pub proxies: TrustedProxies,
    /// Whether trusted proxies begin a TCP connection with the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Bounds {
    /// Bounds by the protocol's heartbeat.
    pub const DEFAULT: Self = Self {
        queue_bytes: 1024 * 1024,
        stall_ms: 15_000,
        // The product is far below i64::MAX.
        #[allow(clippy::cast_possible_wrap)]
        silence_ms: (HEARTBEAT_MS * SILENCE_TENTHS / 10) as i64,
    };
}

impl Gateway {
    /// A gateway whose connections alternate between the hubs: one in production, two in `dev`.
    pub fn new(chat: Arc<Chat>, hubs: Vec<Arc<Hub>>, bounds: Bounds, admission: Admission) -> Arc<Self> {
        Arc::new(Self {
            chat,
            hubs,
            next: AtomicUsize::new(0),
            bounds,
            admission,
            open: watch::Sender::new(true),
            leaving: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    fn next_hub(&self) -> &Arc<Hub> {
        &self.hubs[self.next.fetch_add(1, Ordering::Relaxed) % self.hubs.len()]
    }

    /// The hubs, by server id.
    pub fn hubs(&self) -> &[Arc<Hub>] {
        &self.hubs
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.hubs.iter().map(|hub| hub.connections()).sum()
    }

    /// Takes new connections again.
    pub fn open(&self) {
        self.open.send_if_modified(|open| !std::mem::replace(open, true));
    }

    /// Takes no new connections until it is opened again; those there are stay.
    pub fn shut(&self) {
        self.open.send_if_modified(|open| std::mem::replace(open, false));
    }

    /// Whether there are as many connections as there may be.
    fn is_full(&self) -> bool {
        self.admission.max_connections.is_some_and(|most| self.tasks.len() >= most.get())
    }

    /// Whether new connections are taken.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Follows whether new connections are taken.
    pub fn watch_open(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Everyone has been told to go.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Takes no new connections, tells everyone to go elsewhere, and waits until they are gone.
    pub async fn leave(&self, reason: &str) {
        self.shut();
        self.leaving.cancel();
        for hub in &self.hubs {
            for connection in hub.all() {
                // Spread, so that those who take them over are not met by all at once.
                let reconnect_after_ms = rand::random_range(0..2_000);
                connection.sink.send_away(GoAway { reason: reason.to_owned(), reconnect_after_ms });
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
