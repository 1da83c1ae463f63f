//! Tags as node metadata: the bytes that a Serf node puts into the meta field of its alive message. The limit of 512
//! bytes is kept by the caller.
//!
//! Format: serf.md §2.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::error::Malformed;
use crate::msgpack::{Dialect, Reader, Writer};

/// Names and values of tags. Both are byte strings: Go puts any bytes there.
pub type Tags = BTreeMap<Vec<u8>, Vec<u8>>;

/// Announces a map of tags; without it the metadata is the value of the role tag alone.
const MAGIC: u8 = 0xff;

/// The first Serf protocol version with more than one tag.
const PROTOCOL_WITH_TAGS: u8 = 3;

/// The only tag before that.
const ROLE: &[u8] = b"role";

/// Encodes tags as a node of this Serf protocol version (2 to 5) does. Before version 3 only the role is told.
///
/// Peers compare the bytes, so equal tags must give equal bytes; that is why the map is sorted.
pub fn encode(protocol: u8, tags: &Tags) -> Vec<u8> {
    encode_pairs(protocol, tags.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
}

/// Encodes tags in the order given. [`encode`] is what a node wants.
pub fn encode_pairs<'t>(
    protocol: u8,
    mut tags: impl ExactSizeIterator<Item = (&'t [u8], &'t [u8])>,
) -> Vec<u8> {
    let mut out = Vec::new();
    if protocol < PROTOCOL_WITH_TAGS {
        if let Some((_, role)) = tags.find(|(name, _)| *name == ROLE) {
            out.extend_from_slice(role);
        }
        return out;
    }
    out.push(MAGIC);
    let mut w = Writer::new(&mut out, Dialect::GOSSIP);
    w.map(tags.len());
    for (name, value) in tags {
        w.str(name);
        w.str(value);
    }
    out
}

/// Decodes metadata of any Serf protocol version, and never fails altogether: the tags that stand before an error are
/// kept, the error is for the log.
///
/// A name that comes twice has its last value. Metadata without the magic byte, even none at all, is a role.
pub fn decode(meta: &[u8]) -> (Tags, Option<Malformed>) {
    let mut tags = Tags::new();
    let Some((&MAGIC, map)) = meta.split_first() else {
        tags.insert(ROLE.to_vec(), meta.to_vec());
        return (tags, None);
    };
    let error = decode_map(map, &mut tags).err();
    (tags, error)
}

fn decode_map(map: &[u8], tags: &mut Tags) -> Result<(), Malformed> {
    let mut r = Reader::new(map);
    let pairs = match r.map() {
        // Go takes the values of an array for names and values in turn, and then misses the rest.
        Err(Malformed::WrongType(_)) => {
            r = Reader::new(map);
            r.array()?
        }
        pairs => pairs?,
    };
    for _ in 0..pairs.unwrap_or(0) {
        let name = r.str()?;
        let value = r.str()?;
        tags.insert(name.to_vec(), value.to_vec());
    }
    Ok(())
}
