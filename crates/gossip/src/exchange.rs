//! What is said on streams (spec `gossip.md` §2): one request, at most one reply, then the server closes. Push/pull,
//! pings where datagrams do not get through, and user messages that must arrive.
//!
//! A stream is taken out of the table while it is dealt with, and put back only if it goes on: no path can leave a
//! finished one behind.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serf_wire::codecs::Codecs;
use serf_wire::compress::Algorithm;
use serf_wire::stream::{StreamMessage, StreamReader, StreamRules, StreamSeal, seal_stream};
use serf_wire::swim::{self, Ack, ErrReply, Kind, Ping, UserHeader};

use crate::gossip::{Cx, Gossip, Timer};
use crate::push_pull::MergeError;
use crate::{
    Address, CommandId, Failure, Instant, Name, Notification, Outcome, Output, Peer, Severity, StreamAction,
    StreamEvent, StreamId, Teller, TimerKey, Topic,
};

/// Largest plain message sent; the sealed form stays below what peers accept (20 MiB).
const MESSAGE_MAX: usize = (20 << 20) - 64;
/// Largest error text taken from a peer, in bytes.
const ERROR_TEXT_MAX: usize = 512;
/// Contacts of one join at the same time: a dead address then delays the others little.
const JOIN_WIDTH: usize = 8;
/// Push/pulls answered at the same time, as in the reference.
const REPLIES_MAX: usize = 127;

/// A stream.
#[derive(Debug)]
pub(crate) struct Exchange {
    role: Role,
    reader: StreamReader,
    timer: TimerKey,
    peer: Address,
}

#[derive(Debug)]
enum Role {
    /// Somebody dialled us; their request comes.
    Serving,
    /// Our reply is being written; then it is over.
    Replying,
    /// We dial.
    Dialling(Purpose, Vec<u8>),
    /// Our request is being written, or its reply comes.
    Asking(Purpose),
}

/// Why we dial.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// Push/pull with a random member.
    Sync { began: Instant, with: Name },
    /// Push/pull of a join, begun then.
    Join(CommandId, Instant),
    /// A ping of the running probe.
    Ping { seq: u32 },
    /// A user message.
    User(CommandId),
}

/// A join under way.
#[derive(Debug, Default)]
pub(crate) struct JoinTask {
    waiting: VecDeque<Peer>,
    active: usize,
    contacted: Vec<Address>,
    failed: Vec<(Address, String)>,
}

impl Gossip {
    pub(crate) fn join(&mut self, cx: &mut Cx<'_>, id: CommandId, peers: Vec<Peer>) {
        self.joins.insert(id, JoinTask { waiting: peers.into(), ..JoinTask::default() });
        self.go_on_joining(cx, id);
    }

    fn go_on_joining(&mut self, cx: &mut Cx<'_>, id: CommandId) {
        while let Some(task) = self.joins.get_mut(&id) {
            if task.active < JOIN_WIDTH
                && let Some(peer) = task.waiting.pop_front()
            {
                if self.config.require_node_names && peer.is_nameless() {
                    task.failed.push((peer.addr, Failure::NameRequired.to_string()));
                    continue;
                }
                task.active += 1;
                self.dial(cx, peer, Purpose::Join(id, cx.now));
                continue;
            }
            if task.active == 0
                && let Some(task) = self.joins.remove(&id)
            {
                self.done(id, Outcome::Joined { contacted: task.contacted, failed: task.failed });
            }
            return;
        }
    }

    /// Begins a stream. What is to be said is made when it is up, so that it is fresh.
    pub(crate) fn dial(&mut self, cx: &mut Cx<'_>, peer: Peer, purpose: Purpose) {
        self.stats.streams_dialled += 1;
        let due = cx.now + self.config.stream_timeout;
        self.open(peer, due, purpose, Vec::new());
    }

