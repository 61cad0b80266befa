//! The wire of `ImCluster`: ids, client frames, server frames, the records that travel between servers, limits and
//! error codes. Nothing here does I/O, so every rule about shapes can be tested without a socket.
//!
//! Decoding a client's frame has two stages ([`client::Envelope`], then [`client::ClientFrame`]), so that an error can
//! carry the `id` of a frame whose body is wrong.

mod absent;
pub mod client;
pub mod close;
pub mod content;
pub mod error;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod message;
pub mod notification;
pub mod record;
pub mod schema;
pub mod server;
pub mod text;

pub use client::ClientFrame;
pub use content::Content;
pub use error::{ErrorCode, WireError};
pub use frame::Frame;
pub use ids::{
    ClientMessageId, ConnectionId, ConversationId, ConversationKind, DeviceId, Epoch, FrameId, GroupId, Incarnation,
    Rev, RoomId, Seq, ServerId, Terminal, TimeMs, UserId,
};
pub use message::{Kind, Message};
pub use server::ServerFrame;
