//! MessagePack: a cursor that reads every form the Go codecs accept, and a writer for the forms they emit. It
//! knows nothing of messages, and it builds no trees.
//!
//! The reading rules are gossip.md §3.3 and rpc.md §2.2, the writing rules gossip.md §3.1, §3.2 and rpc.md §2.1.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::error::Malformed;

/// How strings and byte strings are written. Reading takes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strings {
    /// The old "raw" family for both: `a0..bf`, `da`, `db`. Gossip needs this, old peers refuse the rest.
    Raw,
    /// The newer families: strings also as `d9`, byte strings as `c4`, `c5`, `c6`. The RPC protocol uses these.
    Extended,
}

/// How a signed integer above 127 is written. Reading takes both; values up to 127 look the same.
///
/// The Go codecs of Serf before 0.10.2 write such a value like an unsigned one, the later ones do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// With the unsigned codes `cc`, `cd`, `ce`, `cf`.
    AsUnsigned,
    /// With the signed codes `d1`, `d2`, `d3` (128 to 255 take `d1`, because `d0` ends at 127).
    AsSigned,
}

/// One of the byte-for-byte different ways to write the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The family of strings and byte strings.
    pub strings: Strings,
    /// The family of non-negative signed integers.
    pub signed: Signed,
}

impl Dialect {
    /// What current Go releases gossip, and what we emit.
    pub const GOSSIP: Self = Self { strings: Strings::Raw, signed: Signed::AsSigned };
    /// What Serf up to 0.10.1 gossips.
    pub const GOSSIP_OLD: Self = Self { strings: Strings::Raw, signed: Signed::AsUnsigned };
    /// What current Go agents say on the RPC socket, and what we emit there.
    pub const RPC: Self = Self { strings: Strings::Extended, signed: Signed::AsSigned };
    /// What agents up to 0.10.1 say on the RPC socket.
    pub const RPC_OLD: Self = Self { strings: Strings::Extended, signed: Signed::AsUnsigned };
}

/// A cursor over MessagePack values: borrowed, without allocation, never recursive.
///
/// Every method takes exactly one value (a header counts as one) and moves past it. After an error the position is
/// somewhere inside that value; nothing sensible can be read any more.
///
/// Two rules hold for all of them. Nil stands for the zero value of any type, as in Go. A length or a count is only
/// ever compared with the bytes that are there; nothing is reserved for it.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// An integer as it stood on the wire; `Negative` holds values below zero only.
enum Integer {
    Natural(u64),
    Negative(i64),
}

/// What follows the head of a value: bytes that are its contents, or whole values inside it.
struct Extent {
    octets: u64,
    values: u64,
}

impl<'a> Reader<'a> {
    /// A cursor at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Reads a record: a Go struct.
    ///
    /// `fields` are the field names in declaration order. `f` is called once per field that is present, with the
    /// index of its name, and has to read exactly one value. Accepted are
    /// - a map, in any order; a name that comes twice is reported twice (so the last one wins), an unknown name is
    ///   skipped together with its value;
    /// - an array, whose elements are the fields in declaration order; missing ones are not reported, surplus ones
    ///   are skipped;
    /// - nil, which reports nothing.
    ///
    /// # Errors
    /// Whatever `f` returns; [`Malformed::WrongType`] for another value than the three; [`Malformed::BadKey`] for a
    /// key that is not a string (or byte string).
    pub fn record(
        &mut self,
        fields: &[&str],
        mut f: impl FnMut(&mut Self, usize) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let head = self.take()?;
        if let Some(count) = self.map_count(head)? {
            for _ in 0..count {
                let name = self.name()?;
                match fields.iter().position(|field| field.as_bytes() == name) {
                    Some(index) => f(self, index)?,
                    None => self.skip()?,
                }
            }
            Ok(())
        } else if let Some(count) = self.array_count(head)? {
            let known = count.min(fields.len() as u32);
            for index in 0..known {
                f(self, index as usize)?;
            }
            self.skip_values(u64::from(count - known))
        } else {
            nil_only(head)
        }
    }