    fn open(&mut self, peer: Peer, due: Instant, purpose: Purpose, request: Vec<u8>) -> StreamId {
        let id = StreamId(self.next_stream);
        self.next_stream += 2;
        let exchange = Exchange {
            role: Role::Dialling(purpose, request),
            reader: StreamReader::new(),
            timer: self.timers.set(due, Timer::Stream(id)),
            peer: peer.addr.clone(),
        };
        self.streams.insert(id, exchange);
        self.act(id, StreamAction::Dial { to: peer.addr, node: peer.name });
        id
    }

    /// Pings over a stream. None if that is not possible.
    pub(crate) fn stream_ping(
        &mut self,
        to: &Address,
        node: &Name,
        seq: u32,
        due: Instant,
    ) -> Option<StreamId> {
        let mut request = Vec::new();
        let ping = Ping { seq, node: node.as_bytes(), source: self.source(), ..Ping::default() };
        swim::put(&mut request, Kind::Ping, |w| ping.write(w));
        let peer = Peer { addr: to.clone(), name: Some(node.clone()) };
        Some(self.open(peer, due, Purpose::Ping { seq }, request))
    }

    pub(crate) fn send_user_reliably(&mut self, cx: &mut Cx<'_>, id: CommandId, to: Peer, message: &[u8]) {
        if self.config.require_node_names && to.is_nameless() {
            return self.done(id, Outcome::Failed(Failure::NameRequired));
        }
        if message.len() > MESSAGE_MAX {
            return self.done(id, Outcome::Failed(Failure::MessageTooLong(message.len())));
        }
        let mut request = Vec::with_capacity(message.len() + 24);
        let header = UserHeader { len: message.len() as i64 };
        swim::put(&mut request, Kind::User, |w| header.write(w));
        request.extend_from_slice(message);
        let due = cx.now + self.config.stream_timeout;
        self.open(to, due, Purpose::User(id), request);
    }

    pub(crate) fn stream_event(&mut self, cx: &mut Cx<'_>, id: StreamId, event: StreamEvent<'_>) {
        if let StreamEvent::Accepted { from } = event {
            return self.accepted(cx, id, from);
        }
        // Events of a stream that is over may still be on their way.
        let Some(exchange) = self.streams.remove(&id) else { return };
        match event {
            StreamEvent::Accepted { .. } => {}
            StreamEvent::Connected => self.connected(cx, id, exchange),
            StreamEvent::Data(bytes) => self.data(cx, id, exchange, bytes),
            StreamEvent::Written => self.written(cx, id, exchange),
            // Whoever asked may end their side while our answer is on its way.
            // And whoever was told something may have read it and gone before we hear that it is written.
            StreamEvent::Ended
                if matches!(exchange.role, Role::Replying | Role::Asking(Purpose::User(_))) =>
            {
                self.streams.insert(id, exchange);
            }
            StreamEvent::Ended => {
                self.timers.cancel(exchange.timer);
                self.act(id, StreamAction::Close);
                self.broken(cx, id, exchange, "EOF");
            }
            StreamEvent::Failed(why) => {
                self.timers.cancel(exchange.timer);
                self.broken(cx, id, exchange, &why);
            }
        }
    }

