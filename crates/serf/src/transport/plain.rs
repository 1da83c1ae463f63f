//! UDP and TCP in the clear, on one port: what the reference speaks.
//!
//! Link-local IPv6 addresses are of no use here: they need an interface, for which the wire has no place.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use serf_gossip::{Address, Name};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{BindError, Sockets, Transport};
use crate::net::{Boxed, Connection, Datagrams, Dialer, Listener, socket_addr};
use crate::runtime::{Accept, Runtime, Udp};

/// With a port of 0 the kernel chooses one for TCP, which may be taken for UDP: then all is tried again.
const ATTEMPTS: usize = 10;
/// Asked for so that bursts survive until they are read; halved until the kernel agrees.
const RECEIVE_BUFFER: usize = 2 << 20;
/// Connections that the kernel keeps for us; it has a limit of its own, usually lower.
const BACKLOG: i32 = 1024;

/// UDP and TCP on one port; the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plain;

impl Transport for Plain {
    /// Binds both sockets: TCP first, then UDP on the same port. A wildcard address listens on IPv4 and IPv6 where
    /// the system can. With a port of 0, ten ports are tried.
    fn bind(&self, addr: SocketAddr, runtime: &Arc<dyn Runtime>) -> Result<Sockets, BindError> {
        let (listener, udp, local) = bind(addr, runtime)?;
        Ok(Sockets {
            local,
            datagrams: Box::new(udp),
            listener: Box::new(listener),
            dialer: Arc::new(Tcp(runtime.clone())),
        })
    }
}

/// Binds both sockets, and tells the address asked for with the port that was got.
pub(super) fn bind(
    addr: SocketAddr,
    runtime: &Arc<dyn Runtime>,
) -> Result<(TcpPort, UdpPort, SocketAddr), BindError> {
    let attempts = if addr.port() == 0 { ATTEMPTS } else { 1 };
    let mut result = bind_once(addr);
    for _ in 1..attempts {
        if result.is_ok() {
            break;
        }
        result = bind_once(addr);
    }
    let (tcp, udp, local) = result?;
    let v6 = udp.local_addr().is_ok_and(|a| a.is_ipv6());
    let tcp = runtime.listen(tcp.into()).map_err(|source| BindError::Tcp { addr, source })?;
    let udp = runtime.udp(udp).map_err(|source| BindError::Udp { addr: local, source })?;
    Ok((TcpPort(tcp), UdpPort { socket: udp, v6 }, local))
}

/// Binds a UDP socket alone.
#[cfg(feature = "quic")]
pub(super) fn bind_udp(
    addr: SocketAddr,
    runtime: &Arc<dyn Runtime>,
) -> Result<(UdpPort, SocketAddr), BindError> {
    let failed = |source| BindError::Udp { addr, source };
    let wildcard = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), addr.port());
    let udp = if addr.ip().is_unspecified() {
        datagrams(wildcard).or_else(|error| without_v6(error, || datagrams(addr)))
    } else {
        datagrams(addr)
    };
    let udp = udp.map_err(failed)?;
    widen(RECEIVE_BUFFER, |bytes| udp.set_recv_buffer_size(bytes)).map_err(BindError::ReceiveBuffer)?;
    let udp = std::net::UdpSocket::from(udp);
    let bound = udp.local_addr().map_err(failed)?;
    let udp = runtime.udp(udp).map_err(failed)?;
    Ok((UdpPort { socket: udp, v6: bound.is_ipv6() }, SocketAddr::new(addr.ip(), bound.port())))
}

fn bind_once(addr: SocketAddr) -> Result<(Socket, std::net::UdpSocket, SocketAddr), BindError> {
    let (tcp, bound) = listen(addr).map_err(|source| BindError::Tcp { addr, source })?;
    // The same family as the listener got: `bound` is the wildcard of IPv6 if both are spoken.
    let local = SocketAddr::new(addr.ip(), bound.port());
    let udp = datagrams(bound).map_err(|source| BindError::Udp { addr: local, source })?;
    widen(RECEIVE_BUFFER, |bytes| udp.set_recv_buffer_size(bytes)).map_err(BindError::ReceiveBuffer)?;
    Ok((tcp, udp.into(), local))
}

/// The UDP side.
pub(super) struct UdpPort {
    socket: Box<dyn Udp>,
    /// Whether the socket speaks IPv6, and wants IPv4 addresses in their mapped form.
    v6: bool,
}

impl Datagrams for UdpPort {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_readable(cx)
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        self.socket.try_receive(buffer).map(|(len, from)| (len, from.into()))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    fn try_send(&mut self, to: &Address, _node: Option<&Name>, bytes: &[u8]) -> io::Result<()> {
        self.send_to(socket_addr(to)?, bytes)
    }
}

impl UdpPort {
    pub(super) fn send_to(&mut self, addr: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let addr = match addr.ip() {
            IpAddr::V4(ip) if self.v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
            _ => addr,
        };
        self.socket.try_send(addr, bytes)
    }
}

/// The listening side of TCP.
pub(super) struct TcpPort(Box<dyn Accept>);

impl Listener for TcpPort {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, Address)>> {
        self.0.poll_accept(cx).map_ok(|(connection, from)| (connection, from.into()))
    }
}

/// The dialling side of TCP.
pub(super) struct Tcp(pub(super) Arc<dyn Runtime>);

impl Dialer for Tcp {
    fn dial(&self, to: Address, _node: Option<Name>) -> Boxed<io::Result<Box<dyn Connection>>> {
        match socket_addr(&to) {
            Ok(addr) => self.0.connect(addr),
            Err(error) => Box::pin(async { Err(error) }),
        }
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
    open(wildcard, true).or_else(|error| without_v6(error, || open(addr, false)))
}

/// Tries again if the wildcard of IPv6 cannot be had: there may be no IPv6 here, or none that speaks IPv4 as well.
fn without_v6<T>(error: io::Error, again: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => again(),
    }
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

    fn open(addr: &str) -> Result<Sockets, BindError> {
        Plain.bind(addr.parse().unwrap(), &crate::runtime::current().unwrap())
    }

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
        let sockets = open("127.0.1.8:0").unwrap();
        let local = sockets.local;

        let error = open(&local.to_string()).unwrap_err().to_string();
        let port = local.port();
        assert_eq!(
            error,
            format!(
                "failed to start TCP listener on \"127.0.1.8\" port {port}: \
                 listen tcp 127.0.1.8:{port}: bind: address already in use"
            )
        );
        drop(sockets);
        open(&local.to_string()).unwrap();
    }

    #[tokio::test]
    async fn a_port_taken_for_datagrams_alone_is_refused() {
        let taken = std::net::UdpSocket::bind("127.0.1.9:0").unwrap();
        let error = open(&taken.local_addr().unwrap().to_string()).unwrap_err();
        assert!(matches!(error, BindError::Udp { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_wildcard_is_told_as_it_was_asked_for() {
        let sockets = open("0.0.0.0:0").unwrap();
        assert_eq!(sockets.local.ip(), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    }
}
