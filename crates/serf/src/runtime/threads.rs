//! Nodes without an executor: each task is a thread.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::thread;
use std::time::Instant;

use super::{Accept, Alarm, Runtime, Udp, block_on, reactor};
use crate::net::{Boxed, Connection};

/// Plain threads, for programs that are not asynchronous: one for the node, one that accepts connections, one for each
/// connection while it lasts, and one that waits for all sockets. [`block_on`] waits for what the handles give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Threads;

impl Runtime for Threads {
    fn spawn(&self, task: Boxed<()>) {
        start("serf", move || block_on(task));
    }

    fn unblock(&self, work: Box<dyn FnOnce() + Send>) {
        start("serf-file", work);
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

/// What finds no thread is dropped, which those who wait for it notice.
fn start(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        log::error!(target: "serf", "no thread for a task: {error}");
    }
}