    /// Reads an unsigned 8-bit integer of any width and signedness.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`], [`Malformed::NegativeForUnsigned`], [`Malformed::WrongType`] for anything else
    /// than an integer or nil. The same holds for the other unsigned ones.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.unsigned()
    }

    /// Reads an unsigned 16-bit integer; see [`u8`](Self::u8).
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.unsigned()
    }

    /// Reads an unsigned 32-bit integer; see [`u8`](Self::u8).
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.unsigned()
    }

    /// Reads an unsigned 64-bit integer; see [`u8`](Self::u8).
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.unsigned()
    }

    /// Reads a signed 64-bit integer of any width and signedness.
    ///
    /// An unsigned value above `i64::MAX` wraps to a negative one, because that is what both Go codecs make of it.
    ///
    /// # Errors
    /// [`Malformed::WrongType`] for anything else than an integer or nil.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(match self.integer()? {
            Integer::Natural(value) => value as i64,
            Integer::Negative(value) => value,
        })
    }

    /// Reads a bool; the one-byte integers 0 and 1 count as one, no other integer does.
    ///
    /// # Errors
    /// [`Malformed::WrongType`].
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.take()? {
            0xc0 | 0xc2 | 0x00 => Ok(false),
            0xc3 | 0x01 => Ok(true),
            head => Err(wrong_type(head)),
        }
    }

    /// Reads a floating-point number: either width, or any integer.
    ///
    /// # Errors
    /// [`Malformed::WrongType`].
    pub fn f64(&mut self) -> Result<f64, Malformed> {
        match self.peek()? {
            0xca => {
                self.position += 1;
                Ok(f64::from(f32::from_be_bytes(self.array_of()?)))
            }
            0xcb => {
                self.position += 1;
                Ok(f64::from_be_bytes(self.array_of()?))
            }
            _ => Ok(match self.integer()? {
                Integer::Natural(value) => value as f64,
                Integer::Negative(value) => value as f64,
            }),
        }
    }

    /// Reads a string of the raw, string or binary family; nil is the empty one.
    ///
    /// The bytes are kept as they are, whether or not they are UTF-8: names on this wire are byte strings.
    ///
    /// # Errors
    /// [`Malformed::WrongType`]. An array of integers is one too, unlike for [`bytes`](Self::bytes): the codec up to
    /// Serf 0.10.1 refuses it as well, and nobody sends it.
    pub fn str(&mut self) -> Result<&'a [u8], Malformed> {
        let head = self.take()?;
        match self.text_length(head)? {
            Some(length) => self.slice(length),
            None => nil_only(head).map(|()| &[][..]),
        }
    }

    /// Reads a byte string: what [`str`](Self::str) takes, and an array of integers up to 255. Nil is `None`.
    ///
    /// The result is borrowed, except that of an array, which grows with the elements that are there.
    ///
    /// # Errors
    /// [`Malformed::WrongType`]; [`Malformed::OutOfRange`] or [`Malformed::NegativeForUnsigned`] for an element.
    pub fn bytes(&mut self) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        let head = self.take()?;
        if let Some(length) = self.text_length(head)? {
            return self.slice(length).map(|bytes| Some(Cow::Borrowed(bytes)));
        }
        let Some(count) = self.array_count(head)? else {
            return nil_only(head).map(|()| None);
        };
        let mut octets = Vec::new();
        for _ in 0..count {
            octets.push(self.u8()?);
        }
        Ok(Some(Cow::Owned(octets)))
    }

    /// Reads the header of an array: how many values follow. Nil is `None`.
    ///
    /// The number is a claim of the sender; do not reserve memory for it.
    ///
    /// # Errors
    /// [`Malformed::WrongType`].
    pub fn array(&mut self) -> Result<Option<usize>, Malformed> {
        let head = self.take()?;
        match self.array_count(head)? {
            Some(count) => to_usize(count).map(Some),
            None => nil_only(head).map(|()| None),
        }
    }

    /// Reads the header of a map: how many pairs of values follow. Nil is `None`.
    ///
    /// The number is a claim of the sender; do not reserve memory for it.
    ///
    /// # Errors
    /// [`Malformed::WrongType`].
    pub fn map(&mut self) -> Result<Option<usize>, Malformed> {
        let head = self.take()?;
        match self.map_count(head)? {
            Some(count) => to_usize(count).map(Some),
            None => nil_only(head).map(|()| None),
        }
    }

    /// Moves past one value of any kind with everything inside it.
    ///
    /// Takes time in proportion to the bytes skipped and no memory, however the value is nested.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::Reserved`].
    pub fn skip(&mut self) -> Result<(), Malformed> {
        self.skip_values(1)
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes that have not been read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// Whether every byte has been read.
    pub fn is_empty(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// Whether the next value is nil. It is not read.
    pub fn is_nil(&self) -> bool {
        self.bytes.get(self.position) == Some(&0xc0)
    }

    /// A cursor at `position`, which must not be beyond the end.
    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    /// Reads the head of any value and tells what belongs to it. The position is then behind the head.
    fn head(&mut self) -> Result<Extent, Malformed> {
        let head = self.take()?;
        if let Some(octets) = self.text_length(head)? {
            return Ok(Extent { octets, values: 0 });
        }
        if let Some(count) = self.array_count(head)? {
            return Ok(Extent { octets: 0, values: u64::from(count) });
        }
        if let Some(pairs) = self.map_count(head)? {
            return Ok(Extent { octets: 0, values: 2 * u64::from(pairs) });
        }
        let octets = match head {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            // Extensions: a type byte comes before the data.
            0xd4..=0xd8 => (1 << (head - 0xd4)) + 1,
            0xc7 => u64::from(self.byte()?) + 1,
            0xc8 => u64::from(self.be16()?) + 1,
            0xc9 => u64::from(self.be32()?) + 1,
            _ => return Err(Malformed::Reserved),
        };
        Ok(Extent { octets, values: 0 })
    }

    fn skip_values(&mut self, count: u64) -> Result<(), Malformed> {
        let mut pending = count;
        while pending > 0 {
            // A value has one byte at least, so a count beyond the rest is hopeless whatever the bytes are.
            if pending > self.rest().len() as u64 {
                return Err(Malformed::Truncated);
            }
            let Extent { octets, values } = self.head()?;
            self.slice(octets)?;
            pending = pending - 1 + values;
        }
        Ok(())
    }

    /// A map key.
    fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let head = self.take()?;
        match self.text_length(head)? {
            Some(length) => self.slice(length),
            None => Err(Malformed::BadKey(head)),
        }
    }

    fn unsigned<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        match self.integer()? {
            Integer::Natural(value) => T::try_from(value).map_err(|_| Malformed::OutOfRange(value)),
            Integer::Negative(value) => Err(Malformed::NegativeForUnsigned(value)),
        }
    }

    fn integer(&mut self) -> Result<Integer, Malformed> {
        let head = self.take()?;
        let signed = match head {
            0x00..=0x7f => return Ok(Integer::Natural(u64::from(head))),
            0xc0 => return Ok(Integer::Natural(0)),
            0xcc => return Ok(Integer::Natural(u64::from(self.byte()?))),
            0xcd => return Ok(Integer::Natural(u64::from(self.be16()?))),
            0xce => return Ok(Integer::Natural(u64::from(self.be32()?))),
            0xcf => return Ok(Integer::Natural(u64::from_be_bytes(self.array_of()?))),
            0xd0 => i64::from(i8::from_be_bytes(self.array_of()?)),
            0xd1 => i64::from(i16::from_be_bytes(self.array_of()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.array_of()?)),
            0xd3 => i64::from_be_bytes(self.array_of()?),
            0xe0..=0xff => i64::from(head as i8),
            _ => return Err(wrong_type(head)),
        };
        Ok(u64::try_from(signed).map_or(Integer::Negative(signed), Integer::Natural))
    }

    /// The length of a string or byte string whose first byte is `head`; `None` if that is no such thing.
    fn text_length(&mut self, head: u8) -> Result<Option<u64>, Malformed> {
        Ok(Some(match head {
            0xa0..=0xbf => u64::from(head & 0x1f),
            0xd9 | 0xc4 => u64::from(self.byte()?),
            0xda | 0xc5 => u64::from(self.be16()?),
            0xdb | 0xc6 => u64::from(self.be32()?),
            _ => return Ok(None),
        }))
    }

    fn array_count(&mut self, head: u8) -> Result<Option<u32>, Malformed> {
        Ok(Some(match head {
            0x90..=0x9f => u32::from(head & 0x0f),
            0xdc => u32::from(self.be16()?),
            0xdd => self.be32()?,
            _ => return Ok(None),
        }))
    }

    fn map_count(&mut self, head: u8) -> Result<Option<u32>, Malformed> {
        Ok(Some(match head {
            0x80..=0x8f => u32::from(head & 0x0f),
            0xde => u32::from(self.be16()?),
            0xdf => self.be32()?,
            _ => return Ok(None),
        }))
    }

    fn peek(&self) -> Result<u8, Malformed> {
        self.bytes.get(self.position).copied().ok_or(Malformed::Truncated)
    }

    fn take(&mut self) -> Result<u8, Malformed> {
        let byte = self.peek()?;
        self.position += 1;
        Ok(byte)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take()
    }

    fn be16(&mut self) -> Result<u16, Malformed> {
        self.array_of().map(u16::from_be_bytes)
    }

    fn be32(&mut self) -> Result<u32, Malformed> {
        self.array_of().map(u32::from_be_bytes)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.rest().first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.position += N;
        Ok(*bytes)
    }

    fn slice(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let rest = self.rest();
        if length > rest.len() as u64 {
            return Err(Malformed::Truncated);
        }
        let slice = &rest[..length as usize];
        self.position += slice.len();
        Ok(slice)
    }
}

