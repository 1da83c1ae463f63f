//! What passes through the connections of a hub: datagrams, and streams.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Dir, ReadError, SendDatagramError, StreamId, VarInt, WriteError};
use serf_gossip::{Address, Name};

use super::{BACKLOG, ENTRY_BYTES, Ends, Hub, INBOX_MAX, Id, Link, Peer, Phase, WAITING_MAX, over, register};
use crate::transport::quic::{DATAGRAM_MAX, GREETING};

/// Datagrams.
impl Hub {
    pub(in super::super) fn send_datagram(
        &mut self,
        to: SocketAddr,
        node: Option<&Name>,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.udp.is_none() {
            return Err(over());
        }
        let now = Instant::now();
        let bytes = Bytes::copy_from_slice(bytes);
        let sent = match self.peers.get(&to).map(|peer| (peer.open, peer.dialling)) {
            Some((Some(id), _)) => {
                let sent = self.visit(id, |hub, link| {
                    hub.admit(now, link, node)?;
                    hub.put(now, link, bytes)
                });
                sent.unwrap_or_else(|| Err(over()))
            }
            Some((None, Some(_))) => self.wait(to, node, bytes),
            _ => self.may_dial(now, to).and_then(|()| {
                self.connect(now, to)?;
                self.wait(to, node, bytes)
            }),
        };
        if sent.is_err() {
            self.counts.datagrams_lost.fetch_add(1, Relaxed);
        }
        sent
    }

    fn may_dial(&self, now: Instant, to: SocketAddr) -> io::Result<()> {
        match self.peers.get(&to) {
            Some(Peer { pause: Some((until, _)), why: Some(why), .. }) if now < *until => Err(why.error()),
            _ => Ok(()),
        }
    }

    fn wait(&mut self, to: SocketAddr, node: Option<&Name>, bytes: Bytes) -> io::Result<()> {
        let peer = self.peers.entry(to).or_default();
        if peer.waiting.len() >= WAITING_MAX {
            return Err(io::Error::other("too many datagrams wait for the QUIC connection"));
        }
        peer.waiting.push_back((node.cloned(), bytes));
        Ok(())
    }

