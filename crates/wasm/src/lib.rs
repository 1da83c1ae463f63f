//! A simulated Serf cluster as a WebAssembly module: full nodes, the same code as in the agent, on a virtual network in
//! virtual time, to be stepped, cut, healed, crashed and looked at from JavaScript. `docs/wasm.md` tells how it is built
//! and used; `js/cluster.js` is what JavaScript sees of it.
//!
//! One instance of the module holds one cluster. A request is an object of JSON, which is put where [`serf_reserve`]
//! says, and [`serf_call`] does it; the answer is JSON again ([`serf_answer`], [`serf_answer_len`]). The requests and
//! what comes of them are in `request.rs` and `cluster.rs`.
//!
//! ```
//! use serf_wasm::Module;
//!
//! let mut module = Module::default();
//! module.call(br#"{"do":"create","nodes":5,"seed":42}"#).unwrap();
//! module.call(br#"{"do":"step","ms":1000}"#).unwrap();
//! assert_eq!(module.call(br#"{"do":"members","of":3}"#).unwrap().as_array().unwrap().len(), 5);
//! let why = module.call(br#"{"do":"crash","node":5}"#).unwrap_err();
//! assert_eq!(why.to_string(), "node must be a whole number from 0 to 4, not 5");
//! ```

mod cluster;
mod request;
mod told;

use std::cell::RefCell;

pub use cluster::NODES_MAX;
pub use request::{Module, Refusal};

/// Bytes of the longest request. No event or query may be nearly as long.
pub const REQUEST_MAX: usize = 64 << 10;

thread_local! {
    static MODULE: RefCell<Module> = RefCell::default();
    static REQUEST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes room for a request of so many bytes, and tells where it is to be put; 0 if it is longer than [`REQUEST_MAX`].
/// The room is there until the next call of this function.
#[expect(
    unsafe_code,
    reason = "the name of an export is the owner's business, and there is one of this name only"
)]
#[unsafe(no_mangle)]
pub extern "C" fn serf_reserve(len: u32) -> *mut u8 {
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= REQUEST_MAX) else {
        return std::ptr::null_mut();
    };
    REQUEST.with_borrow_mut(|request| {
        request.clear();
        request.resize(len, 0);
        request.as_mut_ptr()
    })
}

/// Does what the request asks for. 0 if it was done, 1 if it was refused; what came of it, or why not, is the answer.
#[expect(unsafe_code, reason = "see serf_reserve")]
#[unsafe(no_mangle)]
pub extern "C" fn serf_call() -> u32 {
    // There is nowhere to print to: whoever called finds the words where answers are.
    std::panic::set_hook(Box::new(|panic| answer(panic.to_string().into_bytes())));
    let request = REQUEST.take();
    let result = MODULE.with_borrow_mut(|module| module.call(&request));
    let (text, status) = match result {
        Ok(value) => (value.to_string(), 0),
        Err(why) => (why.to_string(), 1),
    };
    answer(text.into_bytes());
    status
}

/// Where the last answer is: JSON, or after a refusal, or a panic, a sentence. UTF-8, until the next [`serf_call`].
#[expect(unsafe_code, reason = "see serf_reserve")]
#[unsafe(no_mangle)]
pub extern "C" fn serf_answer() -> *const u8 {
    ANSWER.with_borrow(|answer| answer.as_ptr())
}

/// How many bytes it has.
#[expect(unsafe_code, reason = "see serf_reserve")]
#[unsafe(no_mangle)]
pub extern "C" fn serf_answer_len() -> u32 {
    ANSWER.with_borrow(|answer| u32::try_from(answer.len()).unwrap_or(u32::MAX))
}

fn answer(text: Vec<u8>) {
    ANSWER.set(text);
}
