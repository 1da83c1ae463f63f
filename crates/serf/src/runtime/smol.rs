//! Nodes on smol.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::time::Instant;

use super::{Accept, Alarm, Runtime, Udp, reactor};
use crate::net::{Boxed, Connection};

/// The global executor of [smol](https://docs.rs/smol), which runs in threads of its own (`SMOL_THREADS`, one by
/// default).
///
/// ```
/// use serf::{Config, Serf, runtime::Smol};
/// use std::sync::Arc;
///
/// smol::block_on(async {
///     let runtime = Arc::new(Smol);
///     let config = Config { bind: "127.0.0.1:0".parse()?, runtime: Some(runtime), ..Config::lan("web-1") };
///     let serf = Serf::start(config).await?;
///     assert_eq!(serf.members().await?.len(), 1);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// .unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Smol;

impl Runtime for Smol {
    fn spawn(&self, task: Boxed<()>) {
        smol::spawn(task).detach();
    }

    fn unblock(&self, work: Box<dyn FnOnce() + Send>) {
        smol::unblock(work).detach();
    }

    fn alarm(&self, at: Instant) -> Pin<Box<dyn Alarm>> {
        reactor::alarm(at)
    }

    fn udp(&self, socket: UdpSocket) -> io::Result<Box<dyn Udp>> {
        reactor::udp(socket)
    }

    fn listen(&self, listener: TcpListener) -> io::Result<Box<dyn Accept>> {
        reactor::listen(listener)
    }

    fn connect(&self, to: SocketAddr) -> Boxed<io::Result<Box<dyn Connection>>> {
        reactor::connect(to)
    }
}