    /// Hands a datagram to a connection that stands.
    pub(super) fn put(&mut self, now: Instant, link: &mut Link, bytes: Bytes) -> io::Result<()> {
        link.used = now;
        self.stir(link);
        match link.quic.datagrams().send(bytes.clone(), false) {
            Ok(()) => Ok(()),
            Err(SendDatagramError::TooLarge) => self.put_as_stream(link, &bytes),
            Err(SendDatagramError::Blocked(_)) => {
                Err(io::Error::other("too many datagrams wait in the QUIC connection"))
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// What does not fit into a packet goes as a stream of its own.
    fn put_as_stream(&mut self, link: &mut Link, bytes: &[u8]) -> io::Result<()> {
        let full = || io::Error::other("too many large datagrams wait in the QUIC connection");
        let id = link.quic.streams().open(Dir::Uni).ok_or_else(full)?;
        let mut stream = link.quic.send_stream(id);
        if stream.write(bytes).is_ok_and(|len| len == bytes.len()) && stream.finish().is_ok() {
            self.counts.datagrams_as_streams.fetch_add(1, Relaxed);
            return Ok(());
        }
        let _ = stream.reset(VarInt::from_u32(0));
        Err(full())
    }

    /// Takes in what has come of a datagram that is a stream.
    pub(super) fn assemble(&mut self, now: Instant, link: &mut Link, id: StreamId) {
        let Some(mut bytes) = link.parts.remove(&id) else { return };
        self.parts_bytes -= bytes.len();
        let mut stream = link.quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return };
        let whole = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) if bytes.len() + chunk.bytes.len() <= DATAGRAM_MAX => {
                    bytes.extend_from_slice(&chunk.bytes);
                }
                Ok(Some(_)) | Err(ReadError::Reset(_)) => break None,
                Ok(None) => break Some(true),
                Err(ReadError::Blocked) => break Some(false),
            }
        };
        let _ = chunks.finalize();
        match whole {
            Some(true) => self.deliver(now, link, bytes.into()),
            Some(false) if self.parts_bytes + bytes.len() <= INBOX_MAX => {
                self.parts_bytes += bytes.len();
                link.parts.insert(id, bytes);
            }
            _ => {
                let _ = link.quic.recv_stream(id).stop(VarInt::from_u32(0));
                self.counts.datagrams_lost.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn deliver(&mut self, now: Instant, link: &mut Link, bytes: Bytes) {
        link.used = now;
        link.is_heard = true;
        let cost = bytes.len() + ENTRY_BYTES;
        if self.inbox_bytes + cost > INBOX_MAX {
            self.counts.datagrams_lost.fetch_add(1, Relaxed);
            return;
        }
        self.inbox_bytes += cost;
        // A copy, for the packet that it came in may be much larger.
        self.inbox.push_back((link.peer, Bytes::copy_from_slice(&bytes)));
        self.wakes.extend(self.reader.take());
    }

    pub(in super::super) fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inbox.is_empty() && self.udp.is_some() {
            register(&mut self.reader, cx, &mut self.scrap);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(in super::super) fn receive_datagram(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        let Some((from, bytes)) = self.inbox.pop_front() else {
            return Err(if self.udp.is_some() { io::ErrorKind::WouldBlock.into() } else { over() });
        };
        self.inbox_bytes -= bytes.len() + ENTRY_BYTES;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok((len, from.into()))
    }
}

/// Streams.
impl Hub {
    /// The peer has opened streams.
    pub(super) fn offered(&mut self, now: Instant, link: &mut Link) {
        link.used = now;
        link.is_heard = true;
        while let Some(id) = link.quic.streams().accept(Dir::Bi) {
            let greeted = link.quic.send_stream(id).write(&[GREETING]).is_ok();
            if self.accepted.len() >= BACKLOG || !greeted {
                self.counts.streams_refused.fetch_add(1, Relaxed);
                let _ = link.quic.send_stream(id).reset(VarInt::from_u32(0));
                let _ = link.quic.recv_stream(id).stop(VarInt::from_u32(0));
                continue;
            }
            link.users += 1;
            link.streams.insert(id, Ends { is_heard: true, ..Ends::default() });
            self.accepted.push_back((link.id, id));
        }
        self.wakes.extend(self.acceptor.take());
    }

    /// The next stream of a peer.
    pub(in super::super) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Id, StreamId, SocketAddr)>> {
        while let Some((id, stream)) = self.accepted.pop_front() {
            if let Some(link) = self.connections.get(&id) {
                return Poll::Ready(Ok((id, stream, link.peer)));
            }
        }
        if self.udp.is_none() {
            return Poll::Ready(Err(over()));
        }
        register(&mut self.acceptor, cx, &mut self.scrap);
        Poll::Pending
    }

    /// Reserves a connection to a peer, old or new, for a stream. Whether it stood already.
    pub(in super::super) fn reach(&mut self, to: SocketAddr) -> io::Result<(Id, bool)> {
        let (open, dialling) = self.peers.get(&to).map_or((None, None), |peer| (peer.open, peer.dialling));
        let id = match open.or(dialling) {
            Some(id) => id,
            None => self.connect(Instant::now(), to)?,
        };
        self.visit(id, |_, link| link.users += 1).ok_or_else(over)?;
        Ok((id, open.is_some()))
    }

    /// No new use is made of a connection that may be dead.
    pub(in super::super) fn doubt(&mut self, to: SocketAddr, id: Id) {
        if let Some(peer) = self.peers.get_mut(&to)
            && peer.open == Some(id)
        {
            peer.open = None;
        }
    }

    /// Opens a stream on a connection that was reserved, when it stands and the peer allows.
    pub(in super::super) fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        node: Option<&Name>,
    ) -> Poll<io::Result<StreamId>> {
        let opened = self.visit(id, |hub, link| {
            match &link.phase {
                Phase::Over(why) => return Some(Err(why.error())),
                Phase::Standing => {
                    if let Err(error) = hub.admit(Instant::now(), link, node) {
                        return Some(Err(error));
                    }
                    if let Some(stream) = link.quic.streams().open(Dir::Bi) {
                        link.streams.insert(stream, Ends::default());
                        link.used = Instant::now();
                        return Some(Ok(stream));
                    }
                }
                Phase::Making => {}
            }
            if !link.openers.iter().any(|waker| waker.will_wake(cx.waker())) {
                link.openers.push(cx.waker().clone());
            }
            None
        });
        match opened {
            None => Poll::Ready(Err(over())),
            Some(None) => Poll::Pending,
            Some(Some(result)) => Poll::Ready(result),
        }
    }

    pub(in super::super) fn poll_readable(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        stream: StreamId,
    ) -> Poll<()> {
        let Some(link) = self.connections.get_mut(&id) else { return Poll::Ready(()) };
        match link.streams.get_mut(&stream) {
            Some(ends) if ends.is_blocked_in && !matches!(link.phase, Phase::Over(_)) => {
                register(&mut ends.reader, cx, &mut self.scrap);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Reads what is there; 0 is the end.
    pub(in super::super) fn read(
        &mut self,
        id: Id,
        stream: StreamId,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let result = self.visit(id, |hub, link| {
            let Some(ends) = link.streams.get_mut(&stream) else { return Err(over()) };
            if ends.is_over {
                return Ok(0);
            }
            let mut source = link.quic.recv_stream(stream);
            let Ok(mut chunks) = source.read(true) else {
                return Err(io::ErrorKind::ConnectionReset.into());
            };
            let mut len = 0;
            let result = loop {
                if len == buffer.len() {
                    break Ok(len);
                }
                match chunks.next(buffer.len() - len) {
                    Ok(Some(chunk)) => {
                        buffer[len..len + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                        len += chunk.bytes.len();
                    }
                    Ok(None) => {
                        ends.is_over = true;
                        break Ok(len);
                    }
                    Err(ReadError::Blocked) if len > 0 => break Ok(len),
                    Err(ReadError::Blocked) => break Err(io::ErrorKind::WouldBlock),
                    Err(ReadError::Reset(_)) => break Err(io::ErrorKind::ConnectionReset),
                }
            };
            // The peer may send more now.
            let is_relief = chunks.finalize().should_transmit();
            ends.is_blocked_in = result == Err(io::ErrorKind::WouldBlock);
            if is_relief {
                hub.stir(link);
            }
            match (result, &link.phase) {
                (Err(io::ErrorKind::WouldBlock), Phase::Over(why)) => Err(why.error()),
                (result, _) => result.map_err(io::Error::from),
            }
        });
        result.unwrap_or_else(|| Err(over()))
    }

    pub(in super::super) fn poll_writable(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        stream: StreamId,
    ) -> Poll<()> {
        let Some(link) = self.connections.get_mut(&id) else { return Poll::Ready(()) };
        match link.streams.get_mut(&stream) {
            Some(ends) if ends.is_blocked_out && !matches!(link.phase, Phase::Over(_)) => {
                register(&mut ends.writer, cx, &mut self.scrap);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    pub(in super::super) fn write(&mut self, id: Id, stream: StreamId, bytes: &[u8]) -> io::Result<usize> {
        let result = self.visit(id, |hub, link| {
            if let Phase::Over(why) = &link.phase {
                return Err(why.error());
            }
            match link.quic.send_stream(stream).write(bytes) {
                Ok(len) => {
                    hub.stir(link);
                    Ok(len)
                }
                Err(WriteError::Blocked) => {
                    // What the peer is to hear of it.
                    hub.stir(link);
                    if let Some(ends) = link.streams.get_mut(&stream) {
                        ends.is_blocked_out = true;
                    }
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    Err(io::ErrorKind::BrokenPipe.into())
                }
            }
        });
        result.unwrap_or_else(|| Err(over()))
    }

    pub(in super::super) fn finish(&mut self, id: Id, stream: StreamId) -> io::Result<()> {
        let result = self.visit(id, |hub, link| {
            if let Phase::Over(why) = &link.phase {
                return Err(why.error());
            }
            hub.stir(link);
            link.quic.send_stream(stream).finish().map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        result.unwrap_or_else(|| Err(over()))
    }

    /// Nobody uses the stream any more, or waits for one. What was not finished is broken off.
    pub(in super::super) fn leave(&mut self, id: Id, stream: Option<StreamId>, is_finished: bool) {
        self.visit(id, |hub, link| {
            link.users -= 1;
            let Some(stream) = stream else { return };
            if let Some(ends) = link.streams.remove(&stream) {
                if !ends.is_heard {
                    // Given up without an answer: there may be nobody any more.
                    hub.doubt(link.peer, link.id);
                }
                hub.scrap.extend(ends.reader.into_iter().chain(ends.writer));
            }
            if !is_finished {
                let _ = link.quic.send_stream(stream).reset(VarInt::from_u32(0));
            }
            let _ = link.quic.recv_stream(stream).stop(VarInt::from_u32(0));
            link.used = Instant::now();
            hub.stir(link);
        });
    }
}
