//! TLS over TCP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, ServerConnection};
use serf::transport::{Credentials, Distrust, Tls, Transport};
use serf::{Serf, Status};

use super::certificates::{Authority, client, self_signed, server};
use super::{a_cluster_lives, a_failure_half_way_is_named_and_survived, blocking, reason, runtimes, start};
use crate::cluster::{addr, becomes};
use crate::{on_both, until, within};

#[test]
fn a_cluster_lives_over_tls() {
    on_both(async || {
        for runtime in runtimes() {
            let authority = Authority::new();
            let transport = |name: &str| Arc::new(Tls::new(&authority.node(name))) as Arc<dyn Transport>;
            a_cluster_lives(transport, runtime).await;
        }
    });
}

/// A node with its transport.
async fn node(name: &str, bind: &str, credentials: &Credentials) -> (Serf, Tls) {
    let tls = Tls::new(credentials);
    let runtime = serf::runtime::current().unwrap();
    (start(name, bind, Arc::new(tls.clone()), &runtime).await.0, tls)
}

/// Another node joins.
async fn goes_on(a: &Serf, authority: &Authority) {
    super::goes_on(a, Arc::new(Tls::new(&authority.node("friend")))).await;
}

#[test]
fn strangers_are_refused_by_name_and_the_cluster_goes_on() {
    on_both(async || {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (a, tls) = node("a", "127.0.2.1:0", &ours.node("a")).await;
        // A node of another authority dials us, and the other way round: the dialler is the first to know.
        let (stranger, their_tls) = node("x", "127.0.2.2:0", &theirs.node("x")).await;
        let why = reason(within(stranger.join([addr(&a)])).await);
        assert!(why.ends_with(&Distrust::UnknownAuthority.to_string()), "{why}");
        let why = reason(within(a.join([addr(&stranger)])).await);
        assert!(why.ends_with(&Distrust::UnknownAuthority.to_string()), "{why}");
        until(|| tls.refusals() >= 2 && their_tls.refusals() >= 2).await;
        assert_eq!(a.members().await.unwrap().len(), 1);
        assert_eq!(stranger.members().await.unwrap().len(), 1);
        goes_on(&a, &ours).await;
    });
}

#[test]
fn a_name_that_the_certificate_does_not_carry_is_refused_where_names_are_bound() {
    on_both(async || {
        let authority = Authority::new();
        let (a, tls) = node("a", "127.0.2.1:0", &authority.node("a")).await;
        // A node with a certificate of the authority, but for another name.
        let (impostor, _) = node("b", "127.0.2.2:0", &authority.node("other")).await;
        let why = reason(within(a.join([format!("b/{}", addr(&impostor))])).await);
        assert!(why.ends_with(&Distrust::OtherName("b".to_owned()).to_string()), "{why}");
        assert_eq!(tls.refusals(), 1);
        // No certificate can carry such a name: nobody is called.
        let why = reason(within(a.join([format!("b b/{}", addr(&impostor))])).await);
        assert!(why.ends_with(&Distrust::Unbindable("b b".to_owned()).to_string()), "{why}");
        assert_eq!(a.members().await.unwrap().len(), 1);
        goes_on(&a, &authority).await;

        // Unbound, the authority's word is enough.
        let (c, _) = node("c", "127.0.2.3:0", &authority.node("c").bind_names(false)).await;
        within(c.join([format!("b/{}", addr(&impostor))])).await.unwrap();
        becomes(&c, "b", Some(Status::Alive)).await;
    });
}

#[test]
fn peers_with_bad_certificates_are_refused_when_they_connect() {
    on_both(async || {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (a, tls) = node("a", "127.0.2.1:0", &ours.node("a")).await;
        let address = a.local_addr();
        let mut refusals = 0;
        for (certificate, alert) in [
            (Some(ours.expired("b")), "CertificateExpired"),
            (Some(theirs.sign("b", |_| {})), "UnknownCA"),
            (Some(self_signed("b")), "UnknownCA"),
            (None, "CertificateRequired"),
        ] {
            let config = client(&ours, certificate.as_ref());
            let error = within(blocking(move || talk_to(address, config))).await.unwrap_err().to_string();
            assert!(error.contains(alert), "{alert}: {error}");
            refusals += 1;
            until(|| tls.refusals() == refusals).await;
        }
        // Another protocol with certificates of the same authority.
        let mut config = client(&ours, Some(&ours.sign("b", |_| {})));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let error = within(blocking(move || talk_to(address, config))).await.unwrap_err().to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
        until(|| tls.refusals() == refusals + 1).await;
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
            let listener = TcpListener::bind("127.0.2.2:0").unwrap();
            let address = listener.local_addr().unwrap();
            let config = server(&certificate);
            let served = blocking(move || {
                let (mut tcp, _) = listener.accept().unwrap();
                let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
                rustls::Stream::new(&mut tls, &mut tcp).read(&mut [0; 64])
            });
            let said = reason(within(a.join([format!("b/{address}")])).await);
            assert!(said.ends_with(&why.to_string()), "{said}");
            within(served).await.unwrap_err();
        }
        goes_on(&a, &ours).await;
    });
}

