//! A transport that fails now and then, at every point where one can: the node counts it, tells it, and goes on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use serf::net::{Boxed, Connection, Datagrams, Dialer, Listener};
use serf::runtime::Runtime;
use serf::transport::{BindError, Memory, Sockets, Transport};
use serf::{Address, Config, Event, Name, Serf, Status};

use crate::cluster::{addr, becomes, config};
use crate::{on_both, within};

/// A network in memory, of which every so manieth call fails.
#[derive(Debug, Clone)]
struct Faulty {
    network: Memory,
    faults: Faults,
}

/// Counts the calls of one kind; a clone counts anew.
#[derive(Debug)]
struct Faults {
    every: u64,
    calls: AtomicU64,
}

impl Clone for Faults {
    fn clone(&self) -> Self {
        Self { every: self.every, calls: AtomicU64::new(0) }
    }
}

impl Faults {
    fn next(&self) -> io::Result<()> {
        match (self.calls.fetch_add(1, Relaxed) + 1) % self.every {
            0 => Err(io::Error::other("the network is on fire")),
            _ => Ok(()),
        }
    }
}

/// One of its parts.
struct Part<T: ?Sized> {
    coming: Faults,
    going: Faults,
    part: Box<T>,
}

impl<T: ?Sized> Part<T> {
    fn new(faults: &Faults, part: Box<T>) -> Self {
        Self { coming: faults.clone(), going: faults.clone(), part }
    }
}

impl Faulty {
    fn every(every: u64) -> Self {
        Self { network: Memory::new(), faults: Faults { every, calls: AtomicU64::new(0) } }
    }
}

impl Transport for Faulty {
    fn bind(&self, addr: SocketAddr, runtime: &Arc<dyn Runtime>) -> Result<Sockets, BindError> {
        let Sockets { local, datagrams, listener, dialer } = self.network.bind(addr, runtime)?;
        let faults = self.faults.clone();
        Ok(Sockets {
            local,
            datagrams: Box::new(Part::new(&faults, datagrams)),
            listener: Box::new(Part::new(&faults, listener)),
            dialer: Arc::new(Dials { faults, dialer }),
        })
    }
}

impl Datagrams for Part<dyn Datagrams> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.part.poll_readable(cx)
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        let received = self.part.try_receive(buffer)?;
        self.coming.next().map(|()| received)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.part.poll_writable(cx)
    }

    fn try_send(&mut self, to: &Address, node: Option<&Name>, bytes: &[u8]) -> io::Result<()> {
        self.going.next()?;
        self.part.try_send(to, node, bytes)
    }
}

impl Listener for Part<dyn Listener> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, Address)>> {
        let accepted = std::task::ready!(self.part.poll_accept(cx));
        Poll::Ready(self.coming.next().and(accepted).map(|(part, from)| {
            let part: Box<dyn Connection> = Box::new(Part::new(&self.coming, part));
            (part, from)
        }))
    }
}

struct Dials {
    faults: Faults,
    dialer: Arc<dyn Dialer>,
}

impl Dialer for Dials {
    fn dial(&self, to: Address, node: Option<Name>) -> Boxed<io::Result<Box<dyn Connection>>> {
        let (dialled, fault, faults) = (self.dialer.dial(to, node), self.faults.next(), self.faults.clone());
        Box::pin(async move {
            fault?;
            let part = dialled.await?;
            Ok(Box::new(Part::new(&faults, part)) as Box<dyn Connection>)
        })
    }
}

impl Connection for Part<dyn Connection> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.part.poll_readable(cx)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A few at a time, so that it can fail half-way.
        let most = buffer.len().min(64);
        let len = self.part.try_read(&mut buffer[..most])?;
        self.coming.next().map(|()| len)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.part.poll_writable(cx)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.going.next()?;
        self.part.try_write(&bytes[..bytes.len().min(64)])
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.going.next()?;
        self.part.poll_finish(cx)
    }
}

fn faulty(every: u64) -> impl Fn(&str) -> Config {
    let network = Arc::new(Faulty::every(every));
    move |name| Config { transport: network.clone(), ..config(name, "127.0.0.1:0") }
}

/// A full state takes more reads than a connection lives here.
#[test]
fn a_connection_that_breaks_half_way_is_a_failed_join_that_says_so() {
    on_both(async || {
        let config = faulty(3);
        let (a, b) = (Serf::start(config("a")).await.unwrap(), Serf::start(config("b")).await.unwrap());
        for _ in 0..3 {
            let error = within(b.join([addr(&a)])).await.unwrap_err();
            assert!(error.to_string().contains("the network is on fire"), "{error}");
        }
        assert_eq!(a.members().await.unwrap().len(), 1);
    });
}

#[test]
fn datagrams_that_fail_are_counted_and_the_node_goes_on() {
    on_both(async || {
        let config = faulty(40);
        let (a, mut events) = Serf::start_with_events(config("a")).await.unwrap();
        let b = Serf::start(config("b")).await.unwrap();
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        // Until each has seen its own network fail, and heard the other nevertheless.
        within(async {
            let mut told = 0;
            loop {
                b.user_event("again", b"", false).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                while let Some(event) = events.try_recv() {
                    told += usize::from(matches!(event, Event::User(_)));
                }
                let sending = b.stats().await.unwrap().driver;
                let receiving = a.stats().await.unwrap().driver;
                if told > 0 && sending.send_errors > 0 && receiving.receive_errors > 0 {
                    break;
                }
            }
        })
        .await;
    });
}
