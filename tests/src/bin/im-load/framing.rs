//! The two framings, as little of them as a load generator needs.

use anyhow::{Context, bail};

use crate::Transport;

/// The largest frame taken.
const MAX_FRAME: usize = 1024 * 1024;

/// A frame that came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    /// The other side closes, with this code.
    Close(u16),
    Other,
}

/// The first frame of `bytes` and how long it is; `None` if it is not complete.
pub(crate) fn first(transport: Transport, bytes: &[u8]) -> anyhow::Result<Option<(Frame<'_>, usize)>> {
    match transport {
        Transport::Tcp => first_tcp(bytes),
        Transport::Ws => first_ws(bytes),
    }
}

fn first_tcp(bytes: &[u8]) -> anyhow::Result<Option<(Frame<'_>, usize)>> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > MAX_FRAME {
        bail!("the server sent a length of {length}");
    }
    Ok(rest.get(..length).map(|text| (Frame::Text(text), 4 + length)))
}

/// RFC 6455 §5.2. A server's frames are not masked, and this one does not fragment.
fn first_ws(bytes: &[u8]) -> anyhow::Result<Option<(Frame<'_>, usize)>> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
    let (length, header) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length))?, 10),
            None => return Ok(None),
        },
        length if length < 126 => (usize::from(length), 2),
        _ => bail!("the server sent a masked frame"),
    };
    if length > MAX_FRAME {
        bail!("the server sent a frame of {length} bytes");
    }
    let Some(payload) = bytes.get(header..header + length) else { return Ok(None) };
    let frame = match first {
        0x81 => Frame::Text(payload),
        0x89 => Frame::Ping(payload),
        0x88 => Frame::Close(payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code))),
        _ => Frame::Other,
    };
    Ok(Some((frame, header + length)))
}

/// Appends a text frame.
pub(crate) fn put_text(transport: Transport, text: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
    match transport {
        Transport::Tcp => {
            out.extend_from_slice(&u32::try_from(text.len()).context("a frame of 4 GiB")?.to_be_bytes());
            out.extend_from_slice(text);
        }
        Transport::Ws => put_ws(0x81, text, out)?,
    }
    Ok(())
}

/// Appends the answer to a ping.
pub(crate) fn put_pong(payload: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
    put_ws(0x8a, payload, out)
}

fn put_ws(first: u8, payload: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | u8::try_from(short)?),
        long => {
            out.push(0x80 | 0x7e);
            out.extend_from_slice(&u16::try_from(long).context("a message over 64 KiB")?.to_be_bytes());
        }
    }
    // A mask of zeros leaves the payload as it is: the server unmasks all the same.
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_complete_is_waited_for() {
        for (transport, frame) in [
            (Transport::Tcp, b"\0\0\0\x02hirest".as_slice()),
            (Transport::Ws, b"\x81\x02hirest".as_slice()),
            (Transport::Ws, b"\x81\x7e\0\x02hirest".as_slice()),
        ] {
            let end = frame.len() - 4;
            for cut in 0..end {
                assert!(first(transport, &frame[..cut]).unwrap().is_none());
            }
            assert_eq!(first(transport, frame).unwrap(), Some((Frame::Text(b"hi"), end)));
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error_and_not_an_allocation() {
        assert!(first(Transport::Tcp, b"\xff\xff\xff\xff").is_err());
        assert!(first(Transport::Ws, b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn a_close_tells_its_code() {
        assert_eq!(first(Transport::Ws, b"\x88\x02\x0f\xa3").unwrap(), Some((Frame::Close(4003), 4)));
        assert_eq!(first(Transport::Ws, b"\x88\x00").unwrap(), Some((Frame::Close(1005), 2)));
    }
}
