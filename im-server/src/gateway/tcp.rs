//! TCP framing: a u32 big-endian length before each frame.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use im_protocol::close::CloseReason;
use im_protocol::limits::FRAME_BYTES_BEFORE_HELLO;

use super::outbox::Outbox;
use super::session::{Input, Next};

/// Bytes read at once.
const READ_BUFFER: usize = 1024;

/// The reading end of a TCP connection.
pub(super) struct TcpInput {
    outbox: Arc<Outbox>,
    buffer: BytesMut,
    limit: usize,
}

impl TcpInput {
    /// The reading end of a fresh connection.
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, buffer: BytesMut::new(), limit: FRAME_BYTES_BEFORE_HELLO }
    }
}

/// What the bytes read so far hold.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A whole frame of this many bytes, after the length.
    Frame(usize),
    /// Less than a frame.
    Partial,
    /// A length of 0 or over the limit.
    BadLength(CloseReason),
}

/// Looks at the length in front. Nothing is allocated for what has not arrived.
fn parse(bytes: &[u8], limit: usize) -> Parsed {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Parsed::Partial };
    let length = u32::from_be_bytes(*prefix) as usize;
    match length {
        0 => Parsed::BadLength(CloseReason::ProtocolError),
        n if n > limit => Parsed::BadLength(CloseReason::TooBig),
        n if bytes.len() >= 4 + n => Parsed::Frame(n),
        _ => Parsed::Partial,
    }
}

impl Input for TcpInput {
    fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    fn next(&mut self) -> Next {
        loop {
            match parse(&self.buffer, self.limit) {
                Parsed::Frame(length) => {
                    self.buffer.advance(4);
                    let frame = self.buffer.split_to(length);
                    let text = String::from_utf8(frame.to_vec());
                    if self.buffer.is_empty() {
                        // An idle connection keeps no buffer.
                        self.buffer = BytesMut::new();
                    }
                    return text.map_or(Next::End(CloseReason::InvalidUtf8), Next::Text);
                }
                Parsed::BadLength(reason) => return Next::End(reason),
                Parsed::Partial => {}
            }
            self.buffer.reserve(READ_BUFFER);
            match self.outbox.socket().try_read_buf(&mut self.buffer) {
                Ok(0) => return Next::Gone,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Next::Wait;
                }
                Err(_) => return Next::Gone,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_zero_or_four_gibibytes_is_refused_before_anything_is_allocated() {
        assert_eq!(parse(&[0, 0, 0, 0], 100), Parsed::BadLength(CloseReason::ProtocolError));
        assert_eq!(parse(&[0xff, 0xff, 0xff, 0xff], 100), Parsed::BadLength(CloseReason::TooBig));
        assert_eq!(parse(&[0, 0, 0, 101], 100), Parsed::BadLength(CloseReason::TooBig));
    }

    #[test]
    fn a_frame_is_whole_only_with_its_last_byte() {
        assert_eq!(parse(&[0, 0, 0], 100), Parsed::Partial);
        assert_eq!(parse(&[0, 0, 0, 2, b'{'], 100), Parsed::Partial);
        assert_eq!(parse(&[0, 0, 0, 2, b'{', b'}'], 100), Parsed::Frame(2));
        assert_eq!(parse(&[0, 0, 0, 2, b'{', b'}', 9], 100), Parsed::Frame(2));
    }
}
