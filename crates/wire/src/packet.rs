//! Datagrams: the layers around gossip messages, taken off and put on in their order. What the messages inside say
//! is not read here.
//!
//! Layers from outside to inside (gossip.md §1.2): label, encryption, checksum, compression, compound.

use alloc::vec::Vec;

use crate::checksum::{self, Checksum};
use crate::compress::{Algorithm, Compressor};
use crate::encrypt::{self, Key, Version};
use crate::error::Malformed;
use crate::label::{check_label, put_label, split_label};
use crate::swim::Kind;

/// How many layers of compound and compression are taken off at most. Go sends two; more serve only to waste time.
pub const MAX_NESTING: usize = 4;

/// How many parts a compound message is given at most. The format has room for 255, but peers before 0.2.4 cannot
/// read more than this (gossip.md §1.7).
pub const MAX_PARTS: usize = 127;

/// How large a buffer may stay between packets. Honest packets need less; what a hostile one took is given back.
const KEPT_BYTES: usize = 128 << 10;

/// What a receiver expects of datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'k> {
    /// Our label; empty for none.
    pub label: &'k [u8],
    /// An outer layer has taken the label off already.
    pub skip_label_check: bool,
    /// The keys to try, in this order. Without any, nothing is decrypted.
    pub keys: &'k [Key],
    /// Refuse what cannot be decrypted. If off, such a packet is taken as plain.
    pub verify_incoming: bool,
    /// Take encryption version 0 too.
    pub accept_v0: bool,
}

/// A datagram without its outer layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'b> {
    /// What [`Unpacker::leaves`] takes.
    pub payload: &'b [u8],
    /// Whether it came encrypted.
    pub encrypted: bool,
}

/// Takes label, encryption and checksum off a datagram, in place.
///
/// # Errors
/// The label errors, those of [`encrypt::open`], [`Malformed::Checksum`] and the like. The datagram is to be dropped.
pub fn open_packet<'b>(bytes: &'b mut [u8], cfg: &Inbound<'_>) -> Result<Opened<'b>, Malformed> {
    let (label, rest) = split_label(bytes)?;
    check_label(label, cfg.label, cfg.skip_label_check)?;
    let rest = bytes.len() - rest.len();
    let sealed = &mut bytes[rest..];
    let (plain, encrypted) = if cfg.keys.is_empty() {
        (0..sealed.len(), false)
    } else {
        match encrypt::open_range(cfg.keys, cfg.accept_v0, cfg.label, sealed) {
            Ok(plain) => (plain, true),
            Err(error) if cfg.verify_incoming => return Err(error),
            Err(_) => (0..sealed.len(), false),
        }
    };
    Ok(Opened { payload: checksum::strip(&sealed[plain])?, encrypted })
}

/// Parts of one datagram that are decompressed. Each may be of a few bytes and cost as much as a large one.
const DECOMPRESSIONS_MAX: usize = 16;

/// One message found in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// A message that is legal in a datagram: its type and its body.
    Message(Kind, &'a [u8]),
    /// Something that is dropped, and why.
    Malformed(Malformed),
}

/// Takes compound and compression layers apart, with buffers that are kept from packet to packet.
#[derive(Debug, Default)]
pub struct Unpacker {
    compressor: Compressor,
    /// The decompressed message of each nesting level.
    inflated: [Vec<u8>; MAX_NESTING],
}

impl Unpacker {
    /// Calls `f` for every message in `payload`, and for everything that is dropped on the way. Returns the number of
    /// messages dropped, as far as it can be known.
    ///
    /// Of several messages the last comes first. Senders put what is newest in front, and the reference's receivers
    /// begin at the end: so two events that were fired one after the other mostly come in that order.
    ///
    /// `max_inflated` bounds the bytes that the whole datagram may decompress to, all its parts together. Senders compress
    /// once, around everything; after the first part that cannot be decompressed, and after the sixteenth that can, no
    /// other is.
    ///
    /// Nothing is allocated unless there is compression, and nothing then after the buffers have grown.
    pub fn leaves(&mut self, payload: &[u8], max_inflated: usize, f: &mut dyn FnMut(Leaf<'_>)) -> usize {
        let mut walk = Walk {
            compressor: &mut self.compressor,
            budget: max_inflated,
            decompressions: DECOMPRESSIONS_MAX,
            dropped: 0,
            f,
        };
        walk.message(payload, &mut self.inflated);
        let dropped = walk.dropped;
        for buffer in &mut self.inflated {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        dropped
    }
}

struct Walk<'w> {
    compressor: &'w mut Compressor,
    /// What may still be decompressed.
    budget: usize,
    /// And in how many pieces.
    decompressions: usize,
    dropped: usize,
    f: &'w mut dyn FnMut(Leaf<'_>),
}