    /// Bounds first (H12): nobody may take all streams, or all memory.
    fn accepted(&mut self, cx: &mut Cx<'_>, id: StreamId, from: Address) {
        self.stats.streams_accepted += 1;
        if self.streams.contains_key(&id) {
            // A driver's mistake; the stream that has the number is not to suffer.
            return;
        }
        if id.0.is_multiple_of(2) {
            return self.act(id, StreamAction::Abort);
        }
        let limits = &self.config.hardening;
        let theirs = self.streams.iter().filter(|(id, _)| id.0 % 2 == 1);
        let (all, same) =
            theirs.fold((0, 0), |(all, same), (_, e)| (all + 1, same + usize::from(e.peer.same_host(&from))));
        if all >= limits.max_streams || same >= limits.max_streams_per_host {
            self.stats.shed_streams += 1;
            self.act(id, StreamAction::Abort);
            return self.notice(
                cx.now,
                Severity::Warn,
                Topic::Limit,
                format_args!("stream refused: {all} are open, {same} of them from the same host from={from}"),
            );
        }
        if limits.strict_networks && !self.config.allows(from.host.ip()) {
            self.stats.bad_streams += 1;
            self.act(id, StreamAction::Abort);
            return self.notice(
                cx.now,
                Severity::Warn,
                Topic::BadStream,
                format_args!("stream refused: not from an allowed network from={from}"),
            );
        }
        let timer = self.timers.set(cx.now + self.config.stream_timeout, Timer::Stream(id));
        self.streams
            .insert(id, Exchange { role: Role::Serving, reader: StreamReader::new(), timer, peer: from });
    }

    fn connected(&mut self, cx: &mut Cx<'_>, id: StreamId, mut exchange: Exchange) {
        let Role::Dialling(purpose, mut request) = exchange.role else {
            self.streams.insert(id, exchange);
            return;
        };
        let join = matches!(purpose, Purpose::Join(..));
        // A join must be read by whoever is there; so must what has no answer from which to learn that it was not.
        let mut theirs = Codecs::NONE;
        if let Purpose::Sync { with, .. } = &purpose {
            let member = self.members.get(with.as_bytes()).filter(|m| m.addr == exchange.peer);
            theirs = member.map_or(Codecs::NONE, |m| m.codecs);
        }
        if join || matches!(purpose, Purpose::Sync { .. }) {
            request = self.local_state(cx, join, self.config.codecs());
            self.restart_clock(cx, id, &mut exchange.timer);
        }
        if request.len() > MESSAGE_MAX {
            self.timers.cancel(exchange.timer);
            self.act(id, StreamAction::Abort);
            let why = "our own state is larger than peers accept".to_string();
            return self.ended(cx, purpose, &exchange.peer, Err(why));
        }
        self.write(id, &request, true, theirs);
        exchange.role = Role::Asking(purpose);
        self.streams.insert(id, exchange);
    }

    fn restart_clock(&mut self, cx: &Cx<'_>, id: StreamId, timer: &mut TimerKey) {
        self.timers.cancel(*timer);
        *timer = self.timers.set(cx.now + self.config.stream_timeout, Timer::Stream(id));
    }

    fn written(&mut self, cx: &mut Cx<'_>, id: StreamId, mut exchange: Exchange) {
        match exchange.role {
            Role::Replying => {
                self.timers.cancel(exchange.timer);
                self.act(id, StreamAction::Close);
            }
            Role::Asking(Purpose::User(command)) => {
                self.timers.cancel(exchange.timer);
                self.act(id, StreamAction::Close);
                self.done(command, Outcome::Ok);
            }
            Role::Asking(Purpose::Sync { .. } | Purpose::Join(..)) => {
                self.restart_clock(cx, id, &mut exchange.timer);
                self.streams.insert(id, exchange);
            }
            _ => {
                self.streams.insert(id, exchange);
            }
        }
    }

