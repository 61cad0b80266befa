//! WebSocket framing: the library parses, over a socket that never blocks; its own answers (pong, close) go through the
//! connection's queue like everything else.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use im_protocol::close::CloseReason;
use im_protocol::limits::FRAME_BYTES_BEFORE_HELLO;
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::outbox::Outbox;
use super::session::{Input, Next};
use crate::hub::Sink as _;

/// Bytes read at once. The library's default is 128 KiB per connection, kept for its whole life.
const READ_BUFFER: usize = 1024;

/// The reading end of a WebSocket.
pub(super) struct WebSocketInput {
    socket: WebSocket<Pipe>,
}

/// The socket as the library sees it: reads come from the socket, writes go to the queue.
struct Pipe(Arc<Outbox>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.socket().try_read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.enqueue_raw(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocketInput {
    /// The reading end after the handshake; `read` is what came with it.
    pub(super) fn new(outbox: Arc<Outbox>, read: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME_BYTES_BEFORE_HELLO))
            .max_frame_size(Some(FRAME_BYTES_BEFORE_HELLO));
        Self { socket: WebSocket::from_partially_read(Pipe(outbox), read, Role::Server, Some(config)) }
    }
}

impl Input for WebSocketInput {
    fn limit(&mut self, bytes: usize) {
        self.socket.set_config(|config| {
            config.max_message_size = Some(bytes);
            config.max_frame_size = Some(bytes);
        });
    }

    fn next(&mut self) -> Next {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Next::Text(text.to_string()),
                Ok(Message::Binary(bytes)) => {
                    // Binary frames carry the same JSON for clients that have no text frames.
                    return String::from_utf8(bytes.into()).map_or(Next::End(CloseReason::InvalidUtf8), Next::Text);
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => return Next::Alive,
                Ok(Message::Frame(_)) => {}
                Ok(Message::Close(_)) => {
                    // Nothing may follow the answer to a goodbye, so the queue is closed to everyone else first.
                    self.socket.get_ref().0.close(CloseReason::Normal);
                    // The library has prepared the answer; an error means that the peer did not wait for it.
                    let _ = self.socket.flush();
                    return Next::Gone;
                }
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => return Next::Gone,
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => return Next::End(CloseReason::TooBig),
                Err(Error::Utf8(_)) => return Next::End(CloseReason::InvalidUtf8),
                Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Next::Gone;
                }
                Err(_) => return Next::End(CloseReason::ProtocolError),
            }
        }
    }
}
