//! Lists and maps inside messages: read lazily from the received bytes, or written from a slice. They keep order and
//! duplicates; what a duplicate means is decided by whoever reads them.

use alloc::borrow::Cow;
use core::fmt;
use core::slice;

use crate::error::Malformed;
use crate::msgpack::{Reader, Writer};

/// What a [`List`] can hold: one value of an array, or one pair of a map.
pub trait Element<'a>: Clone {
    /// Reads the value or the pair.
    ///
    /// # Errors
    /// Those of the [`Reader`].
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed>;

    /// Writes the value or the pair.
    fn write(&self, w: &mut Writer<'_>);
}

/// An array of values or a map of pairs; which of the two, the message knows.
///
/// Received lists are checked when they are read and then decoded anew by every [`iter`](Self::iter); nothing is
/// stored. Lists to be sent wrap a slice. A list can also be absent, which is nil on the wire; receivers take that
/// for empty, but the bytes differ.
pub struct List<'a, T>(Values<'a, T>);

enum Values<'a, T> {
    Absent,
    /// So many values, one behind the other.
    Received(usize, &'a [u8]),
    Given(&'a [T]),
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// An absent list.
    pub fn absent() -> Self {
        Self(Values::Absent)
    }

    /// A list to be sent.
    pub fn of(values: &'a [T]) -> Self {
        Self(Values::Given(values))
    }

    /// Reads an array, or nil for an absent list.
    ///
    /// # Errors
    /// Those of the [`Reader`] and of the elements.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = r.array()?;
        Self::values(r, count)
    }

    /// Reads a map, or nil for an absent one.
    ///
    /// # Errors
    /// Those of the [`Reader`] and of the elements.
    pub fn read_map(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = r.map()?;
        Self::values(r, count)
    }

    fn values(r: &mut Reader<'a>, count: Option<usize>) -> Result<Self, Malformed> {
        let Some(count) = count else { return Ok(Self::absent()) };
        let (values, from) = (r.rest(), r.position());
        for _ in 0..count {
            T::read(r)?;
        }
        Ok(Self(Values::Received(count, &values[..r.position() - from])))
    }

    /// Writes an array, or nil.
    pub fn write(&self, w: &mut Writer<'_>) {
        if self.is_absent() {
            return w.nil();
        }
        w.array(self.len());
        self.iter().for_each(|value| value.write(w));
    }

    /// Writes a map, or nil.
    pub fn write_map(&self, w: &mut Writer<'_>) {
        if self.is_absent() {
            return w.nil();
        }
        w.map(self.len());
        self.iter().for_each(|pair| pair.write(w));
    }

    /// Its elements, in the order of the wire.
    pub fn iter(&self) -> Iter<'a, T> {
        Iter(match self.0 {
            Values::Absent => Left::Given([].iter()),
            Values::Received(count, values) => Left::Received(count, Reader::new(values)),
            Values::Given(values) => Left::Given(values.iter()),
        })
    }

    /// How many elements it has; those of an absent list are none.
    pub fn len(&self) -> usize {
        match self.0 {
            Values::Absent => 0,
            Values::Received(count, _) => count,
            Values::Given(values) => values.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is nil.
    pub fn is_absent(&self) -> bool {
        matches!(self.0, Values::Absent)
    }
}

// By hand, because a derived copy would ask the elements to be copies too.
impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> Clone for Values<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Values<'_, T> {}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self(Values::Absent)
    }
}

/// Two lists are equal if both are absent, or both are there with equal elements.
impl<'a, T: Element<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_absent() == other.is_absent() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_absent() { f.write_str("absent") } else { f.debug_list().entries(self.iter()).finish() }
    }
}

impl<'a, T: Element<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The elements of a [`List`], in the order of the wire.
#[derive(Debug, Clone)]
pub struct Iter<'a, T>(Left<'a, T>);

#[derive(Debug, Clone)]
enum Left<'a, T> {
    Received(usize, Reader<'a>),
    Given(slice::Iter<'a, T>),
}

impl<'a, T: Element<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Left::Received(left, r) => {
                *left = left.checked_sub(1)?;
                // Reading has succeeded before, when the list was made.
                T::read(r).ok()
            }
            Left::Given(values) => values.next().cloned(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Left::Received(left, _) => *left,
            Left::Given(values) => values.len(),
        };
        (left, Some(left))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for Iter<'a, T> {}

/// A string, kept as the bytes it came in.
impl<'a> Element<'a> for &'a [u8] {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        r.str()
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.str(self);
    }
}

/// A byte string; nil is read as empty.
impl<'a> Element<'a> for Cow<'a, [u8]> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(r.bytes()?.unwrap_or_default())
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }
}

/// A floating-point number.
impl<'a> Element<'a> for f64 {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        r.f64()
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.f64(*self);
    }
}

/// A string and a number under it.
impl<'a> Element<'a> for (&'a [u8], u64) {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok((r.str()?, r.u64()?))
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.str(self.0);
        w.uint(self.1);
    }
}

/// A string and a string under it.
impl<'a> Element<'a> for (&'a [u8], &'a [u8]) {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok((r.str()?, r.str()?))
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.str(self.0);
        w.str(self.1);
    }
}
