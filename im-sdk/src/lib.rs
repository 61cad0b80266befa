//! What a backend links to send through `ImCluster`, and what `im-server` itself routes with: look routes up, group by
//! server id, publish one record per server.
//!
//! - [`registry`]: where the connections of a user are, and which servers are interested in a large group, a room or
//!   a user's presence;
//! - [`bus`]: records to a server id;
//! - [`routing`]: the plan, a pure function: one batch per server id, who is offline, who is unknown;
//! - [`router`]: the plan carried out.

pub mod bus;
pub mod registry;
pub mod router;
pub mod routing;
