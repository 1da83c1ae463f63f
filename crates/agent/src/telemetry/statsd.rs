//! Lines by UDP, as statsd takes them. Whether it is there is not known for certain: what it does not get is lost.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout};

use super::statsite::{RETRY_INTERVAL, Trouble, WAIT};

/// The largest datagram: it passes through any Ethernet whole.
const DATAGRAM_MAX: usize = 1400;

/// A statsd.
#[derive(Debug)]
pub(super) struct Statsd {
    address: String,
    socket: Option<UdpSocket>,
    /// It has taken a batch before this one, and nobody said that there is nobody.
    proven: bool,
    /// Not to be tried before.
    not_before: Option<Instant>,
    trouble: Trouble,
}

impl Statsd {
    /// At this address, which is looked up when there is something to send, and again after a failure.
    pub(super) fn new(address: String) -> Self {
        let trouble = Trouble::new("statsd", &address);
        Self { address, socket: None, proven: false, not_before: None, trouble }
    }

    /// Sends lines, or loses them.
    pub(super) async fn send(&mut self, lines: &str) {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return self.trouble.lost();
        }
        match timeout(WAIT, self.try_send(lines))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(()) => {
                self.not_before = None;
                if mem::replace(&mut self.proven, true) {
                    self.trouble.over();
                }
            }
            Err(error) => {
                self.socket = None;
                self.proven = false;
                self.not_before = Some(Instant::now() + RETRY_INTERVAL);
                self.trouble.lost();
                self.trouble.tell(&error);
            }
        }
    }

    async fn try_send(&mut self, lines: &str) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(connect(&self.address).await?),
        };
        for packet in packets(lines) {
            socket.send(packet.as_bytes()).await?;
        }
        Ok(())
    }
}

async fn connect(address: &str) -> io::Result<UdpSocket> {
    let mut result = Err(io::Error::other("the name has no addresses"));
    for address in lookup_host(address).await? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => result = Err(error),
        }
    }
    result
}

/// As few datagrams as hold the lines, none of which is cut.
fn packets(mut lines: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = match lines.len() {
            0 => return None,
            len @ ..=DATAGRAM_MAX => len,
            // A line is never longer than this, names being bounded.
            _ => lines.as_bytes()[..DATAGRAM_MAX]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(lines.len(), |at| at + 1),
        };
        let (packet, rest) = lines.split_at(end);
        lines = rest;
        Some(packet)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_hold_whole_lines_and_as_many_as_fit() {
        let line = format!("{}\n", "x".repeat(99));
        let lines = line.repeat(30);
        let sizes: Vec<usize> = packets(&lines).map(str::len).collect();
        assert_eq!(sizes, [1400, 1400, 200]);
        assert_eq!(packets(&line).collect::<Vec<_>>(), [&line]);
        assert_eq!(packets("").count(), 0);
        let short = format!("a\n{}\n", "x".repeat(1398));
        assert_eq!(packets(&short).map(str::len).collect::<Vec<_>>(), [2, 1399]);
    }
}
