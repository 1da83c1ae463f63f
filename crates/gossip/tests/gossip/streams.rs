//! What is said on streams, and that every stream ends (checklist ST, LB11, KR12).

use std::time::Duration;

use serf_gossip::{
    Address, Command, Config, Failure, Outcome, Peer, StreamAction, StreamEvent, StreamId, Topic,
};
use serf_wire::encrypt::Key;
use serf_wire::msgpack::Writer;
use serf_wire::swim::{Kind, PushPullHeader, UserHeader};

use crate::net::address;
use crate::rig::{
    Life, Reply, Rig, Told, ack, message, ping, push_pull, read_stream, rig_config, seal_request,
};

fn config() -> Config {
    Config { push_pull_interval: Duration::ZERO, probe_interval: Duration::ZERO, ..rig_config() }
}

fn user(len: i64, bytes: &[u8]) -> Vec<u8> {
    let mut out = message(Kind::User, |w| UserHeader { len }.write(w));
    out.extend_from_slice(bytes);
    out
}

fn header(nodes: i64, user_state_len: i64) -> Vec<u8> {
    message(Kind::PushPull, |w: &mut Writer<'_>| {
        PushPullHeader { nodes, user_state_len, ..PushPullHeader::default() }.write(w)
    })
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

/// ST1
#[test]
fn a_ping_is_answered_on_its_stream_without_payload() {
    let mut rig = Rig::with(config());
    rig.above.layer().payload = Some(b"coordinate".to_vec());
    assert_eq!(rig.request(&ping(9, "me", None)), Some(Reply::Ack { seq: 9, payload: None }));
    assert_eq!(rig.request(&ping(9, "", None)), Some(Reply::Ack { seq: 9, payload: None }));
    assert_eq!(rig.request(&ping(9, "you", None)), None);
}

#[test]
fn a_user_message_is_handed_on_if_it_is_not_empty() {
    let mut rig = Rig::with(config());
    rig.quiet();
    assert_eq!(rig.request(&user(5, b"hello")), None);
    assert_eq!(rig.request(&user(0, b"")), None);
    assert_eq!(rig.above.told(), [Told::Message(b"hello".to_vec())]);
}

/// A request may come in any pieces, and what follows it is not looked at.
#[test]
fn pieces_may_be_of_any_size() {
    let mut rig = Rig::with(config());
    let request = push_pull(true, &[Life::of(2, 1), Life::of(3, 1)], b"state");
    for size in [1, 2, 7, 1000] {
        let id = rig.accept();
        for piece in request.chunks(size) {
            assert_eq!(rig.written(id), None);
            rig.stream(id, StreamEvent::Data(piece));
        }
        assert!(rig.written(id).is_some());
        rig.stream(id, StreamEvent::Data(b"and more"));
        rig.stream(id, StreamEvent::Ended);
        assert!(!rig.is_over(id), "the reply is on its way");
        rig.stream(id, StreamEvent::Written);
        assert!(rig.is_over(id));
    }
}

/// ST6, ST7, ST8
#[test]
fn absurd_numbers_end_a_stream_without_an_answer() {
    let mut rig = Rig::with(config());
    for request in [
        header(10_000_000, 0),
        header(-1, 0),
        header(0, 30_000_000),
        header(0, -1),
        user(30_000_000, b""),
        user(-1, b""),
        vec![99],
        ack(1, None),
        Life::of(2, 1).message(),
    ] {
        assert_eq!(rig.request(&request), None, "{request:?}");
    }
    assert_eq!(rig.gossip.stats().bad_streams, 9);
    assert_eq!(rig.gossip.members().known(), 1);
}

/// What cannot be read for its wrapping is answered with the reason, unless that is switched off (H18).
#[test]
fn an_unreadable_request_is_told_why() {
    let unreadable = [0x0a, 0, 0, 0, 4, b'a', b'b', b'c', b'd'];
    let mut rig = Rig::with(config());
    let Some(Reply::Error(why)) = rig.request(&unreadable) else { panic!("no answer") };
    assert_eq!(why, "remote state is encrypted and encryption is not configured");
    assert!(!rig.notices(Topic::BadStream).is_empty());
    let mut config = config();
    config.hardening.stream_error_replies = false;
    let mut rig = Rig::with(config);
    assert_eq!(rig.request(&unreadable), None);
}

