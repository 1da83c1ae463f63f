//! Reliable connections: one message per direction, read from bytes as they arrive and written in one piece. Opening,
//! reading, timing and closing the connection is not done here.
//!
//! Layers from outside to inside: label, encryption, compression, message (gossip.md §2).

use alloc::vec::Vec;

use crate::codecs::Codecs;
use crate::compress::{Algorithm, Compressor};
use crate::encrypt::{self, Key, Version};
use crate::error::Malformed;
use crate::label::{MAX_LABEL, check_label, put_label, split_label};
use crate::msgpack::{Reader, Scan};
use crate::swim::{Ack, ErrReply, Kind, NodeState, Ping, PushPullHeader, UserHeader};

/// Type byte and length of an encrypted message; authenticated together with the label.
const FRAME_HEADER_BYTES: usize = 5;

/// How much a peer may send, gossip.md §1.10. All are inclusive, in bytes unless noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// An encrypted message. Default 20 MiB.
    pub frame: usize,
    /// A message in the clear: as it arrived, decrypted or decompressed. Default 40 MiB. A compressed one may have
    /// half as much again before decompression, because LZW makes noise that much longer at worst.
    pub inflated: usize,
    /// The number of nodes in a push/pull. Default 1 048 576.
    pub nodes: usize,
    /// The user state of a push/pull. Default 20 MiB.
    pub user_state: usize,
    /// A user message. Default 20 MiB.
    pub user_message: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            frame: 20 << 20,
            inflated: 40 << 20,
            nodes: 1 << 20,
            user_state: 20 << 20,
            user_message: 20 << 20,
        }
    }
}

/// What a receiver expects of a stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamRules<'k> {
    /// Our label; empty for none.
    pub label: &'k [u8],
    /// An outer layer has taken the label off already.
    pub skip_label_check: bool,
    /// The keys to try, in this order.
    pub keys: &'k [Key],
    /// Refuse plain messages when there are keys.
    pub verify_incoming: bool,
    /// Take encryption version 0 too.
    pub accept_v0: bool,
    /// Whether the stream begins with a label header: true for accepted connections, false for replies, which only
    /// have the label in their authentication data.
    pub expect_label_header: bool,
    /// How much the peer may send.
    pub limits: StreamLimits,
}

/// Why a stream is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct StreamError {
    /// What is wrong.
    pub what: Malformed,
    /// Whether to send an [`ErrReply`] with the text of `what` before closing, as the reference does for everything
    /// that fails in the encryption and compression layers (gossip.md §2.1). Otherwise just close.
    pub reply: bool,
}