    fn data(&mut self, cx: &mut Cx<'_>, id: StreamId, mut exchange: Exchange, bytes: &[u8]) {
        let serving = match exchange.role {
            Role::Serving => true,
            Role::Asking(_) => false,
            // Nobody has anything more to say here.
            Role::Replying | Role::Dialling(..) => {
                self.streams.insert(id, exchange);
                return;
            }
        };
        let held: usize = self.streams.values().map(|e| e.reader.buffered()).sum();
        let come = exchange.reader.buffered() + bytes.len();
        if held + come > self.config.hardening.max_stream_bytes {
            self.stats.shed_streams += 1;
            self.timers.cancel(exchange.timer);
            self.act(id, StreamAction::Abort);
            return self.broken(cx, id, exchange, "too many bytes are held for streams");
        }
        let mut reader = core::mem::take(&mut exchange.reader);
        let mut compressor = core::mem::take(&mut self.compressor);
        let rules = StreamRules {
            label: &self.config.label,
            skip_label_check: self.config.skip_inbound_label_check,
            keys: self.keyring.keys(),
            verify_incoming: self.verifies(cx.now),
            accept_v0: self.config.hardening.accept_encryption_v0,
            expect_label_header: serving,
            limits: Default::default(),
        };
        let message = reader.push(bytes, &rules, &mut compressor);
        self.compressor = compressor;
        if let Ok(Some(StreamMessage::PushPull(_))) = message {
            self.stats.states_received += 1;
            self.stats.state_bytes_received += come as u64;
        }
        match message {
            Ok(None) => {
                exchange.reader = reader;
                self.streams.insert(id, exchange);
            }
            Ok(Some(message)) if serving => self.serve(cx, id, exchange, message),
            Ok(Some(message)) => {
                self.timers.cancel(exchange.timer);
                self.act(id, StreamAction::Close);
                if let Role::Asking(purpose) = exchange.role {
                    self.replied(cx, id, purpose, &exchange.peer, message);
                }
            }
            Err(error) => {
                self.stats.bad_streams += 1;
                let why = error.what.to_string();
                if serving && error.reply && self.config.hardening.stream_error_replies {
                    let mut reply = Vec::new();
                    swim::put(&mut reply, Kind::Err, |w| ErrReply { error: why.as_bytes() }.write(w));
                    self.write(id, &reply, false, Codecs::NONE);
                    self.restart_clock(cx, id, &mut exchange.timer);
                    let peer = exchange.peer.clone();
                    exchange.role = Role::Replying;
                    self.streams.insert(id, exchange);
                    return self.bad_stream(cx, &why, &peer);
                }
                self.timers.cancel(exchange.timer);
                self.act(id, StreamAction::Abort);
                self.broken(cx, id, exchange, &why);
            }
        }
    }

    fn bad_stream(&mut self, cx: &Cx<'_>, why: &str, from: &Address) {
        self.notice(
            cx.now,
            Severity::Error,
            Topic::BadStream,
            format_args!("failed to receive: {why} from={from}"),
        );
    }

    /// A whole request has come.
    fn serve(&mut self, cx: &mut Cx<'_>, id: StreamId, mut exchange: Exchange, message: StreamMessage<'_>) {
        let mut theirs = Codecs::NONE;
        let reply = match message {
            StreamMessage::Ping(ping) if ping.node.is_empty() || ping.node == self.config.name.as_bytes() => {
                let mut reply = Vec::new();
                swim::put(&mut reply, Kind::Ack, |w| Ack { seq: ping.seq, ..Ack::default() }.write(w));
                Some(reply)
            }
            StreamMessage::Ping(ping) => {
                self.meant_for_another(cx, ping.node, &exchange.peer);
                None
            }
            StreamMessage::User(bytes) => {
                if !bytes.is_empty() {
                    cx.delegate.notify(cx.now, Notification::Message { from: &exchange.peer, bytes });
                }
                None
            }
            StreamMessage::PushPull(remote) => {
                let replying = self.streams.values().filter(|e| matches!(e.role, Role::Replying)).count();
                if replying >= REPLIES_MAX {
                    self.stats.shed_streams += 1;
                    self.timers.cancel(exchange.timer);
                    self.act(id, StreamAction::Abort);
                    let from = exchange.peer;
                    return self.notice(
                        cx.now,
                        Severity::Error,
                        Topic::Limit,
                        format_args!("Too many pending push/pull requests from={from}"),
                    );
                }
                // Our own view first: what they told is not news to them.
                theirs = remote.codecs;
                let mut reply = self.local_state(cx, remote.join, self.codecs_for(theirs));
                if let Err(error) = self.merge_state(cx, &remote, remote.join) {
                    let from = exchange.peer.clone();
                    self.notice(
                        cx.now,
                        Severity::Error,
                        Topic::PushPull,
                        format_args!("Failed push/pull merge: {error} from={from}"),
                    );
                    if matches!(error, MergeError::Refused(_))
                        && cx.delegate.explains_refusals()
                        && self.config.hardening.stream_error_replies
                    {
                        let why = error.to_string();
                        (reply, theirs) = (Vec::new(), Codecs::NONE);
                        swim::put(&mut reply, Kind::Err, |w| ErrReply { error: why.as_bytes() }.write(w));
                    }
                }
                (reply.len() <= MESSAGE_MAX).then_some(reply)
            }
            StreamMessage::Ack(_) | StreamMessage::Err(_) => {
                self.stats.bad_streams += 1;
                let from = exchange.peer.clone();
                self.bad_stream(cx, "a reply where a request was expected", &from);
                None
            }
        };
        match reply {
            Some(reply) => {
                self.write(id, &reply, false, theirs);
                self.restart_clock(cx, id, &mut exchange.timer);
                exchange.role = Role::Replying;
                self.streams.insert(id, exchange);
            }
            None => {
                self.timers.cancel(exchange.timer);
                self.act(id, StreamAction::Close);
            }
        }
    }