/// LB11, and streams that break off at any place: nothing is left behind and nothing happens.
#[test]
fn a_stream_that_breaks_off_is_forgotten() {
    let mut rig = Rig::with(config());
    rig.quiet();
    let request = push_pull(true, &[Life::of(2, 1)], b"state");
    for len in 0..request.len() {
        for event in [StreamEvent::Ended, StreamEvent::Failed("reset".into())] {
            let failed = matches!(event, StreamEvent::Failed(_));
            let id = rig.accept();
            rig.stream(id, StreamEvent::Data(&request[..len]));
            rig.stream(id, event);
            assert_eq!(rig.is_over(id), !failed, "one that failed needs no closing");
            rig.stream(id, StreamEvent::Data(&request));
            rig.stream(id, StreamEvent::Ended);
            assert_eq!(rig.written(id), None);
        }
    }
    assert_eq!((rig.gossip.members().known(), rig.above.told()), (1, vec![]));
    assert_eq!(rig.due(), None, "no deadline is left");
}

/// Whoever connects and says nothing is let go in time; whoever does not read its answer, too.
#[test]
fn slow_streams_are_ended() {
    let mut rig = Rig::with(Config { stream_timeout: Duration::from_millis(50), ..config() });
    let idle = rig.accept();
    rig.millis(40);
    let slow = rig.accept();
    rig.stream(slow, StreamEvent::Data(&ping(1, "", None)[..5]));
    rig.millis(10);
    assert_eq!(rig.actions.last(), Some(&(idle, StreamAction::Abort)));
    rig.millis(39);
    assert!(!rig.is_over(slow));
    rig.stream(slow, StreamEvent::Data(&ping(1, "", None)[5..]));
    rig.millis(49);
    assert!(!rig.is_over(slow), "the answer has its own time");
    rig.millis(1);
    assert!(rig.is_over(slow));
    assert_eq!(rig.gossip.stats().slow_streams, 2);
}

/// Two requests on one stream: the second is nobody's business.
#[test]
fn a_stream_has_one_request() {
    let mut rig = Rig::with(config());
    let id = rig.accept();
    rig.stream(id, StreamEvent::Data(&[ping(1, "", None), ping(2, "", None)].concat()));
    rig.stream(id, StreamEvent::Data(&ping(3, "", None)));
    rig.stream(id, StreamEvent::Written);
    assert_eq!(rig.written(id).map(|b| rig.reply(&b)), Some(Reply::Ack { seq: 1, payload: None }));
    assert!(rig.is_over(id));
}

/// The wrapping of the answer is the answerer's own business.
#[test]
fn compression_and_encryption_go_both_ways() {
    for (keys, compression) in [(vec![], true), (vec![key(1)], false), (vec![key(1), key(2)], true)] {
        let mut rig = Rig::with(Config { keys: keys.clone(), compression, ..config() });
        let id = rig.accept();
        // Any key of the ring will do.
        rig.stream(id, StreamEvent::Data(&seal_request(&ping(5, "", None), b"", keys.last(), !compression)));
        let bytes = rig.written(id).unwrap();
        assert_eq!(bytes[0], if keys.is_empty() { 9 } else { 10 });
        assert_eq!(rig.reply(&bytes), Reply::Ack { seq: 5, payload: None });
    }
}

/// ST9
#[test]
fn a_join_with_one_who_never_answers_fails_in_time() {
    let mut rig = Rig::with(Config { stream_timeout: Duration::from_millis(50), ..config() });
    for (connected, written, millis) in [(false, false, 50), (true, false, 60), (true, true, 70)] {
        rig.forget();
        let began = rig.now;
        let peers = vec![rig.peer(2)];
        let id = rig.command(|id| Command::Join { id, peers });
        let (stream, _) = rig.dialled()[0];
        if connected {
            rig.millis(10);
            rig.stream(stream, StreamEvent::Connected);
        }
        if written {
            rig.millis(10);
            rig.stream(stream, StreamEvent::Written);
        }
        rig.pass((began + Duration::from_millis(millis - 1)).since(rig.now));
        assert_eq!(rig.outcome(id), None);
        rig.millis(1);
        let Some(Outcome::Joined { contacted, failed }) = rig.outcome(id) else { panic!("no answer") };
        assert!(contacted.is_empty());
        assert!(failed[0].0 == address(2) && failed[0].1.contains("timeout"), "{failed:?}");
        assert!(rig.is_over(stream));
    }
    assert_eq!(rig.due(), None);
    let stats = rig.gossip.stats();
    assert_eq!((stats.push_pulls_asked, stats.push_pull_time), (3, Duration::from_millis(50 + 60 + 70)));
    assert_eq!(stats.states_sent, 2, "not to the one where nobody listens");
}

