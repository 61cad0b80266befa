//! What `im-protocol` promises about the wire.

mod any;
mod client_frames;
mod hostile;
mod round_trips;