    /// A whole reply has come.
    fn replied(
        &mut self,
        cx: &mut Cx<'_>,
        id: StreamId,
        purpose: Purpose,
        peer: &Address,
        message: StreamMessage<'_>,
    ) {
        let result = match (&purpose, message) {
            (Purpose::Ping { seq }, StreamMessage::Ack(ack)) => {
                self.stream_pinged(id, ack.seq == *seq);
                return;
            }
            (Purpose::Sync { .. } | Purpose::Join(..), StreamMessage::PushPull(remote)) => {
                let join = matches!(purpose, Purpose::Join(..));
                // Whoever dials us does so from a port where nobody listens; whom we dial we know.
                cx.teller = Teller::at(peer);
                let merged = self.merge_state(cx, &remote, join).map_err(|e| e.to_string());
                if let Purpose::Sync { with, .. } = &purpose
                    && let Some(slot) = self.members.find(with.as_bytes())
                {
                    self.told(slot, peer, remote.codecs);
                }
                merged
            }
            (_, StreamMessage::Err(reply)) => {
                let text = &reply.error[..reply.error.len().min(ERROR_TEXT_MAX)];
                Err(alloc::format!("remote error: {}", Name::from(text)))
            }
            _ => Err("unexpected reply".to_string()),
        };
        if let Purpose::Ping { .. } = purpose {
            self.stream_pinged(id, false);
        }
        self.ended(cx, purpose, peer, result);
    }

    /// A stream ended before what was expected of it came.
    fn broken(&mut self, cx: &mut Cx<'_>, id: StreamId, exchange: Exchange, why: &str) {
        match exchange.role {
            Role::Serving if exchange.reader.buffered() == 0 && why == "EOF" => {}
            Role::Serving | Role::Replying => {
                if why == "EOF" {
                    self.stats.bad_streams += 1;
                }
                self.bad_stream(cx, why, &exchange.peer);
            }
            Role::Dialling(purpose, _) | Role::Asking(purpose) => {
                if let Purpose::Ping { .. } = purpose {
                    self.stream_pinged(id, false);
                }
                self.ended(cx, purpose, &exchange.peer, Err(why.to_string()));
            }
        }
    }

    pub(crate) fn stream_timed_out(&mut self, cx: &mut Cx<'_>, id: StreamId) {
        let Some(exchange) = self.streams.remove(&id) else { return };
        self.stats.slow_streams += 1;
        self.act(id, StreamAction::Abort);
        let why = match exchange.role {
            Role::Dialling(..) => alloc::format!("dial tcp {}: i/o timeout", exchange.peer),
            _ => "i/o timeout".to_string(),
        };
        self.broken(cx, id, exchange, &why);
    }

