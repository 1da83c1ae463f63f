//! What clients send to an agent: however it is cut, it is the same conversation, and no stranger is served.

#![no_main]

#[path = "../../crates/rpc/tests/rpc/arbitrary.rs"]
mod arbitrary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [options, size, bytes @ ..] = bytes else { return };
    let token = if options & 1 == 0 { "" } else { "s3cret-token" };
    arbitrary::conversation(token, bytes, &[usize::from(*size), 1]);
});
