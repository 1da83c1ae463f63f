//! Proof that the libraries named below do without the standard library. It links on the host, where `std` is at hand
//! and a stray dependency on it would go unnoticed: here it brings a second panic handler, and that is an error.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;
use core::panic::PanicInfo;
use core::ptr;

use serf_core::snapshot::Replay;
use serf_core::{Config, Node, Pattern};
use serf_gossip::{Address, Input, Instant, Machine, Membership};
use serf_wire::checksum::Checksum;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::encrypt::{Key, Version};
use serf_wire::packet::{Inbound, Outbound, Unpacker, open_packet, seal_packet};

/// Has no memory. The probe is there to be linked, not to be run.
struct Nothing;

// SAFETY: null is what an allocator returns when it has no memory, and nothing that it gave out comes back.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Nothing = Nothing;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// The compiled `alloc` of the host asks for this, although nothing here unwinds. With `std` there would be two.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The same.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    loop {}
}

// What the start-up code of the host calls.
#[link(name = "c")]
unsafe extern "C" {}

/// Calls into every library, so that the linker has to keep them.
#[unsafe(no_mangle)]
extern "C" fn main(arguments: c_int, _: *const *const u8) -> c_int {
    let mut compressor = Compressor::default();
    let mut packet = Vec::new();
    let keys = Key::new(&[arguments as u8; 32]).into_iter().collect::<Vec<_>>();
    let outbound =
        Outbound { label: b"", key: keys.first(), version: Version::V1, compress: Algorithm::ALL.get(arguments as usize).copied(), checksum: Checksum::ALL.get(arguments as usize).copied() };
    seal_packet(b"\x08probe", &outbound, &[0; 12], &mut compressor, &mut packet);
    let inbound =
        Inbound { label: b"", skip_label_check: false, keys: &keys, verify_incoming: true, accept_v0: true };
    let opened = match open_packet(&mut packet, &inbound) {
        Ok(opened) => Unpacker::default().leaves(opened.payload, 1000, &mut |_| {}) as c_int,
        Err(_) => 1,
    };

    let gossip = || serf_gossip::Config::lan("probe".into(), Address::new(&[127, 0, 0, 1], 7946));
    let mut replay = Replay::new(false);
    replay.feed(&packet);
    let snapshot = Some(replay.finish());
    let bare = Membership::new(gossip(), [0; 32], Instant::ZERO, Box::new(()));
    let whole = Node::new(Config { snapshot, ..Config::new(gossip()) }, [0; 32], Instant::ZERO);
    if let (Ok(mut bare), Ok(mut whole)) = (bare, whole) {
        bare.handle(Instant::ZERO, Input::Timeout);
        whole.handle(Instant::ZERO, Input::Timeout);
        drop((bare.poll(), whole.poll()));
    }
    opened + Pattern::new("^a").map_or(0, |p| c_int::from(p.matches(b"a")))
}
