//! An allocator that counts, for what is measured in `benches/` and asserted in `tests/`:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: serf_bench::Counting = serf_bench::Counting;
//!
//! let before = serf_bench::allocations();
//! drop(vec![0; 10]);
//! assert_eq!(serf_bench::allocations() - before, 1);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// How often this thread has allocated so far.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that this thread has allocated and not given back.
#[must_use]
pub fn held() -> i64 {
    HELD.get()
}

/// The system's allocator, counting. Each thread has its own counts, so tests beside each other do not disturb them.
#[derive(Debug)]
pub struct Counting;

fn count(allocations: u64, bytes: i64) {
    let _ = ALLOCATIONS.try_with(|c| c.set(c.get() + allocations));
    let _ = HELD.try_with(|c| c.set(c.get() + bytes));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count(1, new as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(p, layout, new) }
    }
}
