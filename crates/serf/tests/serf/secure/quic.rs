//! QUIC.

use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, ServerConfig, VarInt,
};
use serf::net::Datagrams;
use serf::runtime::Runtime;
use serf::transport::{Credentials, Distrust, Quic, Sockets, Transport};
use serf::{Address, Name, Serf, Status};

use super::certificates::{Authority, client, self_signed, server};
use super::faulty::{Budget, Faulty};
use super::{
    a_cluster_lives, a_failure_half_way_is_named_and_survived, blocking, noise, reason, runtimes, start,
};
use crate::cluster::{addr, becomes};
use crate::{LIMIT, on_both, until, within};

#[test]
fn a_cluster_lives_over_quic() {
    on_both(async || {
        for runtime in runtimes() {
            let authority = Authority::new();
            let transport = |name: &str| Arc::new(Quic::new(&authority.node(name))) as Arc<dyn Transport>;
            a_cluster_lives(transport, runtime).await;
        }
    });
}

#[test]
fn a_failure_half_way_is_survived_by_quic() {
    on_both(async || {
        let authority = Authority::new();
        a_failure_half_way_is_named_and_survived(|name| Arc::new(Quic::new(&authority.node(name)))).await;
    });
}

/// A node with its transport.
async fn node(name: &str, bind: &str, credentials: &Credentials) -> (Serf, Quic) {
    let quic = Quic::new(credentials);
    let runtime = serf::runtime::current().unwrap();
    (start(name, bind, Arc::new(quic.clone()), &runtime).await.0, quic)
}

/// Another node joins.
async fn goes_on(a: &Serf, authority: &Authority) {
    super::goes_on(a, Arc::new(Quic::new(&authority.node("friend")))).await;
}

/// Bare sockets.
fn bound(bind: &str, credentials: &Credentials) -> (Sockets, Quic) {
    let quic = Quic::new(credentials);
    (quic.bind(bind.parse().unwrap(), &serf::runtime::current().unwrap()).unwrap(), quic)
}

async fn receive(datagrams: &mut dyn Datagrams) -> (Vec<u8>, Address) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        within(poll_fn(|cx| datagrams.poll_readable(cx))).await.unwrap();
        if let Ok((len, from)) = datagrams.try_receive(&mut buffer) {
            return (buffer[..len].to_vec(), from);
        }
    }
}

#[test]
fn strangers_are_refused_by_name_and_the_cluster_goes_on() {
    on_both(async || {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (a, quic) = node("a", "127.0.2.1:0", &ours.node("a")).await;
        let (stranger, their_quic) = node("x", "127.0.2.2:0", &theirs.node("x")).await;
        let why = reason(within(stranger.join([addr(&a)])).await);
        assert!(why.ends_with(&Distrust::UnknownAuthority.to_string()), "{why}");
        let why = reason(within(a.join([addr(&stranger)])).await);
        assert!(why.ends_with(&Distrust::UnknownAuthority.to_string()), "{why}");
        until(|| quic.stats().refusals >= 2 && their_quic.stats().refusals >= 2).await;
        assert_eq!(a.members().await.unwrap().len(), 1);
        assert_eq!(stranger.members().await.unwrap().len(), 1);
        assert_eq!(quic.stats().accepted, 0);
        goes_on(&a, &ours).await;
    });
}

#[test]
fn a_name_that_the_certificate_does_not_carry_is_refused_where_names_are_bound() {
    on_both(async || {
        let authority = Authority::new();
        let (a, quic) = node("a", "127.0.2.1:0", &authority.node("a")).await;
        let (impostor, _) = node("b", "127.0.2.2:0", &authority.node("other")).await;
        let why = reason(within(a.join([format!("b/{}", addr(&impostor))])).await);
        assert!(why.ends_with(&Distrust::OtherName("b".to_owned()).to_string()), "{why}");
        assert_eq!(quic.stats().refusals, 1);
        let why = reason(within(a.join([format!("b b/{}", addr(&impostor))])).await);
        assert!(why.ends_with(&Distrust::Unbindable("b b".to_owned()).to_string()), "{why}");
        assert_eq!(a.members().await.unwrap().len(), 1);
        goes_on(&a, &authority).await;

        let (c, _) = node("c", "127.0.2.3:0", &authority.node("c").bind_names(false)).await;
        within(c.join([format!("b/{}", addr(&impostor))])).await.unwrap();
        becomes(&c, "b", Some(Status::Alive)).await;
    });
}

