//! A device of one user: it connects, resumes where it was, puts what arrives in order, acks, and keeps messages,
//! cursors and the unsent queue in a [`LocalStore`], so that a crash loses and doubles nothing.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use im_client::{Client, Config, Event, MemoryStore, Target};
//! # async fn talk() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("http://127.0.0.1:8080", "alice", "alice");
//! let (client, mut events) = Client::connect(config, Arc::new(MemoryStore::default())).await?;
//! client.send_text(Target::User("bob".parse()?), "hi").await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {}", message.sender, message.content.as_str());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod api;
pub mod backoff;
pub mod changes;
pub mod connection;
pub mod cursor;
pub mod http;
pub mod session;
pub mod store;
pub mod transport;

mod client;
mod events;
mod outbox;
mod supervisor;
mod timelines;

pub use client::{Client, Config, ConnectError, random_id};
pub use connection::RequestError;
pub use events::{Event, Events, Stopped};
pub use im_protocol::client::Target;
pub use outbox::SendError;
pub use reqwest::Method;
pub use session::{Session, SignIn};
pub use store::{LocalStore, MemoryStore, SqliteStore, StoreError, Unsent};
pub use transport::Endpoint;