/// A message from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// A request for an ack.
    Ping(Ping<'a>),
    /// The reply to a ping.
    Ack(Ack<'a>),
    /// The reply to a message that could not be read.
    Err(ErrReply<'a>),
    /// A message for the layer above, perhaps empty. It has no reply.
    User(&'a [u8]),
    /// All that a node knows; request and reply look the same.
    PushPull(PushPull<'a>),
}

/// The two parts of a push/pull, gossip.md §2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushPull<'a> {
    /// Whether this is a join rather than the periodic exchange.
    pub join: bool,
    /// What the sender has beyond the reference.
    pub codecs: Codecs,
    count: usize,
    nodes: &'a [u8],
    user_state: &'a [u8],
}

impl<'a> PushPull<'a> {
    /// The nodes, in the order of the sender. Every entry has been checked, so errors do not happen.
    pub fn nodes(&self) -> impl Iterator<Item = Result<NodeState<'a>, Malformed>> + use<'a> {
        let mut r = Reader::new(self.nodes);
        (0..self.count).map(move |_| NodeState::read(&mut r))
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.count
    }

    /// What the layer above sends along; opaque here, perhaps empty.
    pub fn user_state(&self) -> &'a [u8] {
        self.user_state
    }
}

/// Reads the one message of one direction of a stream.
///
/// It keeps what has arrived and how far it got, so bytes are looked at once however they are cut into pieces. An
/// announced length is compared with the limits at once and never reserved.
#[derive(Debug, Default)]
pub struct StreamReader {
    /// What has arrived. Once decrypted, the plaintext stays in its place.
    raw: Vec<u8>,
    /// The decompressed message, type byte included.
    inflated: Vec<u8>,
    stage: Stage,
    failed: Option<StreamError>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    /// Waiting for the label header, if there is one.
    #[default]
    Label,
    /// Waiting for the outermost type byte, at this position.
    Outer(usize),
    /// Waiting for all of an encrypted message, which begins at this position.
    Frame(usize),
    /// At a type byte, behind encryption; it is there.
    Inner(Source, usize),
    /// Waiting for the end of a compress message, whose body begins at this position.
    Compressed(Source, usize, Scan),
    /// Waiting for the end of the message.
    Body(Source, Kind, Progress),
    /// The message is complete.
    Done(Source, Kind, Progress),
}

/// Where the layer in question is.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// In `raw`, as it arrives.
    Arriving,
    /// In `raw` up to this position and all there: it was decrypted.
    Decrypted(usize),
    /// In `inflated` and all there.
    Inflated,
}

/// How much of a message's body has been seen.
#[derive(Debug, Clone, Copy)]
enum Progress {
    /// Inside the first value, which begins at `start`: the whole message or its header.
    Head { start: usize, scan: Scan },
    /// Inside the nodes of a push/pull. They begin at `start`; the one after `seen` others begins at `node`.
    Nodes { header: PushPullHeader, start: usize, seen: i64, node: usize, scan: Scan },
    /// Inside the raw bytes from `tail` to `end`. The nodes before them, if any, begin at `start`.
    Tail { header: PushPullHeader, start: usize, tail: usize, end: usize },
}

impl StreamReader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream; `None` means that the message is not complete yet. If the stream ends
    /// then, it ends too early, and the connection is closed without a reply.
    ///
    /// The rules must be the same every time, and the label in them 255 bytes long at most. Bytes behind the message
    /// are ignored. After a message or an error, further calls ignore their bytes and return the same again.
    ///
    /// # Errors
    /// See [`StreamError`]; the connection is of no use any more. A message that is complete by the count of an
    /// outer layer but not by its own gives [`Malformed::Truncated`].
    pub fn push(
        &mut self,
        bytes: &[u8],
        rules: &StreamRules<'_>,
        compressor: &mut Compressor,
    ) -> Result<Option<StreamMessage<'_>>, StreamError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !matches!(self.stage, Stage::Done(..)) {
            self.raw.extend_from_slice(bytes);
        }
        loop {
            if let Stage::Done(source, kind, progress) = self.stage {
                return message(self.source(source), kind, progress).map(Some).map_err(silent);
            }
            match self.step(rules, compressor) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    *self = Self { failed: Some(error), ..Self::default() };
                    return Err(error);
                }
            }
        }
    }

    /// How many bytes are held.
    pub fn buffered(&self) -> usize {
        self.raw.len() + self.inflated.len()
    }

    /// Does what can be done in the current stage; false means that more bytes are needed.
    fn step(&mut self, rules: &StreamRules<'_>, compressor: &mut Compressor) -> Result<bool, StreamError> {
        match self.stage {
            Stage::Label => self.label(rules).map_err(silent),
            Stage::Outer(at) => self.outer(at, rules).map_err(answered),
            Stage::Frame(at) => self.frame(at, rules).map_err(answered),
            Stage::Inner(source, at) => self.inner(source, at).map_err(silent),
            Stage::Compressed(source, start, scan) => {
                self.compressed(source, start, scan, rules, compressor).map_err(answered)
            }
            Stage::Body(source, kind, progress) => {
                self.body(source, kind, progress, &rules.limits).map_err(silent)
            }
            Stage::Done(..) => Ok(true),
        }
    }

    fn label(&mut self, rules: &StreamRules<'_>) -> Result<bool, Malformed> {
        if !rules.expect_label_header {
            self.stage = Stage::Outer(0);
            return Ok(true);
        }
        if self.raw.is_empty() {
            return Ok(false);
        }
        let (label, rest) = match split_label(&self.raw) {
            Ok(split) => split,
            Err(Malformed::LabelTruncated) => return Ok(false),
            Err(error) => return Err(error),
        };
        check_label(label, rules.label, rules.skip_label_check)?;
        self.stage = Stage::Outer(self.raw.len() - rest.len());
        Ok(true)
    }

    fn outer(&mut self, at: usize, rules: &StreamRules<'_>) -> Result<bool, Malformed> {
        let Some(&kind) = self.raw.get(at) else {
            return Ok(false);
        };
        self.stage = match (kind == Kind::Encrypt as u8, rules.keys.is_empty()) {
            (true, true) => return Err(Malformed::EncryptionNotConfigured),
            (true, false) => Stage::Frame(at),
            (false, false) if rules.verify_incoming => return Err(Malformed::EncryptionRequired),
            (false, _) => Stage::Inner(Source::Arriving, at),
        };
        Ok(true)
    }

    fn frame(&mut self, at: usize, rules: &StreamRules<'_>) -> Result<bool, Malformed> {
        let Some((header, rest)) = self.raw[at..].split_first_chunk_mut::<FRAME_HEADER_BYTES>() else {
            return Ok(false);
        };
        let [_, announced @ ..] = *header;
        let announced = u32::from_be_bytes(announced);
        if u64::from(announced) > rules.limits.frame as u64 {
            return Err(Malformed::FrameTooLarge(announced));
        }
        let Some(sealed) = rest.get_mut(..announced as usize) else {
            return Ok(false);
        };
        let aad = FrameAad::new(header, rules.label);
        let plain = encrypt::open_range(rules.keys, rules.accept_v0, aad.as_bytes(), sealed)?;
        if plain.is_empty() {
            return Err(Malformed::DecryptedEmpty);
        }
        let base = at + FRAME_HEADER_BYTES;
        self.stage = Stage::Inner(Source::Decrypted(base + plain.end), base + plain.start);
        Ok(true)
    }

    fn inner(&mut self, source: Source, at: usize) -> Result<bool, Malformed> {
        let kind = self.source(source)[at];
        let start = at + 1;
        let scan = Scan::new(start);
        self.stage = match (Kind::from_byte(kind).ok_or(Malformed::UnknownKind(kind))?, source) {
            (Kind::Compress, Source::Arriving | Source::Decrypted(_)) => {
                Stage::Compressed(source, start, scan)
            }
            (kind @ (Kind::Ping | Kind::Ack | Kind::Err | Kind::User | Kind::PushPull), _) => {
                Stage::Body(source, kind, Progress::Head { start, scan })
            }
            (kind, _) => return Err(Malformed::UnexpectedKind(kind)),
        };
        Ok(true)
    }

    fn compressed(
        &mut self,
        source: Source,
        start: usize,
        mut scan: Scan,
        rules: &StreamRules<'_>,
        compressor: &mut Compressor,
    ) -> Result<bool, Malformed> {
        let limit = rules.limits.inflated;
        if let Source::Arriving = source {
            // Twelve bits for each byte, and something for the map.
            let max = start.saturating_add(limit).saturating_add(limit / 2 + 64);
            let complete = scan.advance(&self.raw, max)?;
            self.stage = Stage::Compressed(source, start, scan);
            if !complete {
                return Ok(false);
            }
        }
        let mut inflated = core::mem::take(&mut self.inflated);
        compressor.decompress(&self.source(source)[start..], limit, &mut inflated)?;
        if inflated.is_empty() {
            return Err(Malformed::InflatedEmpty);
        }
        self.inflated = inflated;
        self.raw = Vec::new();
        self.stage = Stage::Inner(Source::Inflated, 0);
        Ok(true)
    }

    fn body(
        &mut self,
        source: Source,
        kind: Kind,
        mut progress: Progress,
        limits: &StreamLimits,
    ) -> Result<bool, Malformed> {
        let complete = progress.advance(self.source(source), kind, limits)?;
        if complete {
            // What cannot be read is found out now, while an error can still take everything away.
            message(self.source(source), kind, progress)?;
        }
        self.stage = match (complete, source) {
            (true, _) => Stage::Done(source, kind, progress),
            (false, Source::Arriving) => Stage::Body(source, kind, progress),
            (false, _) => return Err(Malformed::Truncated),
        };
        Ok(complete)
    }

    fn source(&self, source: Source) -> &[u8] {
        match source {
            Source::Arriving => &self.raw,
            Source::Decrypted(end) => &self.raw[..end],
            Source::Inflated => &self.inflated,
        }
    }
}

