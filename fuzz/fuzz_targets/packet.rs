//! Datagrams: what arrives is taken apart, what is sealed opens again.

#![no_main]

#[allow(dead_code, reason = "each target uses its share")]
#[path = "../../crates/wire/tests/wire/arbitrary.rs"]
mod arbitrary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    arbitrary::packet(bytes);
    arbitrary::sealed(bytes);
});
