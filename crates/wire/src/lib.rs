//! Every byte that crosses a socket, and nothing else: no sockets, no clock, no randomness, no state of a node.
//!
//! From the outside to the inside, which is also the order in which to read:
//!
//! | Module | What it knows |
//! |---|---|
//! | [`packet`] | datagrams: label, encryption, checksum, compression, compound, in their order |
//! | [`stream`] | reliable connections: the same for one message at a time, from bytes as they arrive |
//! | [`label`], [`encrypt`], [`checksum`], [`compress`] | one layer each |
//! | [`codecs`] | what of the last two a node has beyond the reference |
//! | [`swim`] | the messages of the gossip protocol |
//! | [`serf`] | the messages that Serf sends inside those |
//! | [`tags`], [`coordinate`] | what Serf attaches to nodes and to acks |
//! | [`msgpack`], [`list`] | the encoding of all of them, in the dialects of gossip and of RPC |
//! | [`error`] | what can be wrong with received bytes |
//!
//! A datagram goes through [`packet::open_packet`] and [`packet::Unpacker::leaves`]; each leaf is then read with the
//! record of its kind. A stream goes through [`stream::StreamReader::push`]. The other way, [`swim::put`] and
//! [`serf::put`] write messages, [`packet::seal_packet`] and [`stream::seal_stream`] wrap them.
//!
//! Two rules hold everywhere. Received bytes are taken to be hostile: they give an error, never a panic, and a number
//! in them is never trusted with memory. And where Go releases differ, both forms are read and the newer is written.
//!
//! The formats are described in `gossip.md`, `serf.md` and `rpc.md` of the specification, to which the section numbers
//! in this crate refer.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod codecs;
pub mod compress;
pub mod coordinate;
pub mod encrypt;
pub mod error;
pub mod label;
pub mod list;
pub mod msgpack;
pub mod packet;
pub mod serf;
pub mod stream;
pub mod swim;
pub mod tags;

pub use error::Malformed;