#[test]
fn who_speaks_no_tls_is_refused() {
    on_both(async || {
        let authority = Authority::new();
        let (a, tls) = node("a", "127.0.2.1:0", &authority.node("a")).await;
        let address = a.local_addr();
        // The beginning of a push/pull in the clear, a request of the web, and noise.
        let garbage: [&[u8]; 3] = [b"\x06\x83\xa5Nodes\x01", b"GET / HTTP/1.0\r\n\r\n", &[0x16; 4096]];
        for (n, bytes) in garbage.into_iter().enumerate() {
            within(blocking(move || {
                let mut tcp = TcpStream::connect(address).unwrap();
                tcp.write_all(bytes).unwrap();
                // Answered with an alert at most, then the end.
                let mut answer = Vec::new();
                let _ = tcp.read_to_end(&mut answer);
                assert!(answer.len() < 16, "{answer:?}");
            }))
            .await;
            until(|| tls.refusals() == n as u64 + 1).await;
        }
        // One who hangs up at once, and one who does in the middle.
        drop(TcpStream::connect(address).unwrap());
        until(|| tls.refusals() == 4).await;
        TcpStream::connect(address).unwrap().write_all(b"\x16\x03\x01\x02\x00").unwrap();
        until(|| tls.refusals() == 5).await;

        // A node in the clear, either way.
        let runtime = serf::runtime::current().unwrap();
        let (plain, _) = start("p", "127.0.2.2:0", Arc::new(serf::transport::Plain), &runtime).await;
        reason(within(plain.join([addr(&a)])).await);
        let why = reason(within(a.join([addr(&plain)])).await);
        assert!(
            why.contains("hung up") || why.contains("reset") || why.contains("does not speak TLS"),
            "{why}"
        );
        assert_eq!(a.members().await.unwrap().len(), 1);
        goes_on(&a, &authority).await;
    });
}

#[tokio::test]
async fn who_says_nothing_delays_nobody_and_is_hung_up_on() {
    let authority = Authority::new();
    let (a, _) = node("a", "127.0.2.1:0", &authority.node("a")).await;
    let address = a.local_addr();
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    goes_on(&a, &authority).await;
    for mut tcp in silent {
        within(blocking(move || assert!(matches!(tcp.read(&mut [0]), Ok(0) | Err(_))))).await;
    }
}

#[test]
fn a_failure_half_way_is_survived_by_tls() {
    on_both(async || {
        let authority = Authority::new();
        a_failure_half_way_is_named_and_survived(|name| Arc::new(Tls::new(&authority.node(name)))).await;
    });
}

#[test]
fn an_end_that_was_not_told_is_an_error() {
    on_both(async || {
        let authority = Authority::new();
        let runtime = serf::runtime::current().unwrap();
        let sockets = Tls::new(&authority.node("a")).bind("127.0.2.1:0".parse().unwrap(), &runtime).unwrap();
        let (mut listener, address) = (sockets.listener, sockets.local);
        for is_told in [true, false] {
            let config = client(&authority, Some(&authority.sign("b", |_| {})));
            let peer = blocking(move || {
                let mut tcp = TcpStream::connect(address).unwrap();
                let mut tls = session(config);
                let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
                stream.write_all(b"last words").unwrap();
                if is_told {
                    stream.conn.send_close_notify();
                    stream.flush().unwrap();
                }
            });
            let (mut connection, _) =
                within(std::future::poll_fn(|cx| listener.poll_accept(cx))).await.unwrap();
            let mut said = Vec::new();
            let end = loop {
                within(std::future::poll_fn(|cx| connection.poll_readable(cx))).await.unwrap();
                let mut buffer = [0; 64];
                match connection.try_read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(len) => said.extend_from_slice(&buffer[..len]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => break Err(error.kind()),
                }
            };
            assert_eq!(said, b"last words");
            assert_eq!(end, if is_told { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof) });
            within(peer).await;
        }
    });
}

/// Shakes hands, says something, and waits for an answer.
fn talk_to(address: SocketAddr, config: ClientConfig) -> io::Result<usize> {
    let mut tcp = TcpStream::connect(address)?;
    let mut tls = session(config);
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(b"anybody there?")?;
    stream.read(&mut [0; 64])
}

fn session(config: ClientConfig) -> ClientConnection {
    ClientConnection::new(Arc::new(config), "a".try_into().unwrap()).unwrap()
}