/// Counts come from 32 bits; where `usize` is narrower, such a value cannot be there in full anyway.
fn to_usize(count: u32) -> Result<usize, Malformed> {
    usize::try_from(count).map_err(|_| Malformed::Truncated)
}

/// The last resort of every reader: nil is fine, anything else is of the wrong type.
fn nil_only(head: u8) -> Result<(), Malformed> {
    if head == 0xc0 { Ok(()) } else { Err(wrong_type(head)) }
}

fn wrong_type(head: u8) -> Malformed {
    if head == 0xc1 { Malformed::Reserved } else { Malformed::WrongType(head) }
}

/// Finds the end of one value while its bytes are still arriving.
///
/// It remembers how far it got, so that no byte is looked at twice, and it needs no memory however the value is nested.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    position: usize,
    pending: u64,
}

impl Scan {
    /// A scan of the value that begins at `position`.
    pub fn new(position: usize) -> Self {
        Self { position, pending: 1 }
    }

    /// Goes on as far as `bytes` reach, and tells whether the value is complete; it then ends at
    /// [`position`](Self::position). Every call must see the same bytes again, and perhaps more.
    ///
    /// # Errors
    /// [`Malformed::FrameTooLarge`] as soon as the value cannot end at `max` or before, whatever comes;
    /// [`Malformed::Reserved`].
    ///
    /// # Panics
    /// If there are fewer bytes than before.
    pub fn advance(&mut self, bytes: &[u8], max: usize) -> Result<bool, Malformed> {
        while self.pending > 0 {
            let mut r = Reader { bytes, position: self.position };
            let Extent { octets, values } = match r.head() {
                Ok(extent) => extent,
                Err(Malformed::Truncated) => return Ok(false),
                Err(error) => return Err(error),
            };
            let end = r.position as u64 + octets;
            let pending = self.pending - 1 + values;
            // Every value that is still to come has one byte at least.
            let least = end + pending;
            if least > max as u64 {
                return Err(Malformed::FrameTooLarge(u32::try_from(least).unwrap_or(u32::MAX)));
            }
            if end > bytes.len() as u64 {
                return Ok(false);
            }
            (self.position, self.pending) = (end as usize, pending);
        }
        Ok(true)
    }

