//! What a backend links to send through `ImCluster`, and what `im-server` itself routes with: look routes up, group by
//! server id, publish one record per server.
//!
//! - [`registry`]: where the connections of a user are, and which servers are interested in a large group, a room or
//!   a user's presence;
//! - [`bus`]: records to a server id;

pub mod bus;
pub mod registry;
