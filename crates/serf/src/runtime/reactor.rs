//! Sockets and alarms of `async-io`, whose reactor has a thread of its own: what runtimes without an I/O driver use.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_io::{Async, Timer};

use super::{Accept, Alarm, Udp};
use crate::net::{Boxed, Connection};

pub(super) fn alarm(at: Instant) -> Pin<Box<dyn Alarm>> {
    Box::pin(Ring(Timer::at(at)))
}

pub(super) fn udp(socket: UdpSocket) -> io::Result<Box<dyn Udp>> {
    Ok(Box::new(Async::new_nonblocking(socket)?))
}

pub(super) fn listen(listener: TcpListener) -> io::Result<Box<dyn Accept>> {
    Ok(Box::new(Async::new_nonblocking(listener)?))
}

pub(super) fn connect(to: SocketAddr) -> Boxed<io::Result<Box<dyn Connection>>> {
    Box::pin(async move { Ok(stream(Async::<TcpStream>::connect(to).await?)) })
}

struct Ring(Timer);

impl Future for Ring {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl Alarm for Ring {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.set_at(at);
    }
}

impl Udp for Async<UdpSocket> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_readable(self, cx)
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.get_ref().recv_from(buffer)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_writable(self, cx)
    }

    fn try_send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.get_ref().send_to(bytes, to).map(drop)
    }
}

impl Accept for Async<TcpListener> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, SocketAddr)>> {
        loop {
            match self.get_ref().accept() {
                Ok((accepted, from)) => {
                    return Poll::Ready(Async::new(accepted).map(|accepted| (stream(accepted), from)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(Self::poll_readable(self, cx))?,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

struct Stream(Async<TcpStream>);

fn stream(stream: Async<TcpStream>) -> Box<dyn Connection> {
    // Requests and replies are written whole: waiting for more to send would only delay them.
    let _ = stream.get_ref().set_nodelay(true);
    Box::new(Stream(stream))
}

impl Connection for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.get_ref().read(buffer)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown(Shutdown::Write))
    }

    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let stream = self.0.get_ref();
        stream.local_addr().ok().zip(stream.peer_addr().ok())
    }
}
