//! What carries gossip: one trait, and those that implement it. Which one a node uses, says
//! [`Config::transport`](crate::Config::transport); and here is decided which address others are told.

pub mod advertise;
#[cfg(any(feature = "quic", feature = "tls"))]
mod credentials;
mod memory;
mod plain;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "tls")]
mod tls;

use std::error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(any(feature = "quic", feature = "tls"))]
pub use self::credentials::{Credentials, CredentialsError, Distrust};
pub use self::memory::Memory;
pub use self::plain::Plain;
#[cfg(feature = "quic")]
pub use self::quic::{Quic, QuicStats};
#[cfg(feature = "tls")]
pub use self::tls::Tls;
use crate::fault;
use crate::net::{Datagrams, Dialer, Listener};
use crate::runtime::Runtime;

/// Carries datagrams and connections between nodes. All nodes of a cluster need the same.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Takes an address, with sockets of this runtime, to send from and be reached at. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be had. Nothing stays bound.
    fn bind(&self, addr: SocketAddr, runtime: &Arc<dyn Runtime>) -> Result<Sockets, BindError>;
}

/// The bound sockets of a node.
#[derive(Debug)]
pub struct Sockets {
    /// The address asked for, with the port that was got.
    pub local: SocketAddr,
    /// For what may be lost.
    pub datagrams: Box<dyn Datagrams>,
    /// For the connections of others.
    pub listener: Box<dyn Listener>,
    /// For connections to others.
    pub dialer: Arc<dyn Dialer>,
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
    /// What a transport needs besides sockets.
    #[error("failed to start the transport on {addr}: {source}")]
    Transport {
        /// What was asked for.
        addr: SocketAddr,
        /// What lacks.
        source: Box<dyn error::Error + Send + Sync>,
    },
}
