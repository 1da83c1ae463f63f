//! What can be wrong with received bytes. It names refusals; it does not decide what a node does about them.

use crate::checksum::Checksum;
use crate::compress::Algorithm;
use crate::swim::Kind;

/// Why received bytes were refused.
///
/// Unless a variant says otherwise the effect is the same everywhere: the message (or the one part of a packet)
/// is dropped, nothing that was decoded before it is undone, and the bytes themselves are left as they were.
/// On a stream a refusal ends the connection.
///
/// The texts are lower case without a full stop. Where the reference implementation sends the text of such an
/// error to its peer (gossip.md §2.8) the wording follows it, because operators search for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    // MessagePack values
    /// The input ends inside a value. On a stream this means "not yet": more bytes may complete it.
    #[error("the input ends inside a value")]
    Truncated,
    /// A value of another type than the field has; carries the first byte of the value.
    #[error("a value of the wrong type, first byte {0:#04x}")]
    WrongType(u8),
    /// An integer that does not fit the field.
    #[error("the integer {0} is out of range")]
    OutOfRange(u64),
    /// A negative integer for an unsigned field.
    #[error("the negative integer {0} for an unsigned field")]
    NegativeForUnsigned(i64),
    /// The byte `c1`, which MessagePack leaves undefined.
    #[error("the reserved byte 0xc1")]
    Reserved,
    /// A map key that is not a string; carries its first byte.
    #[error("a map key that is not a string, first byte {0:#04x}")]
    BadKey(u8),

    // label header, gossip.md §1.3
    /// A label header shorter than it announces.
    #[error("cannot decode label; packet has been truncated")]
    LabelTruncated,
    /// A label header that announces a label of no bytes.
    #[error("label header cannot be empty when present")]
    LabelEmpty,
    /// The label is not ours, or there is one where none is configured, or none where one is.
    #[error("unacceptable label")]
    LabelMismatch,
    /// A label header although the check is off, which says that an outer layer has taken it away already.
    #[error("unexpected double label header")]
    LabelDouble,

    // encryption envelope, gossip.md §1.4
    /// No bytes where an encrypted payload belongs.
    #[error("cannot decrypt empty payload")]
    EncryptedEmpty,
    /// Fewer bytes than version, nonce and tag take; carries how many there were.
    #[error("payload is too small to decrypt: {0}")]
    EncryptedTooShort(usize),
    /// An encryption version that nobody has defined.
    #[error("unsupported encryption version {0}")]
    EncryptionVersion(u8),
    /// Encryption version 0 where it is not allowed.
    #[error("encryption version 0 is not accepted")]
    EncryptionVersion0,
    /// None of the keys authenticates the message. Wrong key, other label and changed bytes look alike.
    #[error("no installed keys could decrypt the message")]
    NoKeyFits,
    /// The padding of an authentic version 0 message contradicts itself.
    #[error("invalid padding in the decrypted message")]
    BadPadding,
    /// An encrypted stream whose plaintext has no bytes, not even a type byte.
    #[error("decrypted message is empty")]
    DecryptedEmpty,
    /// An encrypted stream, but there are no keys.
    #[error("remote state is encrypted and encryption is not configured")]
    EncryptionNotConfigured,
    /// A plain stream, but there are keys and incoming traffic has to be encrypted.
    #[error("encryption is configured but remote state is not encrypted")]
    EncryptionRequired,

    // checksum and compound, gossip.md §1.5 and §1.7
    /// The checksum does not match what follows it.
    #[error("invalid checksum: {announced:#010x} announced, {actual:#010x} found")]
    Checksum {
        /// What the header says.
        announced: u64,
        /// What the bytes after the header give.
        actual: u64,
    },
    /// A checksum that nobody has defined; carries the algorithm byte.
    #[error("unknown checksum algorithm {0}")]
    ChecksumAlgorithm(u8),
    /// A checksum that this build does not have. The sender takes us for a node that does, until it pings us next.
    #[error("unknown checksum algorithm {byte}: it is {0}, which a build with the feature '{feature}' has", byte = *.0 as u8, feature = .0.feature().unwrap_or_default())]
    ChecksumNotBuilt(Checksum),
    /// A compound message without its count byte.
    #[error("missing compound length byte")]
    CompoundCount,
    /// A compound message that ends inside its list of lengths. None of its parts is used.
    #[error("truncated len slice")]
    CompoundLengths,
    /// A compound message that ends inside one of its parts; carries how many parts, that one and all later ones,
    /// are lost. The earlier ones count.
    #[error("compound request had {0} truncated messages")]
    CompoundTruncated(usize),
    /// A message of no bytes: an empty datagram, compound part, decompression result or Serf message.
    #[error("empty message")]
    EmptyMessage,
    /// More compound and compression layers inside each other than [`MAX_NESTING`](crate::packet::MAX_NESTING).
    #[error("too many nested layers")]
    NestedTooDeep,

    // compression, gossip.md §1.6
    /// A compression algorithm that nobody has defined.
    #[error("cannot decompress unknown algorithm {0}")]
    CompressionAlgorithm(u8),
    /// A compression algorithm that this build does not have. The sender takes us for a node that does, until it pings
    /// us next.
    #[error("cannot decompress unknown algorithm {byte}: it is {0}, which a build with the feature '{feature}' has", byte = *.0 as u8, feature = .0.feature().unwrap_or_default())]
    CompressionNotBuilt(Algorithm),
    /// Bytes that are not an LZW stream, or one that stops before its end code.
    #[error("invalid lzw data")]
    BadLzw,
    /// The same of another algorithm; also a plain length that the data cannot bear out.
    #[error("invalid {0} data")]
    BadCompression(Algorithm),
    /// The decompressed message is longer than allowed; carries the limit. Decompression stopped there.
    #[error("decompressed message is larger than limit ({0})")]
    InflatedTooLarge(usize),
    /// A compressed stream message that holds nothing, not even a type byte.
    #[error("decompressed message is empty")]
    InflatedEmpty,

    // message types, gossip.md §1.1
    /// A type byte that nobody has defined.
    #[error("unknown message type {0}")]
    UnknownKind(u8),
    /// A known message in a place where it is not legal.
    #[error("message of type {} in the wrong place", *.0 as u8)]
    UnexpectedKind(Kind),

    // sizes on streams, gossip.md §1.10
    /// A message on a stream that is, or announces to be, longer than allowed; carries how long at least.
    #[error("remote node state is larger than limit ({0})")]
    FrameTooLarge(u32),
    /// A negative or excessive number of nodes in a push/pull.
    #[error("invalid push/pull node count {0}")]
    NodeCount(i64),
    /// A negative or excessive length of the user state in a push/pull.
    #[error("invalid push/pull user state length {0}")]
    UserStateLength(i64),
    /// A negative or excessive length of a user message on a stream.
    #[error("invalid user message length {0}")]
    UserMessageLength(i64),

    // Serf's own messages, serf.md §1, §2, §9
    /// A Serf type byte that nobody has defined.
    #[error("unknown serf message type {0}")]
    UnknownSerfKind(u8),
    /// A message of a kind that travels in datagrams, but longer than any; carries how long.
    #[error("message of {0} bytes is longer than a datagram")]
    TooLong(usize),
    /// A query filter of an unknown type. The filter does not match.
    #[error("unknown filter type {0}")]
    UnknownFilter(u8),
    /// An ack payload that begins with another version than 1. The ack itself stays good.
    #[error("unsupported ping payload version {0}")]
    PingVersion(u8),
}
