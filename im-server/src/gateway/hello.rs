//! Coming and going: from `hello` to `welcome`, and what is left to do when a connection is over.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use im_protocol::client::Hello;
use im_protocol::close::CloseReason;
use im_protocol::limits::{HEARTBEAT_MS, LIST_MAX, PROTOCOL};
use im_protocol::server::{Changes, Welcome};
use im_protocol::{ConnectionId, ErrorCode, FrameId, ServerFrame, TimeMs, WireError};

use super::Gateway;
use super::outbox::Outbox;
use super::policy::{Evicted, evict};
use super::session::Session;
use crate::chat::{Caller, Devices, Right, now_ms, since_token};
use crate::hub::{Connection, Sink};
use crate::store::SessionId;

/// Why there is no welcome.
pub(super) struct Refused {
    pub(super) error: WireError,
    pub(super) close: CloseReason,
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        let close = match error.code {
            ErrorCode::Unauthorized | ErrorCode::TokenExpired => CloseReason::Unauthorized,
            ErrorCode::RateLimited => CloseReason::TooManyRequests,
            // The client comes back after a while, perhaps to another server.
            _ => CloseReason::GoingAway,
        };
        Self { error, close }
    }
}

/// Lets a connection in. Pushes reach its queue before its route is known to others, and wait there behind `welcome`,
/// so that nothing falls between the changes it is told and the first push.
pub(super) async fn welcome(
    gateway: &Arc<Gateway>,
    outbox: &Arc<Outbox>,
    id: Option<FrameId>,
    hello: Hello,
) -> Result<Session, Refused> {
    let identity = gateway.chat.claimed(&hello.token).await?;
    let by = gateway.chat.session_on(&identity, hello.terminal, &hello.device).await?;
    outbox.authorize(by.clone(), identity.expires);
    let hub = gateway.next_hub();
    let connection = Arc::new(Connection {
        id: ConnectionId(rand::random()),
        user: identity.user.clone(),
        terminal: hello.terminal,
        device: hello.device.clone(),
        since: now_ms(),
        sink: outbox.clone() as Arc<dyn Sink>,
    });
    let session = Session {
        gateway: gateway.clone(),
        hub: hub.clone(),
        connection: connection.clone(),
        outbox: outbox.clone(),
        caller: Caller { user: identity.user.clone(), right: Right::Person },
        pipeline: Session::pipeline(),
        typed: AtomicI64::new(0),
        watched: parking_lot::Mutex::default(),
        rooms: parking_lot::Mutex::default(),
    };
    hub.attach(&connection);
    if gateway.is_leaving() {
        // Whoever told everyone to go may have looked before this one stood there.
        outbox.close(CloseReason::GoingAway);
    }
    let prepared = prepare(&session, id, &hello, &by, identity.expires).await;
    match prepared {
        Ok(frame) => {
            outbox.answer(&ServerFrame::Welcome(Box::new(frame)));
            outbox.release();
            Ok(session)
        }
        Err(refused) => {
            goodbye(&session).await;
            Err(refused)
        }
    }
}

/// Thousands do this at once when a server is gone, so it costs one round trip to the registry and at most two
/// statements: what the session, the devices and the large groups are comes with one look, after the route is written.
async fn prepare(
    session: &Session,
    id: Option<FrameId>,
    hello: &Hello,
    by: &SessionId,
    token_expires: TimeMs,
) -> Result<Welcome, Refused> {
    let Session { gateway, hub, connection, .. } = session;
    let chat = &gateway.chat;
    let user = &connection.user;
    let settings = chat.settings();

    let route = hub.route(connection);
    let others = match chat.registry().register(user, route.clone()).await {
        Ok(others) => others,
        Err(error) => {
            // Every record comes here until the route is written.
            tracing::warn!(%error, "a route could not be written");
            hub.unwritten().add(connection.id);
            Vec::new()
        }
    };
    let arrival = chat.arrive(user, by, hello.terminal, &hello.device).await?;
    let Evicted { kicked, replaced } =
        evict(&route, &others, settings.devices_per_terminal, settings.connections_per_device);
    for (evicted, reason) in [(kicked, CloseReason::Kicked), (replaced, CloseReason::Replaced)] {
        for route in evicted {
            chat.publish().disconnect(user.clone(), Devices::Connection(route.connection), reason);
        }
    }
    hub.enter_groups(user, arrival.large).await;

    let (since, changes) = match &hello.since {
        None => (since_token(arrival.stamp), None),
        Some(since) => {
            let page = chat.conversations(user, None, Some(since), LIST_MAX).await?;
            (page.since, Some(Changes { items: page.items, next: page.next, reset: page.reset }))
        }
    };
    chat.arrived(user, hello.terminal, others);
    Ok(Welcome {
        id,
        protocol: PROTOCOL,
        user: user.clone(),
        terminal: hello.terminal,
        device: hello.device.clone(),
        connection: connection.id,
        server: hub.server(),
        epoch: hub.epoch(),
        time: now_ms(),
        token_expires,
        heartbeat_ms: HEARTBEAT_MS,
        limits: settings.limits,
        since,
        changes,
    })
}

/// Forgets a connection that is over, here and in the registry.
pub(super) async fn goodbye(session: &Session) {
    let Session { gateway, hub, connection, .. } = session;
    hub.detach(connection).await;
    if let Err(error) = gateway.chat.registry().unregister(&connection.user, connection.id).await {
        // The route is met as stale later, and deleted then.
        tracing::debug!(%error, "a route could not be removed");
    }
    if let Some(since) = session.outbox.unheard() {
        gateway.chat.publish().unheard(connection.user.clone(), connection.terminal, since);
    }
    gateway.chat.left(&connection.user).await;
}