    /// The owner of the purpose learns how it went.
    fn ended(&mut self, cx: &mut Cx<'_>, purpose: Purpose, peer: &Address, result: Result<(), String>) {
        match purpose {
            Purpose::Ping { .. } => {}
            Purpose::User(id) => {
                let why = result.err().unwrap_or_default();
                self.done(id, Outcome::Failed(Failure::Stream(why)));
            }
            Purpose::Sync { began, with } => {
                self.note_push_pull(cx.now.since(began));
                if let Err(why) = result {
                    // It may be that the member could not read us.
                    self.told_unasked(with.as_bytes(), peer, Codecs::NONE);
                    self.notice(
                        cx.now,
                        Severity::Error,
                        Topic::PushPull,
                        format_args!("Push/Pull with {peer} failed: {why}"),
                    );
                }
            }
            Purpose::Join(id, began) => {
                self.note_push_pull(cx.now.since(began));
                if let Some(task) = self.joins.get_mut(&id) {
                    task.active -= 1;
                    match result {
                        Ok(()) => task.contacted.push(peer.clone()),
                        Err(why) => task.failed.push((peer.clone(), why)),
                    }
                }
                self.go_on_joining(cx, id);
            }
        }
    }

    fn note_push_pull(&mut self, took: Duration) {
        self.stats.push_pulls_asked += 1;
        self.stats.push_pull_time += took;
    }

    /// Writes a message to a peer that has what `theirs` says.
    fn write(&mut self, id: StreamId, plain: &[u8], ours: bool, theirs: Codecs) {
        let algorithm = self.algorithm(theirs);
        let out = self.sealed(plain, ours, algorithm, MESSAGE_MAX);
        self.stats.special_sent += u64::from(self.config.compression && algorithm != Algorithm::Lzw);
        self.stats.stream_sent += out.len() as u64;
        self.act(id, StreamAction::Write(out));
    }

    /// The bytes of a message on the wire; compressed, unless that makes them more than `most`, which is then better
    /// left alone.
    fn sealed(&mut self, plain: &[u8], ours: bool, algorithm: Algorithm, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let nonce = self.nonce.next(&mut self.rng);
        let mut seal = StreamSeal {
            label: &self.config.label,
            send_label_header: ours,
            key: if self.config.verify_outgoing { self.keyring.primary() } else { None },
            version: self.encryption_version(),
            compress: self.config.compression.then_some(algorithm),
        };
        seal_stream(plain, &seal, &nonce, &mut self.compressor, &mut out);
        if seal.compress.is_some() && out.len() > most {
            seal.compress = None;
            seal_stream(plain, &seal, &self.nonce.next(&mut self.rng), &mut self.compressor, &mut out);
        }
        out
    }

    pub(crate) fn abort(&mut self, id: StreamId) {
        if let Some(exchange) = self.streams.remove(&id) {
            self.timers.cancel(exchange.timer);
            self.act(id, StreamAction::Abort);
        }
    }

    fn act(&mut self, id: StreamId, action: StreamAction) {
        self.outputs.push_back(Output::Stream { id, action });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn what_compression_makes_too_large_for_peers_goes_as_it_is() {
        let config = Config::lan("a".into(), Address::new(&[10, 0, 0, 1], 1));
        let mut node = Gossip::new(config, [0; 32], Instant::ZERO, &mut ()).unwrap();
        let mut rng = crate::Rng::from_seed([1; 32]);
        let noise: Vec<u8> = (0..1000).map(|_| rng.next_u32() as u8).collect();
        assert!(node.sealed(&noise, true, Algorithm::Lzw, 2000).len() > 1100, "compression makes it larger");
        assert_eq!(node.sealed(&noise, true, Algorithm::Lzw, 1010), noise);
    }
}
