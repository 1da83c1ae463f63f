//! One MessagePack value as a Rust type: the trait, its impls for what message fields are made of, and the macro
//! that turns a table of fields into a message.

use std::fmt;

use serf_wire::Malformed;
use serf_wire::msgpack::{Reader, Writer};

/// Anything that is one MessagePack value on an RPC connection: a whole message, or a field of one.
///
/// Decoding is as lenient as the Go agents are (rpc.md §2.2): fields in any order, unknown ones skipped, absent ones
/// zero, records also as arrays. Encoding yields the bytes they would send (§2.1).
pub trait Value: Sized {
    /// Reads one value and moves past it.
    ///
    /// # Errors
    /// The bytes end too early or are of another type. The reader is then of no further use.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Appends the value.
    fn encode(&self, writer: &mut Writer<'_>);
}

/// A string of the protocol: bytes that are usually UTF-8 but need not be, kept verbatim.
///
/// Node names, tags and log lines are copied by agents without a look at their contents. `Display` shows what is not
/// UTF-8 as U+FFFD; a program that prints names as they are takes [`as_bytes`](Self::as_bytes).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether there are no bytes, which for most fields means that nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// A map with string keys, in the order in which it came or is to go out.
///
/// Go agents send maps in random order, so the order means nothing; it is kept so that a message can be written as
/// it was read. A key that comes twice is kept twice, and [`get`](Self::get) finds the last one, as Go does.
#[derive(Clone, PartialEq, Eq)]
pub struct Pairs<V>(Vec<(Text, V)>);

impl<V> Pairs<V> {
    /// The empty map.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of `key`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&V> {
        self.0.iter().rev().find(|(name, _)| name.as_bytes() == key.as_ref()).map(|(_, value)| value)
    }

    /// All pairs, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Text, V)> {
        self.0.iter()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Pairs<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, value))).finish()
    }
}

impl<K: Into<Text>, V, U: Into<V>> FromIterator<(K, U)> for Pairs<V> {
    fn from_iter<I: IntoIterator<Item = (K, U)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<V> IntoIterator for Pairs<V> {
    type Item = (Text, V);
    type IntoIter = std::vec::IntoIter<(Text, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Pairs<V> {
    type Item = &'a (Text, V);
    type IntoIter = std::slice::Iter<'a, (Text, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Value for Text {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.str().map(Self::from)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(&self.0);
    }
}

/// A byte string. In a field that may be nil it is an `Option`.
impl Value for Vec<u8> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(reader.bytes()?.unwrap_or_default().into_owned())
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.bytes(self);
    }
}

impl Value for bool {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.bool()
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.bool(*self);
    }
}

impl Value for u8 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u8()
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.uint(u64::from(*self));
    }
}

impl Value for u16 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u16()
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.uint(u64::from(*self));
    }
}

impl Value for u64 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u64()
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.uint(*self);
    }
}

impl Value for i32 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let wide = reader.i64()?;
        Self::try_from(wide).map_err(|_| Malformed::OutOfRange(wide.unsigned_abs()))
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int(i64::from(*self));
    }
}

impl Value for i64 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.i64()
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int(*self);
    }
}

impl Value for f64 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.f64()
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.f64(*self);
    }
}

/// `None` is nil, which Go distinguishes from empty when it writes, and takes for empty when it reads.
impl<T: Value> Value for Option<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.is_nil() { reader.skip().map(|()| None) } else { T::decode(reader).map(Some) }
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Some(value) => value.encode(writer),
            None => writer.nil(),
        }
    }
}

impl<V: Value> Value for Pairs<V> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        // Nothing is reserved for the announced number: it costs the sender five bytes.
        let mut pairs = Vec::new();
        for _ in 0..reader.map()?.unwrap_or(0) {
            pairs.push((Text::decode(reader)?, V::decode(reader)?));
        }
        Ok(Self(pairs))
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.map(self.0.len());
        for (key, value) in &self.0 {
            key.encode(writer);
            value.encode(writer);
        }
    }
}

/// Gives `Vec` of each type its form as an array. Not generic, because `Vec<u8>` is a byte string.
macro_rules! lists {
    ($($type:ty),*) => {$(
        impl Value for Vec<$type> {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                let mut list = Self::new();
                for _ in 0..reader.array()?.unwrap_or(0) {
                    list.push(Value::decode(reader)?);
                }
                Ok(list)
            }

            fn encode(&self, writer: &mut Writer<'_>) {
                writer.array(self.len());
                for value in self {
                    value.encode(writer);
                }
            }
        }
    )*};
}

