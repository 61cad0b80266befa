//! Coming and going: from `hello` to `welcome`, and what is left to do when a connection is over.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use im_protocol::client::Hello;
use im_protocol::close::CloseReason;
use im_protocol::limits::{HEARTBEAT_MS, LIST_MAX, PROTOCOL};
use im_protocol::server::{Changes, Welcome};
use im_protocol::{ConnectionId, ErrorCode, FrameId, ServerFrame, WireError};
use im_sdk::registry::Route;

use super::Gateway;
use super::outbox::Outbox;
use super::policy::{Evicted, evict};
use super::session::Session;
use crate::chat::{Caller, Devices, Right, now_ms};
use crate::hub::{Connection, Sink};

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
    let identity = gateway.chat.authenticate(&hello.token).await?;
    outbox.authorize(identity.session.clone(), identity.expires);
    let hub = gateway.next_hub();
    let connection = Arc::new(Connection {
        id: ConnectionId(rand::random()),
        user: identity.user.clone(),
        terminal: hello.terminal,
        device: hello.device.clone(),
        sink: outbox.clone() as Arc<dyn Sink>,
    });
    let session = Session {
        gateway: gateway.clone(),
        hub: hub.clone(),
        connection: connection.clone(),
        outbox: outbox.clone(),
        caller: Caller { user: identity.user.clone(), right: Right::Session(identity.session.clone()) },
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
    let prepared = prepare(&session, id, &hello, identity.expires).await;
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

async fn prepare(
    session: &Session,
    id: Option<FrameId>,
    hello: &Hello,
    token_expires: im_protocol::TimeMs,
) -> Result<Welcome, Refused> {
    let Session { gateway, hub, connection, caller, .. } = session;
    let user = &caller.user;
    let settings = gateway.chat.settings();
    let Right::Session(session_id) = &caller.right else { unreachable!("a socket rests on a session") };

    let route = Route {
        connection: connection.id,
        server: hub.server(),
        epoch: hub.epoch(),
        terminal: hello.terminal,
        device: hello.device.clone(),
        since: now_ms(),
    };
    gateway.chat.end_other_devices(user, hello.terminal, &hello.device, session_id).await?;
    match gateway.chat.registry().register(user, route.clone()).await {
        Ok(others) => {
            let Evicted { kicked, replaced } =
                evict(&route, &others, settings.devices_per_terminal, settings.connections_per_device);
            let publish = gateway.chat.publish();
            for route in kicked {
                publish.disconnect(user.clone(), Devices::Connection(route.connection), CloseReason::Kicked);
            }
            for route in replaced {
                publish.disconnect(user.clone(), Devices::Connection(route.connection), CloseReason::Replaced);
            }
        }
        Err(error) => {
            // The server is not announced then, so every record comes here until the routes are written again.
            tracing::warn!(%error, "a route could not be written");
        }
    }
    let groups = gateway.chat.large_groups(user).await?;
    hub.enter_groups(user, groups).await;

    let (since, changes) = match &hello.since {
        None => (gateway.chat.since().await?, None),
        Some(since) => {
            let page = gateway.chat.conversations(user, None, Some(since), LIST_MAX).await?;
            (page.since, Some(Changes { items: page.items, next: page.next, reset: page.reset }))
        }
    };
    gateway.chat.announce_presence(user).await;
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
    gateway.chat.left(&connection.user).await;
}