/// A join has many addresses, not all at once, and each of them has an answer.
#[test]
fn a_join_tries_every_address_and_answers_once() {
    let mut rig = Rig::with(config());
    let peers: Vec<Peer> = (2..32).map(|i| rig.peer(i)).collect();
    let id = rig.command(|id| Command::Join { id, peers });
    let mut seen = 0;
    while rig.outcome(id).is_none() {
        let open: Vec<(StreamId, Address)> = rig.dialled().into_iter().skip(seen).collect();
        assert!((1..=8).contains(&open.len()), "a few at a time");
        seen += open.len();
        for (stream, to) in open {
            match to.host.as_bytes()[3] % 5 {
                0 => rig.stream(stream, StreamEvent::Failed("refused".into())),
                answer => {
                    rig.stream(stream, StreamEvent::Connected);
                    let asked = read_stream(&rig.written(stream).unwrap(), b"", &[], true);
                    assert!(matches!(asked, Reply::State { join: true, .. }));
                    rig.stream(stream, StreamEvent::Written);
                    let reply = match answer {
                        1 => message(Kind::Err, |w| serf_wire::swim::ErrReply { error: b"full" }.write(w)),
                        2 => ack(0, None),
                        3 => vec![200],
                        _ => push_pull(true, &[Life::of(usize::from(to.host.as_bytes()[3]), 1)], b""),
                    };
                    rig.stream(stream, StreamEvent::Data(&reply));
                    assert!(rig.is_over(stream));
                }
            }
        }
    }
    let Some(Outcome::Joined { contacted, failed }) = rig.outcome(id) else { panic!() };
    assert_eq!((contacted.len(), failed.len()), (6, 24));
    assert!(contacted.iter().all(|a| a.host.as_bytes()[3] % 5 == 4));
    assert!(failed.iter().any(|f| f.1 == "remote error: full"));
    assert_eq!(rig.gossip.members().known(), 7);
    // Nobody to join is joined at once.
    let id = rig.command(|id| Command::Join { id, peers: vec![] });
    assert_eq!(rig.outcome(id), Some(Outcome::Joined { contacted: vec![], failed: vec![] }));
}

#[test]
fn a_reliable_message_is_done_when_it_is_written() {
    let mut rig = Rig::with(config());
    let send = |rig: &mut Rig, bytes: Vec<u8>| {
        let to = rig.peer(2);
        let id = rig.command(|id| Command::SendReliable { id, to, bytes });
        (id, rig.dialled().last().map(|d| d.0))
    };
    let (id, stream) = send(&mut rig, b"hello".to_vec());
    let stream = stream.unwrap();
    rig.stream(stream, StreamEvent::Connected);
    assert_eq!(read_stream(&rig.written(stream).unwrap(), b"", &[], true), Reply::User(b"hello".to_vec()));
    // A quick peer has read it all and closed before we hear that it is written.
    rig.stream(stream, StreamEvent::Ended);
    assert_eq!(rig.outcome(id), None);
    rig.stream(stream, StreamEvent::Written);
    assert_eq!(rig.outcome(id), Some(Outcome::Ok));
    assert!(rig.is_over(stream));
    let (id, stream) = send(&mut rig, b"hello".to_vec());
    rig.stream(stream.unwrap(), StreamEvent::Failed("refused".into()));
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::Stream("refused".into()))));
    let (id, stream) = send(&mut rig, b"hello".to_vec());
    rig.stream(stream.unwrap(), StreamEvent::Connected);
    rig.millis(10_000);
    assert!(
        matches!(rig.outcome(id), Some(Outcome::Failed(Failure::Stream(why))) if why.contains("timeout"))
    );
    let (id, _) = send(&mut rig, vec![0; 20 << 20]);
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::MessageTooLong(20 << 20))));
    assert_eq!(rig.due(), None);
}

