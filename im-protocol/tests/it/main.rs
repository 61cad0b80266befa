//! What `im-protocol` promises about the wire.

mod any;
mod client_frames;
mod content;
mod hostile;
mod ids;
mod published;
mod round_trips;
