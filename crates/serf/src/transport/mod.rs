//! The sockets of a node: a TCP listener and a UDP socket on one port, and which address others are told.
//!
//! Link-local IPv6 addresses are of no use here: they need an interface, for which the wire has no place.

pub mod advertise;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::fault;

/// With a port of 0 the kernel chooses one for TCP, which may be taken for UDP: then all is tried again.
const ATTEMPTS: usize = 10;
/// Asked for so that bursts survive until they are read; halved until the kernel agrees.
const RECEIVE_BUFFER: usize = 2 << 20;
/// Connections that the kernel keeps for us; it has a limit of its own, usually lower.
const BACKLOG: i32 = 1024;

/// The bound sockets of a node.
#[derive(Debug)]
pub struct Sockets {
    /// For streams.
    pub(crate) tcp: TcpListener,
    /// For datagrams.
    pub(crate) udp: UdpSocket,
    local: SocketAddr,
}

/// Why a node has no sockets. Nothing stays bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The TCP listener.
    #[error("failed to start TCP listener on {:?} port {}: listen tcp {addr}: {}", addr.ip().to_string(), addr.port(), fault::call("bind", source))]
    Tcp {
        /// What was asked for.
        addr: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The UDP socket.
    #[error("failed to start UDP listener on {:?} port {}: listen udp {addr}: {}", addr.ip().to_string(), addr.port(), fault::call("bind", source))]
    Udp {
        /// What was asked for, the port being that of the TCP listener.
        addr: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No receive buffer, however small, was granted.
    #[error("failed to resize UDP buffer: {}", fault::call("setsockopt", .0))]
    ReceiveBuffer(io::Error),
}

impl Sockets {
    /// Binds both sockets: TCP first, then UDP on the same port. A wildcard address listens on IPv4 and IPv6 where
    /// the system can.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let sockets = serf::transport::Sockets::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    /// assert_ne!(sockets.local_addr().port(), 0);
    /// # });
    /// ```
    ///
    /// # Errors
    /// The kernel's refusal. With a port of 0, the last one of ten attempts.
    ///
    /// # Panics
    /// Outside of a tokio runtime with its I/O enabled.
    pub fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let attempts = if addr.port() == 0 { ATTEMPTS } else { 1 };
        let mut result = Self::bind_once(addr);
        for _ in 1..attempts {
            if result.is_ok() {
                break;
            }
            result = Self::bind_once(addr);
        }
        result
    }

    fn bind_once(addr: SocketAddr) -> Result<Self, BindError> {
        let (tcp, bound) = listen(addr).map_err(|source| BindError::Tcp { addr, source })?;
        // The same family as the listener got: `bound` is the wildcard of IPv6 if both are spoken.
        let local = SocketAddr::new(addr.ip(), bound.port());
        let udp = datagrams(bound).map_err(|source| BindError::Udp { addr: local, source })?;
        widen(RECEIVE_BUFFER, |bytes| udp.set_recv_buffer_size(bytes)).map_err(BindError::ReceiveBuffer)?;
        let tcp = TcpListener::from_std(tcp.into()).map_err(|source| BindError::Tcp { addr, source })?;
        let udp = UdpSocket::from_std(udp.into()).map_err(|source| BindError::Udp { addr: local, source })?;
        Ok(Self { tcp, udp, local })
    }

    /// The address asked for, with the port that was got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A listener, and what it is bound to.
fn listen(addr: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let open = |addr: SocketAddr, dual: bool| {
        let socket = socket(addr, Type::STREAM, Protocol::TCP, dual)?;
        // So that a restart need not wait for old connections to be forgotten. Elsewhere it would mean sharing.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(addr))?;
        socket.listen(BACKLOG)?;
        let bound = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no IP address"))?;
        Ok((socket, bound))
    };
    if !addr.ip().is_unspecified() {
        return open(addr, false);
    }
    let wildcard = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), addr.port());
    open(wildcard, true).or_else(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        // No IPv6 here, or none that speaks IPv4 as well.
        _ => open(addr, false),
    })
}

fn datagrams(bound: SocketAddr) -> io::Result<Socket> {
    let socket = socket(bound, Type::DGRAM, Protocol::UDP, bound.ip().is_unspecified())?;
    socket.bind(&SockAddr::from(bound))?;
    Ok(socket)
}

/// `dual` matters to IPv6 only: whether IPv4 is spoken as well.
fn socket(addr: SocketAddr, kind: Type, protocol: Protocol, dual: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    Ok(socket)
}

/// Asks for the largest buffer that is granted, halving what is asked for.
fn widen(mut bytes: usize, mut ask: impl FnMut(usize) -> io::Result<()>) -> io::Result<()> {
    loop {
        match ask(bytes) {
            Ok(()) => return Ok(()),
            Err(error) if bytes <= 1 => return Err(error),
            Err(_) => bytes /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_halved_until_it_is_granted() {
        let mut asked = Vec::new();
        widen(RECEIVE_BUFFER, |bytes| {
            asked.push(bytes);
            if bytes > 400_000 { Err(io::Error::other("too large")) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(asked, [2_097_152, 1_048_576, 524_288, 262_144]);
        assert!(widen(RECEIVE_BUFFER, |_| Err(io::Error::other("never"))).is_err());
    }

    // Hosts of their own: another test would take the port.
    #[tokio::test]
    async fn both_sockets_have_one_port_and_a_taken_one_is_refused() {
        let sockets = Sockets::bind("127.0.1.8:0".parse().unwrap()).unwrap();
        let local = sockets.local_addr();
        assert_eq!(sockets.tcp.local_addr().unwrap(), local);
        assert_eq!(sockets.udp.local_addr().unwrap(), local);

        let error = Sockets::bind(local).unwrap_err().to_string();
        let port = local.port();
        assert_eq!(
            error,
            format!(
                "failed to start TCP listener on \"127.0.1.8\" port {port}: \
                 listen tcp 127.0.1.8:{port}: bind: address already in use"
            )
        );
        drop(sockets);
        Sockets::bind(local).unwrap();
    }

    #[tokio::test]
    async fn a_port_taken_for_datagrams_alone_is_refused() {
        let taken = std::net::UdpSocket::bind("127.0.1.9:0").unwrap();
        let error = Sockets::bind(taken.local_addr().unwrap()).unwrap_err();
        assert!(matches!(error, BindError::Udp { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_wildcard_is_told_as_it_was_asked_for() {
        let sockets = Sockets::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        assert_eq!(sockets.local_addr().ip(), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        assert_eq!(sockets.tcp.local_addr().unwrap(), sockets.udp.local_addr().unwrap());
    }
}