impl Progress {
    /// Goes on as far as the bytes reach; true at the end of the message.
    fn advance(&mut self, bytes: &[u8], kind: Kind, limits: &StreamLimits) -> Result<bool, Malformed> {
        loop {
            match *self {
                Self::Head { start, mut scan } => {
                    let complete = scan.advance(bytes, start.saturating_add(limits.inflated))?;
                    *self = Self::Head { start, scan };
                    if !complete {
                        return Ok(false);
                    }
                    let mut r = Reader::at(bytes, start);
                    match kind {
                        Kind::User => {
                            let UserHeader { len } = UserHeader::read(&mut r)?;
                            let len =
                                within(len, limits.user_message).ok_or(Malformed::UserMessageLength(len))?;
                            *self = Self::tail(PushPullHeader::default(), r.position(), r.position(), len);
                        }
                        Kind::PushPull => *self = Self::nodes(&mut r, start, limits)?,
                        _ => return Ok(true),
                    }
                }
                Self::Nodes { header, start, seen, node, .. } if seen == header.nodes => {
                    *self = Self::tail(header, start, node, header.user_state_len as usize);
                }
                Self::Nodes { header, start, seen, node, mut scan } => {
                    let complete = scan.advance(bytes, start.saturating_add(limits.inflated))?;
                    *self = Self::Nodes { header, start, seen, node, scan };
                    if !complete {
                        return Ok(false);
                    }
                    NodeState::read(&mut Reader::at(bytes, node))?;
                    let (node, scan) = (scan.position(), Scan::new(scan.position()));
                    *self = Self::Nodes { header, start, seen: seen + 1, node, scan };
                }
                Self::Tail { end, .. } => return Ok(bytes.len() >= end),
            }
        }
    }

