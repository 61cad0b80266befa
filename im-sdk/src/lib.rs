//! What a backend links to send through `ImCluster`, and what `im-server` itself routes with.
//!
//! A backend needs [`Sender`] only: one call for a person, a group, a conversation or a list of people. The call returns
//! when the message is committed.
//!
//! ```no_run
//! use im_sdk::{Destination, Send, Sender};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sender = Sender::new("https://chat.example.org", &std::env::var("IM_SERVICE_TOKEN")?)?;
//! let people = vec!["alice".parse()?, "bob".parse()?];
//! let message = Send::text(Destination::Users(people), "Your parcel is on its way.").from("shop".parse()?);
//! for result in sender.send(message).await {
//!     match result {
//!         Ok(sent) => println!("{} has it as message {}", sent.conversation, sent.seq),
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Behind the servers' own routing, look routes up, group by server id, publish one record per server:
//!
//! - [`registry`]: where the connections of a user are, and which servers are interested in a large group, a room or
//!   a user's presence;
//! - [`bus`]: records to a server id;
//! - [`reads`]: how far people have read, before the database knows;
//! - [`routing`]: the plan, a pure function: one batch per server id, who is offline, who is unknown;
//! - [`router`]: the plan carried out.

pub mod bus;
pub mod reads;
#[cfg(feature = "redis")]
mod redis;
pub mod registry;
pub mod router;
pub mod routing;
pub mod sender;

pub use sender::{Destination, Send, SendError, Sender};
