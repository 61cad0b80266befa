//! A frame ready for any socket: encoded once, with the header of each framing in front, shared by everyone.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use im_protocol::record::About;
use im_protocol::server::Resync;
use im_protocol::{Frame, ServerFrame};

/// An encoded frame with its headers. Cloning it copies a pointer.
#[derive(Clone)]
pub struct SharedFrame(Arc<Encoded>);

struct Encoded {
    frame: Frame,
    websocket: OnceLock<Bytes>,
    tcp: OnceLock<Bytes>,
    loss: Loss,
}

/// What happens when a connection's queue has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is an answer: it is queued whatever the bound says, and reading stops instead.
    Never,
    /// It is dropped, and the client is told to pull.
    Resync(Option<About>),
    /// It is dropped: typing, presence.
    Silent,
}

impl SharedFrame {
    fn new(frame: Frame, loss: Loss) -> Self {
        Self(Arc::new(Encoded { frame, websocket: OnceLock::new(), tcp: OnceLock::new(), loss }))
    }

    /// An answer to a request, or another frame that must not be dropped.
    pub fn answer(frame: &ServerFrame) -> Self {
        Self::new(Frame::encode(frame), Loss::Never)
    }

    /// A push.
    pub fn pushed(frame: &Frame, about: Option<About>) -> Self {
        let loss = if about.is_some() { Loss::Resync(about) } else { Loss::Silent };
        Self::new(frame.clone(), loss)
    }

    /// `resync` without a conversation: ask for what changed.
    pub fn resync() -> Self {
        let frame = ServerFrame::Resync(Resync { conversation: None, head: None, rev: None });
        Self::new(Frame::encode(&frame), Loss::Resync(None))
    }

    /// What happens when there is no room for it.
    pub fn loss(&self) -> &Loss {
        &self.0.loss
    }

    /// As an unmasked WebSocket text frame (RFC 6455 §5.2).
    pub fn websocket(&self) -> &Bytes {
        self.0.websocket.get_or_init(|| {
            let payload = self.0.frame.bytes();
            let mut out = BytesMut::with_capacity(payload.len() + 10);
            out.put_u8(0x81); // FIN, text
            match payload.len() {
                // Each length is below the bound of its arm.
                #[allow(clippy::cast_possible_truncation)]
                n @ 0..=125 => out.put_u8(n as u8),
                #[allow(clippy::cast_possible_truncation)]
                n @ 126..=0xffff => {
                    out.put_u8(126);
                    out.put_u16(n as u16);
                }
                n => {
                    out.put_u8(127);
                    out.put_u64(n as u64);
                }
            }
            out.extend_from_slice(payload);
            out.freeze()
        })
    }

    /// With a u32 big-endian length in front.
    pub fn tcp(&self) -> &Bytes {
        self.0.tcp.get_or_init(|| {
            let payload = self.0.frame.bytes();
            let mut out = BytesMut::with_capacity(payload.len() + 4);
            out.put_u32(u32::try_from(payload.len()).expect("frames are far below 4 GiB"));
            out.extend_from_slice(payload);
            out.freeze()
        })
    }
}