lists!(Text, f64, crate::message::Member);

/// Declares messages: each a struct with its fields in the order they have as an array, and their names on the wire.
macro_rules! records {
    ($($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $field:ident: $type:ty = $key:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$note])* pub $field: $type,)*
        }

        impl $name {
            const FIELDS: [&'static str; [$($key),*].len()] = [$($key),*];
        }

        impl Value for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                let mut record = Self::default();
                reader.record(&Self::FIELDS, |reader, index| {
                    match Self::FIELDS[index] {
                        $($key => record.$field = Value::decode(reader)?,)*
                        _ => unreachable!("every field has its arm"),
                    }
                    Ok(())
                })?;
                Ok(record)
            }

            fn encode(&self, writer: &mut Writer<'_>) {
                const ORDER: [usize; $name::FIELDS.len()] = $crate::value::ascending(&$name::FIELDS);
                writer.map(ORDER.len());
                for index in ORDER {
                    let key = Self::FIELDS[index];
                    writer.key(key);
                    match key {
                        $($key => self.$field.encode(writer),)*
                        _ => unreachable!("every field has its arm"),
                    }
                }
            }
        }
    )*};
}

pub(crate) use records;

/// The indices of `names` in ascending byte order of the names, which is the order Go writes fields in.
pub(crate) const fn ascending<const N: usize>(names: &[&str; N]) -> [usize; N] {
    let mut order = [0; N];
    let mut sorted = 0;
    while sorted < N {
        let mut place = sorted;
        while place > 0 && less(names[sorted].as_bytes(), names[order[place - 1]].as_bytes()) {
            order[place] = order[place - 1];
            place -= 1;
        }
        order[place] = sorted;
        sorted += 1;
    }
    order
}

/// `left < right`; slices cannot be compared in constants otherwise.
const fn less(left: &[u8], right: &[u8]) -> bool {
    let mut index = 0;
    while index < left.len() && index < right.len() {
        if left[index] != right[index] {
            return left[index] < right[index];
        }
        index += 1;
    }
    left.len() < right.len()
}

#[cfg(test)]
mod tests {
    use serf_wire::msgpack::Dialect;

    use super::*;

    fn decode<V: Value>(bytes: &[u8]) -> Result<V, Malformed> {
        V::decode(&mut Reader::new(bytes))
    }

    #[test]
    fn fields_are_written_in_byte_order() {
        assert_eq!(ascending(&["Version", "Name", "NameX", "Addr", "a"]), [3, 1, 2, 0, 4]);
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let pairs: Pairs<Text> = decode(b"\x82\xa1a\xa1x\xa1a\xa1y").unwrap();
        assert_eq!(pairs.get("a").unwrap(), &"y");
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn nil_and_empty_are_kept_apart() {
        assert_eq!(decode::<Option<Vec<u8>>>(b"\xc0"), Ok(None));
        assert_eq!(decode::<Option<Vec<u8>>>(b"\xc4\x00"), Ok(Some(vec![])));
        let mut out = vec![];
        let mut writer = Writer::new(&mut out, Dialect::RPC);
        None::<Vec<Text>>.encode(&mut writer);
        Some(Vec::<Text>::new()).encode(&mut writer);
        assert_eq!(out, b"\xc0\x90");
    }

    #[test]
    fn a_32_bit_field_refuses_what_does_not_fit() {
        assert_eq!(decode::<i32>(b"\xd2\x80\x00\x00\x00"), Ok(i32::MIN));
        assert_eq!(decode::<i32>(b"\xce\x80\x00\x00\x00"), Err(Malformed::OutOfRange(1 << 31)));
    }

    #[test]
    fn text_that_is_not_utf_8_shows_lossily_and_keeps_its_bytes() {
        let text: Text = decode(b"\xa3n\xff1").unwrap();
        assert_eq!(format!("{text} {text:?} [{text:>4}]"), "n\u{fffd}1 \"n\u{fffd}1\" [ n\u{fffd}1]");
        assert_eq!(text.as_bytes(), b"n\xff1");
    }
}