impl Walk<'_> {
    /// One message. The number of `buffers` is that of the layers which may still be inside it.
    fn message(&mut self, message: &[u8], buffers: &mut [Vec<u8>]) {
        let Some((&kind, body)) = message.split_first() else {
            return self.drop(Malformed::EmptyMessage, 1);
        };
        match Kind::from_byte(kind) {
            None => self.drop(Malformed::UnknownKind(kind), 1),
            Some(Kind::Compound) => match buffers.split_first_mut() {
                Some((_, inner)) => self.compound(body, inner),
                None => self.drop(Malformed::NestedTooDeep, 1),
            },
            Some(Kind::Compress) => match buffers.split_first_mut() {
                Some((buffer, inner)) => self.compressed(body, buffer, inner),
                None => self.drop(Malformed::NestedTooDeep, 1),
            },
            Some(
                kind @ (Kind::Ping
                | Kind::IndirectPing
                | Kind::Ack
                | Kind::Suspect
                | Kind::Alive
                | Kind::Dead
                | Kind::User
                | Kind::Nack),
            ) => (self.f)(Leaf::Message(kind, body)),
            Some(
                kind @ (Kind::PushPull
                | Kind::Encrypt
                | Kind::HasCrc
                | Kind::Err
                | Kind::HasChecksum
                | Kind::HasLabel),
            ) => self.drop(Malformed::UnexpectedKind(kind), 1),
        }
    }

    fn compound(&mut self, body: &[u8], buffers: &mut [Vec<u8>]) {
        let Some((&count, rest)) = body.split_first() else {
            return self.drop(Malformed::CompoundCount, 1);
        };
        let count = usize::from(count);
        let Some((lengths, parts)) = rest.split_at_checked(2 * count) else {
            return self.drop(Malformed::CompoundLengths, count);
        };
        let lengths = lengths.chunks_exact(2).map(|n| usize::from(u16::from_be_bytes([n[0], n[1]])));
        let (mut whole, mut end) = (0, 0);
        for length in lengths.clone() {
            if end + length > parts.len() {
                let lost = count - whole;
                self.drop(Malformed::CompoundTruncated(lost), lost);
                break;
            }
            (whole, end) = (whole + 1, end + length);
        }
        for length in lengths.take(whole).rev() {
            let (before, part) = parts[..end].split_at(end - length);
            end = before.len();
            self.message(part, buffers);
        }
    }

    fn compressed(&mut self, body: &[u8], buffer: &mut Vec<u8>, buffers: &mut [Vec<u8>]) {
        let Some(left) = self.decompressions.checked_sub(1) else {
            return self.drop(Malformed::InflatedTooLarge(0), 1);
        };
        self.decompressions = left;
        match self.compressor.decompress(body, self.budget, buffer) {
            Ok(_) => {
                self.budget -= buffer.len();
                self.message(buffer, buffers);
            }
            Err(error) => {
                // What failed may have cost as much as what was left: that was the last of it.
                self.budget = 0;
                self.drop(error, 1);
            }
        }
    }

    fn drop(&mut self, why: Malformed, messages: usize) {
        self.dropped += messages;
        (self.f)(Leaf::Malformed(why));
    }
}

/// Appends a compound message of `parts`, each a complete message with its type byte.
///
/// # Panics
/// If there are more than [`MAX_PARTS`], or one is empty or longer than 65535 bytes: no peer could read it.
pub fn pack_compound(parts: &[&[u8]], out: &mut Vec<u8>) {
    assert!(parts.len() <= MAX_PARTS, "{} parts in a compound message", parts.len());
    out.extend_from_slice(&[Kind::Compound as u8, parts.len() as u8]);
    for part in parts {
        assert!(!part.is_empty(), "an empty part in a compound message");
        let length = u16::try_from(part.len()).expect("parts of a compound message have 65535 bytes at most");
        out.extend_from_slice(&length.to_be_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// What a sender puts around a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Outbound<'k> {
    /// Our label; empty for none, at most 255 bytes.
    pub label: &'k [u8],
    /// The key to encrypt with; `None` for plain traffic.
    pub key: Option<&'k Key>,
    /// The version of the encryption envelope.
    pub version: Version,
    /// Compress with this, if that makes the packet strictly smaller. Others than the reference's only for peers that
    /// are known to have them.
    pub compress: Option<Algorithm>,
    /// Add this checksum. The reference's only for peers that are known to understand it, those with gossip protocol 5
    /// (§1.5), others only for those that are known to have them.
    pub checksum: Option<Checksum>,
}

/// Puts all layers around `payload`, a message or a compound of them. `out` is cleared first.
///
/// `nonce` matters only when there is a key, and must then never have served under it before.
pub fn seal_packet(
    payload: &[u8],
    cfg: &Outbound<'_>,
    nonce: &[u8; 12],
    compressor: &mut Compressor,
    out: &mut Vec<u8>,
) {
    out.clear();
    put_label(out, cfg.label);
    if cfg.key.is_some() {
        encrypt::begin(cfg.version, nonce, out);
    }
    let plain = out.len();
    if let Some(checksum) = cfg.checksum {
        checksum.begin(out);
    }
    let message = out.len();
    if let Some(algorithm) = cfg.compress {
        compressor.compress(algorithm, payload, out);
    }
    if cfg.compress.is_none() || out.len() - message >= payload.len() {
        out.truncate(message);
        out.extend_from_slice(payload);
    }
    if let Some(checksum) = cfg.checksum {
        checksum.finish(out, message);
    }
    if let Some(key) = cfg.key {
        encrypt::finish(key, cfg.version, nonce, cfg.label, out, plain);
    }
}
