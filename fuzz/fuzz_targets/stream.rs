//! Streams: in pieces they are what they are as a whole.

#![no_main]

#[allow(dead_code, reason = "each target uses its share")]
#[path = "../../crates/wire/tests/wire/arbitrary.rs"]
mod arbitrary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| arbitrary::stream(bytes));
