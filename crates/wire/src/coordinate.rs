//! Network coordinates as bytes, in ack payloads and RPC replies. What they mean is computed elsewhere.
//!
//! Format: serf.md §9.1 and §9.6.

use alloc::vec::Vec;

use crate::error::Malformed;
use crate::list::List;
use crate::msgpack::{Dialect, Reader, Writer};

/// The first byte of the payload that Serf adds to acks.
pub const PING_PAYLOAD_VERSION: u8 = 1;

/// A network coordinate. Any numbers can stand here, also NaN and infinities; it is for the reader to refuse them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Coordinate<'a> {
    /// Position in seconds, usually in eight dimensions.
    pub vec: List<'a, f64>,
    /// How far off it may be, without unit.
    pub error: f64,
    /// Correction in seconds, may be negative.
    pub adjustment: f64,
    /// Distance from the core of the network in seconds.
    pub height: f64,
}

impl<'a> Coordinate<'a> {
    /// Reads a coordinate.
    ///
    /// # Errors
    /// Those of the [`Reader`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Vec", "Error", "Adjustment", "Height"], |r, field| {
            match field {
                0 => it.vec = List::read(r)?,
                1 => it.error = r.f64()?,
                2 => it.adjustment = r.f64()?,
                _ => it.height = r.f64()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes a coordinate.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(4);
        w.key("Adjustment");
        w.f64(self.adjustment);
        w.key("Error");
        w.f64(self.error);
        w.key("Height");
        w.f64(self.height);
        w.key("Vec");
        self.vec.write(w);
    }

    /// Reads the payload of an ack; an empty one holds no coordinate.
    ///
    /// # Errors
    /// [`Malformed::PingVersion`], those of the [`Reader`]. The ack counts nevertheless.
    pub fn read_payload(payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        Ok(Self::split_payload(payload)?.0)
    }

    /// The same, and what stands behind the coordinate: nobody but us has anything there, and nobody minds.
    ///
    /// # Errors
    /// See [`Coordinate::read_payload`].
    pub fn split_payload(payload: &'a [u8]) -> Result<(Option<Self>, &'a [u8]), Malformed> {
        match payload.split_first() {
            None => Ok((None, &[])),
            Some((&PING_PAYLOAD_VERSION, body)) => {
                let r = &mut Reader::new(body);
                let it = Self::read(r)?;
                Ok((Some(it), r.rest()))
            }
            Some((&version, _)) => Err(Malformed::PingVersion(version)),
        }
    }

    /// Appends the payload of an ack.
    pub fn write_payload(&self, out: &mut Vec<u8>) {
        out.push(PING_PAYLOAD_VERSION);
        self.write(&mut Writer::new(out, Dialect::GOSSIP));
    }
}
