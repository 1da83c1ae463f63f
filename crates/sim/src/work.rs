//! Many runs side by side, with progress: each run is one thread's, so that its result does not depend on how many there
//! are.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Tells on standard error how far something is: on a terminal all the time, otherwise at each tenth.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: usize,
    began: Instant,
    state: Mutex<(usize, usize)>,
    terminal: bool,
}

impl Progress {
    /// Of `total` things.
    #[must_use]
    pub fn new(what: &str, total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { what: what.to_owned(), total, began: Instant::now(), state: Mutex::new((0, 0)), terminal }
    }

    /// One more is done.
    pub fn tick(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        state.0 += 1;
        let (done, total) = (state.0, self.total.max(1));
        let step = if self.terminal { done * 200 / total } else { done * 10 / total };
        if step == state.1 && done != total {
            return;
        }
        state.1 = step;
        let passed = self.began.elapsed().as_secs_f64();
        let left = passed / done as f64 * total.saturating_sub(done) as f64;
        let line = format!("{}: {done} of {total}, {passed:.0} s passed, {left:.0} s left", self.what);
        let mut err = std::io::stderr().lock();
        // Whoever does not read it misses nothing.
        let _ = match (self.terminal, done == total) {
            (true, false) => write!(err, "\r{line}   "),
            (true, true) => writeln!(err, "\r{line}   "),
            _ => writeln!(err, "{line}"),
        };
    }
}

/// Does `work` for each of so many things, `jobs` at a time; the results are in order.
///
/// # Panics
/// If `work` does.
pub fn side_by_side<T: Send>(jobs: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count {
                    return done;
                }
                done.push((i, work(i)));
            }
        };
        let threads: Vec<_> = (0..jobs.clamp(1, count.max(1))).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// How many runs side by side, if nobody says.
#[must_use]
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
