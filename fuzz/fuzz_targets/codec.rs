//! MessagePack and the records in it: reading stops in time, and what is written reads the same.

#![no_main]

#[allow(dead_code, reason = "each target uses its share")]
#[path = "../../crates/wire/tests/wire/arbitrary.rs"]
mod arbitrary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    arbitrary::codec(bytes);
    arbitrary::records(bytes);
});