#[test]
fn datagrams_reach_nobody_but_who_is_meant() {
    on_both(async || {
        let authority = Authority::new();
        let (mut a, quic) = bound("127.0.2.1:0", &authority.node("a"));
        let (mut b, _) = bound("127.0.2.2:0", &authority.node("b"));
        let to = Address::from(b.local);
        let (known, other) = (Name::from("b"), Name::from("other"));
        a.datagrams.try_send(&to, Some(&known), b"for b").unwrap();
        assert_eq!(receive(&mut *b.datagrams).await, (b"for b".to_vec(), a.local.into()));
        a.datagrams.try_send(&to, None, b"for whoever is there").unwrap();
        assert_eq!(receive(&mut *b.datagrams).await.0, b"for whoever is there");
        let error = a.datagrams.try_send(&to, Some(&other), b"for another").unwrap_err();
        assert_eq!(error.to_string(), Distrust::OtherName("other".to_owned()).to_string());
        assert_eq!((quic.stats().datagrams_lost, quic.stats().refusals), (1, 1));

        // One that waits for the connection.
        let (mut c, quic) = bound("127.0.2.3:0", &authority.node("c"));
        c.datagrams.try_send(&to, Some(&other), b"for another").unwrap();
        until(|| quic.stats().datagrams_lost == 1 && quic.stats().refusals == 1).await;
        let error = b.datagrams.try_receive(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn few_datagrams_wait_for_a_connection_and_large_ones_go_as_streams() {
    on_both(async || {
        let authority = Authority::new();
        let (mut a, quic) = bound("127.0.2.1:0", &authority.node("a"));
        let silent = UdpSocket::bind("127.0.2.2:0").unwrap();
        let nobody = Address::from(silent.local_addr().unwrap());
        let sent = (0..40).filter(|_| a.datagrams.try_send(&nobody, None, b"anybody?").is_ok()).count();
        assert_eq!((sent, quic.stats().datagrams_lost), (32, 8));

        let (mut b, their_quic) = bound("127.0.2.2:0", &authority.node("b"));
        let to = Address::from(b.local);
        for n in 0..32 {
            a.datagrams.try_send(&to, None, &[n]).unwrap();
        }
        for n in 0..32 {
            assert_eq!(receive(&mut *b.datagrams).await.0, [n]);
        }
        // The largest that there are, and all sizes around that of a packet.
        for len in (1100..1500).step_by(7).chain([9000, 64 << 10]) {
            let bytes: Vec<u8> = (0..len).map(|n: usize| n as u8).collect();
            a.datagrams.try_send(&to, None, &bytes).unwrap();
            assert_eq!(receive(&mut *b.datagrams).await.0, bytes);
        }
        assert!(quic.stats().datagrams_as_streams >= 2);
        // An answer takes the same connection.
        b.datagrams.try_send(&a.local.into(), None, b"and back").unwrap();
        assert_eq!(receive(&mut *a.datagrams).await, (b"and back".to_vec(), to));
        assert_eq!((quic.stats().dialled, quic.stats().accepted), (1, 0));
        assert_eq!((their_quic.stats().dialled, their_quic.stats().accepted), (0, 1));
    });
}

#[test]
fn who_comes_back_at_the_same_address_is_found_again() {
    on_both(async || {
        let authority = Authority::new();
        let credentials = authority.node("b");
        let runtime = serf::runtime::current().unwrap();
        let (mut a, quic) = bound("127.0.2.1:0", &authority.node("a"));
        let budget = Budget::new(i64::MAX / 2);
        let mortal: Arc<dyn Runtime> = Arc::new(Faulty(runtime, budget.clone()));
        let mut b = Quic::new(&credentials).bind("127.0.2.2:0".parse().unwrap(), &mortal).unwrap();
        let place = b.local;
        let to = Address::from(place);
        a.datagrams.try_send(&to, None, b"first").unwrap();
        receive(&mut *b.datagrams).await;
        // Gone without a word.
        budget.cut();
        drop(b);
        let (mut b, _) = bound(&place.to_string(), &credentials);
        let mut buffer = [0; 16];
        within(async {
            while b.datagrams.try_receive(&mut buffer).is_err() {
                let _ = a.datagrams.try_send(&to, None, b"again");
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(&buffer[..5], b"again");
        assert_eq!(quic.stats().dialled, 2);
    });
}

#[test]
fn who_calls_a_peer_that_came_back_gets_the_new_one() {
    on_both(async || {
        let authority = Authority::new();
        let credentials = authority.node("b");
        let runtime = serf::runtime::current().unwrap();
        let (mut a, _) = bound("127.0.2.1:0", &authority.node("a"));
        let budget = Budget::new(i64::MAX / 2);
        let mortal: Arc<dyn Runtime> = Arc::new(Faulty(runtime, budget.clone()));
        let mut b = Quic::new(&credentials).bind("127.0.2.2:0".parse().unwrap(), &mortal).unwrap();
        let place = b.local;
        a.datagrams.try_send(&place.into(), None, b"first").unwrap();
        receive(&mut *b.datagrams).await;
        budget.cut();
        drop(b);
        // The connection that there is leads nowhere any more; the one who calls need not know.
        let (mut b, _) = bound(&place.to_string(), &credentials);
        let accepted = poll_fn(|cx| b.listener.poll_accept(cx));
        let (dialled, accepted) =
            within(async { tokio::join!(a.dialer.dial(place.into(), None), accepted) }).await;
        let (mut dialled, (mut accepted, from)) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!(from, a.local.into());
        assert_eq!(dialled.try_write(b"hello").unwrap(), 5);
        let mut buffer = [0; 16];
        let len = loop {
            within(poll_fn(|cx| accepted.poll_readable(cx))).await.unwrap();
            match accepted.try_read(&mut buffer) {
                Ok(len) => break len,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!(&buffer[..len], b"hello");
    });
}

#[test]
fn peers_with_bad_certificates_are_refused_when_they_connect() {
    on_both(async || {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (a, quic) = node("a", "127.0.2.1:0", &ours.node("a")).await;
        let address = a.local_addr();
        for (n, (certificate, alert)) in [
            (Some(ours.expired("b")), 45),
            (Some(theirs.sign("b", |_| {})), 48),
            (Some(self_signed("b")), 48),
            (None, 116),
        ]
        .into_iter()
        .enumerate()
        {
            let config = client(&ours, certificate.as_ref());
            let lost = blocking(move || Raw::client(address, config, PROTOCOL).lost());
            assert_eq!(alert_of(&within(lost).await), Some(alert), "{n}");
            until(|| quic.stats().refusals == n as u64 + 1).await;
        }
        // Another protocol with certificates of the same authority.
        let config = client(&ours, Some(&ours.sign("b", |_| {})));
        let lost = within(blocking(move || Raw::client(address, config, b"h3").lost())).await;
        assert_eq!(alert_of(&lost), Some(120));
        goes_on(&a, &ours).await;
    });
}

#[test]
fn peers_with_bad_certificates_are_refused_when_they_are_called() {
    on_both(async || {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (a, _) = node("a", "127.0.2.1:0", &ours.node("a")).await;
        for (certificate, why) in [
            (ours.expired("b"), Distrust::Expired),
            (theirs.sign("b", |_| {}), Distrust::UnknownAuthority),
            (self_signed("b"), Distrust::UnknownAuthority),
        ] {
            let mut raw = Raw::server(server(&certificate));
            let address = raw.socket.local_addr().unwrap();
            let lost = blocking(move || raw.lost());
            let said = reason(within(a.join([format!("b/{address}")])).await);
            assert!(said.ends_with(&why.to_string()), "{said}");
            assert!(alert_of(&within(lost).await).is_some());
        }
        goes_on(&a, &ours).await;
    });
}

#[test]
fn garbage_and_half_open_peers_are_survived() {
    on_both(async || {
        let authority = Authority::new();
        let (a, quic) = node("a", "127.0.2.1:0", &authority.node("a")).await;
        let address = a.local_addr();
        let socket = UdpSocket::bind("127.0.2.2:0").unwrap();
        for len in 0..600 {
            let mut packet = noise(len, 3 * len as usize);
            // Also such as begin like those of QUIC.
            if len % 2 == 0
                && let Some(start) = packet.get_mut(..5)
            {
                start.copy_from_slice(&[0xc0 | len as u8 & 3, 0, 0, 0, 1]);
            }
            socket.send_to(&packet, address).unwrap();
            // The node is to see them all.
            tokio::task::yield_now().await;
        }
        // Gossip in the clear, and what is no packet at all.
        socket.send_to(b"\x00\x82\xa5SeqNo\x01\xa4Node\xa1a", address).unwrap();
        socket.send_to(b"", address).unwrap();

        // Peers that knock and say no more. When there are many they have to show that they live where they say; they do,
        // and that is all. More of them than one host may have are refused.
        let config = client(&authority, Some(&authority.sign("b", |_| {})));
        let mut knocking = Vec::new();
        // A node has patience for ten seconds: a slow machine needs more than one go.
        while quic.stats().refused == 0 {
            let config = config.clone();
            let more = blocking(move || {
                let raw = || Raw::client(address, config.clone(), PROTOCOL).knock();
                (0..100).map(|_| raw()).collect::<Vec<Raw>>()
            });
            knocking.extend(within(more).await);
        }
        goes_on(&a, &authority).await;
        drop(knocking);
        assert_eq!(a.members().await.unwrap().len(), 2, "the friend, and nobody else");
    });
}

#[test]
fn a_peer_that_opens_a_thousand_streams_gets_few_at_a_time() {
    on_both(async || {
        let authority = Authority::new();
        let (a, quic) = node("a", "127.0.2.1:0", &authority.node("a")).await;
        let address = a.local_addr();
        let config = client(&authority, Some(&authority.sign("b", |_| {})));
        let (held, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let peer = blocking({
            let (held, go) = (held.clone(), go.clone());
            move || {
                let mut raw = Raw::client(address, config, PROTOCOL);
                let mut open = Vec::new();
                // First it says nothing on any.
                raw.run(|connection, _| {
                    while let Some(id) = connection.streams().open(Dir::Bi) {
                        connection.send_stream(id).write(&[1]).unwrap();
                        open.push(id);
                    }
                    // Later more, as the node gives up on the silent ones.
                    let _ = held.compare_exchange(0, open.len(), SeqCst, SeqCst);
                    go.load(SeqCst).then_some(())
                });
                for id in open.drain(..) {
                    let _ = connection(&mut raw).send_stream(id).reset(VarInt::from_u32(0));
                    let _ = connection(&mut raw).recv_stream(id).stop(VarInt::from_u32(0));
                }
                // Then nonsense on a thousand.
                let mut count = 0;
                raw.run(|connection, _| {
                    while let Some(id) = connection.streams().open(Dir::Bi) {
                        count += 1;
                        connection.send_stream(id).write(b"\x01nonsense").unwrap();
                        connection.send_stream(id).finish().unwrap();
                        connection.recv_stream(id).stop(VarInt::from_u32(0)).unwrap();
                    }
                    (count >= 1000).then_some(())
                });
            }
        });
        until(|| held.load(SeqCst) > 0).await;
        goes_on(&a, &authority).await;
        assert_eq!(held.load(SeqCst), 64);
        go.store(true, SeqCst);
        within(peer).await;
        goes_on(&a, &authority).await;
        assert_eq!(quic.stats().refusals, 0);
    });
}

#[test]
fn a_wildcard_is_reached_over_both_families() {
    on_both(async || {
        let authority = Authority::new();
        let (mut a, _) = bound("0.0.0.0:0", &authority.node("a"));
        let (mut b, _) = bound("127.0.2.2:0", &authority.node("b"));
        let to = SocketAddr::new([127, 0, 0, 1].into(), a.local.port());
        b.datagrams.try_send(&to.into(), None, b"there").unwrap();
        let (bytes, from) = receive(&mut *a.datagrams).await;
        assert_eq!((bytes, from.clone()), (b"there".to_vec(), b.local.into()));
        a.datagrams.try_send(&from, None, b"and back").unwrap();
        assert_eq!(receive(&mut *b.datagrams).await.0, b"and back");
    });
}

const PROTOCOL: &[u8] = b"serf-quic/1";

/// A peer that is not ours, run by hand.
struct Raw {
    socket: UdpSocket,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
}

fn connection(raw: &mut Raw) -> &mut Connection {
    &mut raw.connection.as_mut().unwrap().1
}

/// Which TLS alert ended a connection.
fn alert_of(lost: &ConnectionError) -> Option<u64> {
    let ConnectionError::ConnectionClosed(close) = lost else { return None };
    u64::from(close.error_code).checked_sub(0x100)
}

impl Raw {
    fn new(server: Option<ServerConfig>) -> Self {
        let socket = UdpSocket::bind("127.0.2.3:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), server.map(Arc::new), true, None);
        Self { socket, endpoint, connection: None }
    }

    fn server(mut config: rustls::ServerConfig) -> Self {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let crypto = QuicServerConfig::try_from(config).unwrap();
        Self::new(Some(ServerConfig::with_crypto(Arc::new(crypto))))
    }

    fn client(to: SocketAddr, mut config: rustls::ClientConfig, protocol: &[u8]) -> Self {
        config.alpn_protocols = vec![protocol.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let mut raw = Self::new(None);
        raw.connection = Some(raw.endpoint.connect(Instant::now(), config, to, "a").unwrap());
        raw
    }

    /// Sends the first packet, another if it is asked to show where it lives, and no more.
    fn knock(mut self) -> Self {
        let (begun, mut knock, mut buffer) = (Instant::now(), Vec::new(), [0; 2048]);
        while begun.elapsed() < LIMIT {
            let mut packet = Vec::new();
            if connection(&mut self).poll_transmit(Instant::now(), 1, &mut packet).is_some() {
                knock = packet;
            }
            let to = connection(&mut self).remote_address();
            self.socket.send_to(&knock, to).unwrap();
            // It may have been lost among all the noise: then once more.
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { continue };
            // A retry, by its first bits.
            if buffer[0] & 0xf0 != 0xf0 {
                return self;
            }
            let mut answer = Vec::new();
            let bytes = buffer[..len].into();
            if let Some(DatagramEvent::ConnectionEvent(_, event)) =
                self.endpoint.handle(Instant::now(), from, None, None, bytes, &mut answer)
            {
                connection(&mut self).handle_event(event);
            }
        }
        panic!("took too long");
    }

    /// Until the connection is lost.
    fn lost(&mut self) -> ConnectionError {
        self.run(|_, events| {
            events.drain(..).find_map(|event| match event {
                Event::ConnectionLost { reason } => Some(reason),
                _ => None,
            })
        })
    }

    /// Goes on until something is done.
    fn run<T>(&mut self, mut done: impl FnMut(&mut Connection, &mut Vec<Event>) -> Option<T>) -> T {
        let begun = Instant::now();
        let (mut events, mut packet, mut buffer) = (Vec::new(), Vec::new(), [0; 2048]);
        while begun.elapsed() < LIMIT {
            let now = Instant::now();
            if let Some((handle, connection)) = &mut self.connection {
                if connection.poll_timeout().is_some_and(|at| at <= now) {
                    connection.handle_timeout(now);
                }
                while let Some(event) = connection.poll_endpoint_events() {
                    if let Some(event) = self.endpoint.handle_event(*handle, event) {
                        connection.handle_event(event);
                    }
                }
                while let Some(event) = connection.poll() {
                    events.push(event);
                }
                if let Some(result) = done(connection, &mut events) {
                    return result;
                }
                packet.clear();
                while let Some(transmit) = connection.poll_transmit(now, 1, &mut packet) {
                    self.socket.send_to(&packet[..transmit.size], transmit.destination).unwrap();
                    packet.clear();
                }
            }
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { continue };
            packet.clear();
            match self.endpoint.handle(now, from, None, None, buffer[..len].into(), &mut packet) {
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    connection(self).handle_event(event);
                }
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let accepted = self.endpoint.accept(incoming, now, &mut packet, None);
                    self.connection = Some(accepted.map_err(|error| error.cause).unwrap());
                }
                Some(DatagramEvent::Response(transmit)) => {
                    self.socket.send_to(&packet[..transmit.size], transmit.destination).unwrap();
                }
                None => {}
            }
        }
        panic!("took too long");
    }
}
