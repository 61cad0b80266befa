//! What `im-protocol` promises about the wire.

mod client_frames;
