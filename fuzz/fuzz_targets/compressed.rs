//! Compression and checksums, the reference's and ours: whatever claims to be one is read within bounds or refused.

#![no_main]

#[allow(dead_code, reason = "each target uses its share")]
#[path = "../../crates/wire/tests/wire/arbitrary.rs"]
mod arbitrary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    arbitrary::compressed(bytes);
});
