//! Whatever is in a snapshot file: it is read, and a node goes on from it.

#![no_main]

#[path = "../../crates/core/tests/core/any_file.rs"]
mod any_file;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| any_file::snapshot(bytes));
