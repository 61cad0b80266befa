//! Who is at the other end, seen through proxies: `X-Forwarded-For` over HTTP, the PROXY protocol over TCP. Only proxies
//! that an operator trusts are believed; anybody else could claim to be anyone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The networks of the proxies in front of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// What is wrong with a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: expected a list like 10.0.0.0/8,192.168.1.7,fd00::/8")]
pub struct NoNetwork(String);

impl FromStr for TrustedProxies {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let network = |text: &str| {
            let text = text.trim();
            text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| NoNetwork(text.to_owned()))
        };
        text.split(',').filter(|text| !text.trim().is_empty()).map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    /// Whether a peer is one of them.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Whose request it is: the last address of `X-Forwarded-For` that no trusted proxy has, if a trusted one brings it.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer;
        }
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
        let mut client = peer;
        for entry in lines.iter().flat_map(|line| line.split(',')).rev() {
            // What cannot be read was not written by a proxy of ours, so nothing before it counts.
            let Some(address) = address(entry.trim()) else { break };
            client = address;
            if !self.contains(address) {
                break;
            }
        }
        client
    }
}

/// `1.2.3.4`, `1.2.3.4:567`, `::1` or `[::1]:567`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Longest header of version 1, with its line end.
const V1_BYTES: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 2 that is taken: addresses and what balancers add to them.
const V2_BYTES: usize = 2 * 1024;

/// Reads the header of the PROXY protocol, version 1 or 2, and nothing behind it. `None`: the proxy speaks for itself, as
/// in a health check.
pub(super) async fn proxied(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut head = [0; V2.len()];
    stream.read_exact(&mut head).await?;
    if head == *V2 { version_2(stream).await } else { version_1(stream, &head).await }
}

fn no_proxy() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no header of the PROXY protocol")
}

async fn version_1(stream: &mut (impl AsyncRead + Unpin), head: &[u8]) -> io::Result<Option<IpAddr>> {
    let mut line = head.to_vec();
    // Byte by byte: what follows the line belongs to the framing. Once per connection.
    while !line.ends_with(b"\r\n") {
        if line.len() >= V1_BYTES || !line.starts_with(V1) {
            return Err(no_proxy());
        }
        line.push(stream.read_u8().await?);
    }
    let line = str::from_utf8(&line).map_err(|_| no_proxy())?;
    let mut words = line.trim_end().split(' ').skip(1);
    match (words.next(), words.next()) {
        (Some("UNKNOWN"), _) => Ok(None),
        (Some("TCP4" | "TCP6"), Some(source)) => source.parse().map(Some).map_err(|_| no_proxy()),
        _ => Err(no_proxy()),
    }
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let version_and_command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let mut rest = vec![0; usize::from(stream.read_u16().await?)];
    if version_and_command >> 4 != 2 || rest.len() > V2_BYTES {
        return Err(no_proxy());
    }
    stream.read_exact(&mut rest).await?;
    match (version_and_command & 0xf, family >> 4) {
        (1, 1) => rest.first_chunk::<4>().map(|bytes| Some(Ipv4Addr::from(*bytes).into())).ok_or_else(no_proxy),
        (1, 2) => rest.first_chunk::<16>().map(|bytes| Some(Ipv6Addr::from(*bytes).into())).ok_or_else(no_proxy),
        // The proxy's own checks; Unix sockets and what is yet to come: there is no address in it.
        (0 | 1, _) => Ok(None),
        _ => Err(no_proxy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(peer: &str, forwarded: &[&str]) -> IpAddr {
        let trusted: TrustedProxies = "10.0.0.0/8, 192.168.1.7,fd00::/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        trusted.client(ip(peer), &headers)
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("8.8.8.8", &["1.2.3.4"]), ip("8.8.8.8"));
        assert_eq!(client("10.1.1.1", &["1.2.3.4"]), ip("1.2.3.4"));
        assert_eq!(client("::ffff:10.1.1.1", &["1.2.3.4"]), ip("1.2.3.4"));
        assert_eq!(client("192.168.1.7", &["2001:db8::1"]), ip("2001:db8::1"));
        assert_eq!(client("192.168.1.8", &["1.2.3.4"]), ip("192.168.1.8"));
        assert_eq!(client("10.1.1.1", &[]), ip("10.1.1.1"));
    }

    #[test]
    fn what_a_client_writes_itself_does_not_count() {
        assert_eq!(client("10.1.1.1", &["6.6.6.6, 1.2.3.4"]), ip("1.2.3.4"));
        assert_eq!(client("10.1.1.1", &["6.6.6.6", "1.2.3.4, 10.9.9.9"]), ip("1.2.3.4"));
        assert_eq!(client("10.1.1.1", &["junk, 10.9.9.9"]), ip("10.9.9.9"));
        assert_eq!(client("10.1.1.1", &["1.2.3.4:5678, [fd00::2]:80"]), ip("1.2.3.4"));
    }

    #[test]
    fn a_wrong_network_is_named() {
        let error = "10.0.0.0/8,10.0.0.0/40".parse::<TrustedProxies>().unwrap_err();
        assert!(error.to_string().contains("\"10.0.0.0/40\""), "{error}");
        assert_eq!("".parse::<TrustedProxies>(), Ok(TrustedProxies::default()));
    }

    async fn read(bytes: &[u8]) -> (io::Result<Option<IpAddr>>, Vec<u8>) {
        let mut stream = bytes;
        let read = proxied(&mut stream).await;
        (read, stream.to_vec())
    }

    #[tokio::test]
    async fn the_header_is_read_and_nothing_behind_it() {
        let v4 = [&V2[..], &[0x21, 0x11, 0, 12, 1, 2, 3, 4, 9, 9, 9, 9, 0, 80, 0, 90], b"rest"].concat();
        let v6 = [&V2[..], &[0x21, 0x21, 0, 36], &Ipv6Addr::LOCALHOST.octets(), &[0; 20], b"rest"].concat();
        let local = [&V2[..], &[0x20, 0, 0, 0], b"rest"].concat();
        for (bytes, address) in [
            (&b"PROXY TCP4 1.2.3.4 9.9.9.9 80 90\r\nrest"[..], Some("1.2.3.4")),
            (b"PROXY TCP6 2001:db8::1 ::1 80 90\r\nrest", Some("2001:db8::1")),
            (b"PROXY UNKNOWN\r\nrest", None),
            (&v4, Some("1.2.3.4")),
            (&v6, Some("::1")),
            (&local, None),
        ] {
            let (read, rest) = read(bytes).await;
            assert_eq!((read.unwrap(), &rest[..]), (address.map(ip), &b"rest"[..]));
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b' '; 200]].concat();
        let huge = [&V2[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [&b"{\"type\":\"hello\"}"[..], b"PROXY TCP4 junk 9.9.9.9 80 90\r\n", &endless, &huge, b"PROXY"] {
            assert!(read(bytes).await.0.is_err());
        }
    }
}