    /// After the header of a push/pull, which begins at `start`.
    fn nodes(r: &mut Reader<'_>, start: usize, limits: &StreamLimits) -> Result<Self, Malformed> {
        let header = PushPullHeader::read(r)?;
        let nodes = within(header.nodes, limits.nodes).ok_or(Malformed::NodeCount(header.nodes))?;
        let state = header.user_state_len;
        let state = within(state, limits.user_state).ok_or(Malformed::UserStateLength(state))?;
        let node = r.position();
        // A node has one byte at least.
        let least = (node - start) as u64 + nodes as u64 + state as u64;
        if least > limits.inflated as u64 {
            let least = u32::try_from(least).unwrap_or(u32::MAX);
            return Err(Malformed::FrameTooLarge(least));
        }
        Ok(Self::Nodes { header, start: node, seen: 0, node, scan: Scan::new(node) })
    }

    fn tail(header: PushPullHeader, start: usize, tail: usize, length: usize) -> Self {
        Self::Tail { header, start, tail, end: tail.saturating_add(length) }
    }
}

/// The message whose end has been found. Its own fields are read now.
fn message(bytes: &[u8], kind: Kind, progress: Progress) -> Result<StreamMessage<'_>, Malformed> {
    match (kind, progress) {
        (Kind::Ping, Progress::Head { start, .. }) => {
            Ping::read(&mut Reader::at(bytes, start)).map(StreamMessage::Ping)
        }
        (Kind::Ack, Progress::Head { start, .. }) => {
            Ack::read(&mut Reader::at(bytes, start)).map(StreamMessage::Ack)
        }
        (Kind::Err, Progress::Head { start, .. }) => {
            ErrReply::read(&mut Reader::at(bytes, start)).map(StreamMessage::Err)
        }
        (Kind::User, Progress::Tail { tail, end, .. }) => Ok(StreamMessage::User(&bytes[tail..end])),
        (Kind::PushPull, Progress::Tail { header, start, tail, end }) => {
            Ok(StreamMessage::PushPull(PushPull {
                join: header.join,
                codecs: header.codecs,
                count: header.nodes as usize,
                nodes: &bytes[start..tail],
                user_state: &bytes[tail..end],
            }))
        }
        _ => unreachable!("only these kinds get as far, and they end like this"),
    }
}