    /// How far the scan got.
    pub fn position(&self) -> usize {
        self.position
    }
}

/// Appends MessagePack values to a buffer, each in the shortest form its dialect has.
///
/// A record is written as [`map`](Self::map) with the number of fields, then [`key`](Self::key) and value for each,
/// in ascending byte order of the names, which is how Go writes its structs.
///
/// # Panics
/// All methods that take a length or a count panic if it exceeds 32 bits; MessagePack has no form for that, and
/// every message on this wire is smaller by far.
#[derive(Debug)]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    dialect: Dialect,
}

impl<'v> Writer<'v> {
    /// A writer that appends to `out`.
    pub fn new(out: &'v mut Vec<u8>, dialect: Dialect) -> Self {
        Self { out, dialect }
    }

    /// The header of a map of `pairs` pairs.
    pub fn map(&mut self, pairs: usize) {
        self.count(pairs, 0x80, 0xde, 0xdf);
    }

    /// The header of an array of `values` values.
    pub fn array(&mut self, values: usize) {
        self.count(values, 0x90, 0xdc, 0xdd);
    }

    /// Nil.
    pub fn nil(&mut self) {
        self.out.push(0xc0);
    }

    /// A bool.
    pub fn bool(&mut self, value: bool) {
        self.out.push(if value { 0xc3 } else { 0xc2 });
    }

