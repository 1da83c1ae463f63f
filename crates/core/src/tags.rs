//! Tags: what a node tells of itself, and how that becomes its meta data (spec `serf.md` §2).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serf_wire::Malformed;
use serf_wire::tags as wire;

/// Keys and values, sorted by key. Bytes of others that are not UTF-8 show as U+FFFD; whoever wants them verbatim
/// decodes [`crate::Member::meta`] with `serf_wire::tags`.
pub type Tags = BTreeMap<String, String>;

/// The most bytes that tags may take, encoded.
pub const META_MAX: usize = serf_gossip::META_MAX;

/// The tags do not fit; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Encoded length of tags exceeds limit of {META_MAX} bytes")]
pub struct TagsTooLong;

/// Tags as meta data, in the form of the Serf protocol version: before 3 there is only a role. They are sorted, since
/// peers compare meta data byte by byte and take another order for a change (B18).
pub(crate) fn encode(protocol: u8, tags: &Tags) -> Result<Vec<u8>, TagsTooLong> {
    let meta = wire::encode_pairs(protocol, tags.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())));
    if meta.len() > META_MAX { Err(TagsTooLong) } else { Ok(meta) }
}

/// The tags in somebody's meta data; of tags that cannot be read to their end, those before the fault.
pub(crate) fn decode(meta: &[u8]) -> Tags {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    wire::decode(meta).0.into_iter().map(|(key, value)| (text(key), text(value))).collect()
}

/// What is wrong with somebody's meta data.
pub(crate) fn fault(meta: &[u8]) -> Option<Malformed> {
    wire::decode(meta).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn protocol_2_has_a_role_and_nothing_else() {
        let meta = encode(2, &tags(&[("role", "web"), ("dc", "x11")])).unwrap();
        assert_eq!(meta, b"web");
        assert_eq!(decode(&meta), tags(&[("role", "web")]));
        assert_eq!(encode(2, &Tags::new()), Ok(Vec::new()));
    }

    #[test]
    fn later_protocols_have_tags_in_the_order_of_their_keys() {
        let web = tags(&[("role", "web"), ("dc", "x11")]);
        let meta = encode(3, &web).unwrap();
        assert_eq!(meta, b"\xff\x82\xa2dc\xa3x11\xa4role\xa3web");
        assert_eq!(decode(&meta), web);
        assert_eq!(encode(5, &Tags::new()).unwrap(), b"\xff\x80");
    }

    #[test]
    fn tags_fit_512_bytes_and_no_more() {
        // Magic, map header, key "k" and the header of a long value take 7.
        for (len, fits) in [(505, true), (506, false)] {
            assert_eq!(encode(4, &tags(&[("k", &"v".repeat(len))])).is_ok(), fits, "{len}");
            // The role alone has nothing around it.
            assert_eq!(encode(2, &tags(&[("role", &"v".repeat(len + 7))])).is_ok(), fits, "{len}");
        }
        assert_eq!(format!("{TagsTooLong}"), "Encoded length of tags exceeds limit of 512 bytes");
    }

    #[test]
    fn what_cannot_be_read_gives_what_stands_before_the_fault() {
        for (meta, want, is_faulty) in [
            (&b""[..], tags(&[("role", "")]), false),
            (b"plain", tags(&[("role", "plain")]), false),
            (b"\xff\xc0", Tags::new(), false),
            (b"\xff", Tags::new(), true),
            (b"\xff\xc1", Tags::new(), true),
            (b"\xff\x82\xa1a\xa1b\xa1c\x01", tags(&[("a", "b")]), true),
            (b"\xff\x81\xa1k\xa1\xff", tags(&[("k", "\u{fffd}")]), false),
        ] {
            assert_eq!((decode(meta), fault(meta).is_some()), (want, is_faulty), "{meta:02x?}");
        }
    }
}
