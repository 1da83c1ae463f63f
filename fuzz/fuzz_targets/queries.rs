//! Queries, answers, relays and requests for keys: a node that hears them goes on.

#![no_main]

#[path = "../../crates/core/tests/core/arbitrary.rs"]
mod arbitrary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| arbitrary::talk(bytes));
