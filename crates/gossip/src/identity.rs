//! Who and where a node is: a name and an address of opaque bytes, exactly as they came off the wire; and all that it
//! announces of itself.

use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A node's name: bytes that are usually text, compared and sent on verbatim. Cloning costs nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// Names are found by their bytes, as they are ordered and hashed by them.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Text for people: bytes that are not UTF-8 show as U+FFFD.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = core::str::from_utf8(&self.0) {
            return f.pad(text);
        }
        lossy(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        lossy(&self.0, f)?;
        f.write_str("\"")
    }
}

/// Bytes to be shown as text, borrowed: for notices that may well not be told.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lossy(self.0, f)
    }
}

fn lossy(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        f.write_str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            f.write_str("\u{fffd}")?;
        }
    }
    Ok(())
}

/// The host part of an address. Peers compare it byte by byte, so the 4-byte and the 16-byte form of one
/// IPv4 address are different hosts to them, and here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Four bytes.
    V4([u8; 4]),
    /// Sixteen bytes: IPv6, or IPv4 in its mapped form.
    V6([u8; 16]),
    /// Any other bytes: nonsense of a peer, or the address form of a custom transport.
    Other(Arc<[u8]>),
}

/// What a node announces of itself. It is held in common by all who remember it, and is replaced, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its name.
    pub name: Name,
    /// Where it is reached.
    pub addr: Address,
    /// What it says with its name: opaque bytes of the layer above.
    pub meta: Arc<[u8]>,
    /// Gossip protocol least, most, current; the layer above's least, most, current.
    pub versions: [u8; 6],
}

impl Identity {
    /// Its highest gossip protocol version.
    #[must_use]
    pub fn protocol_max(&self) -> u8 {
        self.versions[1]
    }
}

/// Where a node is reached: host bytes and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// The port of gossip, the same for datagrams and streams.
    pub port: u16,
}

impl Host {
    /// The host as on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(b) => b,
            Self::V6(b) => b,
            Self::Other(b) => b,
        }
    }

    /// Takes host bytes as they came.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if let Ok(b) = bytes.try_into() {
            Self::V4(b)
        } else if let Ok(b) = bytes.try_into() {
            Self::V6(b)
        } else {
            Self::Other(bytes.into())
        }
    }

    /// The IP address, mapped IPv4 told as IPv4. None where the bytes are no IP address.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(b) => Some(IpAddr::V4(Ipv4Addr::from(*b))),
            Self::V6(b) => Some(Ipv6Addr::from(*b).to_canonical()),
            Self::Other(_) => None,
        }
    }
}

impl Address {
    /// From host bytes as they came, and a port.
    #[must_use]
    pub fn new(host: &[u8], port: u16) -> Self {
        Self { host: Host::from_bytes(host), port }
    }

    /// The socket address, mapped IPv4 told as IPv4. None where the host is no IP address.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.ip()?, self.port))
    }

    /// Whether both name the same host, the forms of IPv4 counting as one.
    #[must_use]
    pub fn same_host(&self, other: &Self) -> bool {
        self.host == other.host || (self.host.ip().is_some() && self.host.ip() == other.host.ip())
    }
}

/// IPv4 becomes four bytes, IPv6 sixteen, mapped IPv4 four.
impl From<SocketAddr> for Address {
    fn from(a: SocketAddr) -> Self {
        let host = match a.ip().to_canonical() {
            IpAddr::V4(ip) => Host::V4(ip.octets()),
            IpAddr::V6(ip) => Host::V6(ip.octets()),
        };
        Self { host, port: a.port() }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(ip) => ip.fmt(f),
            None => {
                f.write_str("0x")?;
                self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket_addr() {
            Some(a) => a.fmt(f),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
