//! The tests of this crate that need data or luck: bytes captured from Go programs (`testdata/`), the examples of the
//! specification, and properties of arbitrary bytes. One program, so that it links once.

mod arbitrary;
mod codecs;
mod golden;
mod hostile;
mod json;
mod lzw;
mod packets;
mod properties;
mod serf_messages;
mod streams;
mod tags;
mod tolerance;
mod values;
