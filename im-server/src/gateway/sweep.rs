//! What the clock does to connections: one task for all of them instead of a timer each.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::close::CloseReason;

use super::Gateway;
use crate::chat::now_ms;

/// Between two looks at every connection: a fifth of the silence that is allowed is late enough.
const EVERY: Duration = Duration::from_secs(5);

/// Looks between two checks of the sessions: once a minute, in one query.
const SESSIONS_EVERY: u32 = 12;

/// Closes what is silent, stalled or expired, and, once a minute, what rests on a session that was ended elsewhere.
pub async fn sweep(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = Instant::now();
    for round in 1_u32.. {
        ticks.tick().await;
        // Who stood still itself cannot tell who was silent: what they said waits to be read.
        let asleep = last.elapsed() > EVERY * 2;
        last = Instant::now();
        let now = now_ms();
        let mut queued = 0;
        for connection in gateway.hubs().iter().flat_map(|hub| hub.all()) {
            if !asleep {
                connection.sink.check(now);
            }
            queued += connection.sink.queued();
        }
        // Bytes in memory are far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("im_queue_bytes").set(queued as f64);
        if round % SESSIONS_EVERY == 0 {
            close_ended_sessions(&gateway).await;
        }
    }
}

async fn close_ended_sessions(gateway: &Gateway) {
    let connections: Vec<_> = gateway.hubs().iter().flat_map(|hub| hub.all()).collect();
    let sessions: HashSet<_> = connections.iter().map(|connection| connection.sink.session()).collect();
    let sessions: Vec<_> = sessions.into_iter().collect();
    // An error is an outage of the database: connections stay, and are looked at again in a minute.
    let Ok(ended) = gateway.chat.ended_sessions(&sessions).await else { return };
    let ended: HashSet<_> = ended.into_iter().collect();
    for connection in connections {
        if ended.contains(&connection.sink.session()) {
            connection.sink.close(CloseReason::Unauthorized);
        }
    }
}
