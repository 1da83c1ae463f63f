//! Log lines that others can cause as often as they like: the first few are told, the others counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// So many lines of a kind are told in a [`WINDOW`]: enough to see what it is and who.
const TOLD_MAX: u32 = 10;
/// See [`TOLD_MAX`].
const WINDOW: Duration = Duration::from_secs(10);

/// Complaints of one kind, from one part and at one level of the log. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Complaints {
    target: &'static str,
    level: log::Level,
    window: Arc<Mutex<Window>>,
}

#[derive(Debug, Default)]
struct Window {
    end: Option<Instant>,
    told: u32,
    hushed: u64,
}

impl Complaints {
    pub(crate) fn new(target: &'static str, level: log::Level) -> Self {
        Self { target, level, window: Arc::default() }
    }

    /// Logs the line, or counts it. What was counted is told when the window ends.
    pub(crate) fn tell(&self, line: impl fmt::Display) {
        match self.admit(Instant::now()) {
            Admission::Tell => log::log!(target: self.target, self.level, "{line}"),
            Admission::Hush => {}
            Admission::HushFrom(end) => {
                let (this, line) = (self.clone(), line.to_string());
                tokio::spawn(async move {
                    sleep(end.saturating_duration_since(Instant::now())).await;
                    let hushed = std::mem::take(&mut this.lock().hushed);
                    let others = match hushed {
                        0 => String::new(),
                        n => format!(" (and {n} like it in {WINDOW:?}, not logged)"),
                    };
                    log::log!(target: this.target, this.level, "{line}{others}");
                });
            }
        }
    }

    fn admit(&self, now: Instant) -> Admission {
        let mut window = self.lock();
        if window.end.is_none_or(|end| end <= now) {
            window.end = Some(now + WINDOW);
            window.told = 0;
        }
        if window.told < TOLD_MAX {
            window.told += 1;
            return Admission::Tell;
        }
        match (window.told, window.end) {
            (TOLD_MAX, Some(end)) => {
                // The one that will stand for all of them.
                window.told += 1;
                Admission::HushFrom(end)
            }
            _ => {
                window.hushed += 1;
                Admission::Hush
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Tell,
    /// Keep it and tell it then, with the count of those that follow.
    HushFrom(Instant),
    Hush,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_one_speaks_for_the_others() {
        let complaints = Complaints::new("agent.ipc", log::Level::Warn);
        let now = Instant::now();
        for _ in 0..TOLD_MAX {
            assert_eq!(complaints.admit(now), Admission::Tell);
        }
        assert_eq!(complaints.admit(now), Admission::HushFrom(now + WINDOW));
        for _ in 0..5 {
            assert_eq!(complaints.admit(now + WINDOW / 2), Admission::Hush);
        }
        assert_eq!(complaints.lock().hushed, 5);
        assert_eq!(complaints.admit(now + WINDOW), Admission::Tell, "a new window");
    }
}
