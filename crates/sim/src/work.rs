//! Many runs side by side, with progress: each run is one thread's, so that its result does not depend on how many there
//! are.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Without a terminal nobody wants to read more often than this.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// Characters of the bar on a terminal.
const BAR: usize = 30;

/// Tells on standard error how far something is: on a terminal as a bar, otherwise in a line now and then.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: usize,
    began: Instant,
    state: Mutex<State>,
    terminal: bool,
}

#[derive(Debug)]
struct State {
    done: usize,
    /// In parts of a hundred, or of ten where there is no terminal.
    step: usize,
    told: Instant,
}

impl Progress {
    /// Of `total` things.
    #[must_use]
    pub fn new(what: &str, total: usize) -> Self {
        let (began, terminal) = (Instant::now(), std::io::stderr().is_terminal());
        let state = Mutex::new(State { done: 0, step: 0, told: began });
        Self { what: what.to_owned(), total: total.max(1), began, state, terminal }
    }

    /// One more is done.
    pub fn tick(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        state.done += 1;
        let (done, total) = (state.done, self.total);
        let step = if self.terminal { done * 100 / total } else { done * 10 / total };
        if step == state.step || !self.terminal && state.told.elapsed() < BETWEEN_LINES {
            return;
        }
        (state.step, state.told) = (step, Instant::now());
        let line = line(&self.what, done, total, self.began.elapsed(), self.terminal);
        let mut err = std::io::stderr().lock();
        // Whoever does not read it misses nothing.
        let _ = match (self.terminal, done == total) {
            (true, false) => write!(err, "\r{line}   "),
            (true, true) => writeln!(err, "\r{line}   "),
            _ => writeln!(err, "{line}"),
        };
    }
}

fn line(what: &str, done: usize, total: usize, passed: Duration, bar: bool) -> String {
    let percent = done * 100 / total;
    let bar = if bar {
        let full = done * BAR / total;
        format!(" [{}{}]", "#".repeat(full), "-".repeat(BAR.saturating_sub(full)))
    } else {
        String::new()
    };
    let passed = passed.as_secs_f64();
    let left = passed / done.max(1) as f64 * total.saturating_sub(done) as f64;
    format!("{what}:{bar} {percent} %, {passed:.0} s passed, about {left:.0} s left")
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

/// Bytes of memory that this process may still take, where the system tells: what is free, or what the limit of its
/// group leaves.
#[must_use]
pub fn free_memory() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024);
    let limit = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    Some(limit.map_or(free, |(most, used)| free.min(most.saturating_sub(used))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_line() {
        assert_eq!(line("x", 1, 4, Duration::from_secs(2), false), "x: 25 %, 2 s passed, about 6 s left");
        let bar = line("x", 2, 4, Duration::ZERO, true);
        assert_eq!(bar, "x: [###############---------------] 50 %, 0 s passed, about 0 s left");
    }

    #[test]
    fn results_are_in_order_however_many_work() {
        for jobs in [0, 1, 7] {
            assert_eq!(side_by_side(jobs, 5, |i| i * i), [0, 1, 4, 9, 16]);
        }
    }
}