    /// An integer that is unsigned in Go, whatever its width there.
    pub fn uint(&mut self, value: u64) {
        if value <= 0x7f {
            self.out.push(value as u8);
        } else if let Ok(value) = u8::try_from(value) {
            self.out.extend_from_slice(&[0xcc, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.put(0xcd, &value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.put(0xce, &value.to_be_bytes());
        } else {
            self.put(0xcf, &value.to_be_bytes());
        }
    }

    /// An integer that is signed in Go, whatever its width there.
    pub fn int(&mut self, value: i64) {
        if value >= 0 && (value <= 0x7f || self.dialect.signed == Signed::AsUnsigned) {
            self.uint(value as u64);
        } else if (-0x20..0).contains(&value) {
            self.out.push(value as u8);
        } else if let (true, Ok(value)) = (value < 0, i8::try_from(value)) {
            self.put(0xd0, &value.to_be_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.put(0xd1, &value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.put(0xd2, &value.to_be_bytes());
        } else {
            self.put(0xd3, &value.to_be_bytes());
        }
    }

    /// A floating-point number, always in 64 bits.
    pub fn f64(&mut self, value: f64) {
        self.put(0xcb, &value.to_be_bytes());
    }

    /// A string; the bytes need not be UTF-8.
    pub fn str(&mut self, value: &[u8]) {
        let length = length32(value.len());
        match (length, self.dialect.strings) {
            (0..=0x1f, _) => self.out.push(0xa0 | length as u8),
            (0x20..=0xff, Strings::Extended) => self.out.extend_from_slice(&[0xd9, length as u8]),
            (0x20..=0xffff, _) => self.put(0xda, &(length as u16).to_be_bytes()),
            _ => self.put(0xdb, &length.to_be_bytes()),
        }
        self.out.extend_from_slice(value);
    }

    /// A byte string that is present, perhaps empty.
    pub fn bytes(&mut self, value: &[u8]) {
        if self.dialect.strings == Strings::Raw {
            return self.str(value);
        }
        let length = length32(value.len());
        match length {
            0..=0xff => self.out.extend_from_slice(&[0xc4, length as u8]),
            0x100..=0xffff => self.put(0xc5, &(length as u16).to_be_bytes()),
            _ => self.put(0xc6, &length.to_be_bytes()),
        }
        self.out.extend_from_slice(value);
    }

    /// A byte string that may be absent, which is nil. Receivers take absent and empty for the same.
    pub fn bytes_or_nil(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(value),
            None => self.nil(),
        }
    }

    /// An address for which absent and empty mean the same; Go has nil there.
    pub(crate) fn addr(&mut self, value: &[u8]) {
        self.bytes_or_nil(Some(value).filter(|value| !value.is_empty()));
    }

    /// The name of a field.
    pub fn key(&mut self, name: &str) {
        self.str(name.as_bytes());
    }

    fn count(&mut self, count: usize, fix: u8, in16: u8, in32: u8) {
        let count = length32(count);
        match count {
            0..=0x0f => self.out.push(fix | count as u8),
            0x10..=0xffff => self.put(in16, &(count as u16).to_be_bytes()),
            _ => self.put(in32, &count.to_be_bytes()),
        }
    }

    fn put(&mut self, head: u8, bytes: &[u8]) {
        self.out.push(head);
        self.out.extend_from_slice(bytes);
    }
}

fn length32(length: usize) -> u32 {
    u32::try_from(length).expect("lengths on the wire have 32 bits")
}