/// H12: bounds in number, per host and in bytes.
#[test]
fn streams_are_bounded() {
    let mut config = config();
    config.hardening.max_streams = 20;
    config.hardening.max_streams_per_host = 8;
    config.hardening.max_stream_bytes = 10_000;
    let mut rig = Rig::with(config);
    for i in 0..50 {
        rig.accept_from(Address::new(&[10, 0, 0, (i % 2) as u8], 1000 + i));
    }
    let aborted = |rig: &Rig| rig.actions.iter().filter(|a| a.1 == StreamAction::Abort).count();
    assert_eq!((aborted(&rig), rig.gossip.stats().shed_streams), (34, 34));
    for i in 10..50 {
        rig.accept_from(Address::new(&[10, 0, 0, i], 1000));
    }
    assert_eq!(aborted(&rig), 34 + 36);
    // Each of the first five sends 2500 bytes of a long message: not all of them find room.
    let before = rig.gossip.stats().shed_streams;
    for i in 0..5 {
        rig.stream(StreamId(2 * i + 1), StreamEvent::Data(&user(9000, &[1; 2400])));
    }
    assert_eq!(rig.gossip.stats().shed_streams, before + 1);
    assert!(rig.is_over(StreamId(9)));
    rig.stream(StreamId(1), StreamEvent::Data(&[1; 300]));
    assert!(!rig.is_over(StreamId(1)));
    rig.stream(StreamId(1), StreamEvent::Data(&[1; 300]));
    assert!(rig.is_over(StreamId(1)), "what a stream holds itself counts");
    // Ours do not count among theirs.
    let peers = vec![rig.peer(2)];
    rig.command(|id| Command::Join { id, peers });
    assert_eq!(rig.dialled().len(), 1);
    // After their time there is room again.
    rig.millis(10_000);
    let id = rig.accept_from(Address::new(&[10, 0, 0, 1], 1));
    assert!(!rig.is_over(id));
}

/// A driver that numbers its streams wrongly cannot make us lose one of ours.
#[test]
fn a_number_in_use_is_not_used_again() {
    let mut rig = Rig::with(config());
    let peers = vec![rig.peer(2)];
    let id = rig.command(|id| Command::Join { id, peers });
    let (stream, _) = rig.dialled()[0];
    rig.stream(stream, StreamEvent::Accepted { from: address(7) });
    rig.stream(stream, StreamEvent::Failed("no".into()));
    assert!(rig.outcome(id).is_some());
    assert_eq!(rig.due(), None);
    rig.stream(StreamId(1000), StreamEvent::Accepted { from: address(7) });
    assert!(rig.is_over(StreamId(1000)), "even numbers are ours");
}

/// Our own push/pull is sealed with our key, and the answer read with it (KR12).
#[test]
fn a_sealed_exchange_goes_through() {
    let keys = vec![key(3)];
    let mut rig = Rig::with(Config { keys: keys.clone(), label: b"lbl".to_vec(), ..config() });
    let peers = vec![rig.peer(2)];
    let id = rig.command(|id| Command::Join { id, peers });
    let (stream, _) = rig.dialled()[0];
    rig.stream(stream, StreamEvent::Connected);
    let asked = rig.written(stream).unwrap();
    assert_eq!(asked[..6], [0xf4, 3, b'l', b'b', b'l', 10]);
    assert!(matches!(read_stream(&asked, b"lbl", &keys, true), Reply::State { join: true, .. }));
    // A reply has no label header, but is bound to the label.
    let mut out = Vec::new();
    let seal = serf_wire::stream::StreamSeal {
        label: b"lbl",
        send_label_header: false,
        key: keys.first(),
        version: serf_wire::encrypt::Version::V1,
        compress: Some(serf_wire::compress::Algorithm::Lzw),
    };
    let plain = push_pull(true, &[Life::of(2, 1)], b"");
    serf_wire::stream::seal_stream(&plain, &seal, &[1; 12], &mut Default::default(), &mut out);
    for piece in out.chunks(11) {
        rig.stream(stream, StreamEvent::Data(piece));
    }
    assert!(matches!(rig.outcome(id), Some(Outcome::Joined { contacted, .. }) if contacted.len() == 1));
    assert!(rig.knows("n2"));
}

/// No more than 127 answers to push/pulls are written at the same time.
#[test]
fn push_pulls_at_the_same_time_are_bounded() {
    let mut rig = Rig::with(config());
    let ids: Vec<_> = (0..130)
        .map(|_| {
            let id = rig.accept();
            rig.stream(id, StreamEvent::Data(&push_pull(false, &[], b"")));
            id
        })
        .collect();
    assert_eq!(ids.iter().filter(|id| rig.written(**id).is_some()).count(), 127);
    assert_eq!(ids.iter().filter(|id| rig.is_over(**id)).count(), 3);
    rig.stream(ids[0], StreamEvent::Written);
    assert!(matches!(rig.request(&push_pull(false, &[], b"")), Some(Reply::State { .. })));
}