/// An announced length or count as a number, if it is not negative and within the limit.
fn within(announced: i64, limit: usize) -> Option<usize> {
    usize::try_from(announced).ok().filter(|&announced| announced <= limit)
}

fn silent(what: Malformed) -> StreamError {
    StreamError { what, reply: false }
}

/// An error of the outer layers. The peer hears of it, unless its bytes just end too early.
fn answered(what: Malformed) -> StreamError {
    StreamError { what, reply: what != Malformed::Truncated }
}

/// What an encrypted message on a stream authenticates besides itself: its header and the label.
struct FrameAad {
    bytes: [u8; FRAME_HEADER_BYTES + MAX_LABEL],
    length: usize,
}

impl FrameAad {
    fn new(header: &[u8; FRAME_HEADER_BYTES], label: &[u8]) -> Self {
        let mut bytes = [0; FRAME_HEADER_BYTES + MAX_LABEL];
        let length = FRAME_HEADER_BYTES + label.len();
        bytes[..FRAME_HEADER_BYTES].copy_from_slice(header);
        bytes[FRAME_HEADER_BYTES..length].copy_from_slice(label);
        Self { bytes, length }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What a sender puts around a message on a stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamSeal<'k> {
    /// Our label; empty for none, at most 255 bytes. It is authenticated whether or not it is sent.
    pub label: &'k [u8],
    /// Begin with the label header: true for connections we open, false for replies.
    pub send_label_header: bool,
    /// The key to encrypt with; `None` for plain traffic.
    pub key: Option<&'k Key>,
    /// The version of the encryption envelope.
    pub version: Version,
    /// Compress with this, even if that makes the message longer. That is how streams are done (gossip.md §2.4). Others
    /// than the reference's only for peers that are known to have them.
    pub compress: Option<Algorithm>,
}

/// Puts all layers around `plain`, a message with its type byte. `out` is cleared first.
///
/// `nonce` matters only when there is a key, and must then never have served under it before.
///
/// # Panics
/// If the result exceeds 4 GiB. Peers refuse much less, see [`StreamLimits`].
pub fn seal_stream(
    plain: &[u8],
    cfg: &StreamSeal<'_>,
    nonce: &[u8; 12],
    compressor: &mut Compressor,
    out: &mut Vec<u8>,
) {
    out.clear();
    if cfg.send_label_header {
        put_label(out, cfg.label);
    }
    let frame = out.len();
    if cfg.key.is_some() {
        out.extend_from_slice(&[Kind::Encrypt as u8, 0, 0, 0, 0]);
        encrypt::begin(cfg.version, nonce, out);
    }
    let message = out.len();
    match cfg.compress {
        Some(algorithm) => compressor.compress(algorithm, plain, out),
        None => out.extend_from_slice(plain),
    }
    if let Some(key) = cfg.key {
        let length = encrypt::sealed_length(cfg.version, out.len() - message);
        let length = u32::try_from(length).expect("an encrypted message has less than 4 GiB").to_be_bytes();
        let header = [Kind::Encrypt as u8, length[0], length[1], length[2], length[3]];
        out[frame..frame + FRAME_HEADER_BYTES].copy_from_slice(&header);
        let aad = FrameAad::new(&header, cfg.label);
        encrypt::finish(key, cfg.version, nonce, aad.as_bytes(), out, message);
    }
}
