//! What a slow RPC client loses, told in the log: with the count, also while the client does not read at all, and not as
//! often as it happens.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Between two lines about one client that goes on reading.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The same about one that does not: each time it is longer, up to this. A line about lines of the log that are lost
/// makes another one be lost.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The losses of one stream.
#[derive(Debug)]
pub(crate) struct Losses<C> {
    /// What is dropped, and for whom.
    what: &'static str,
    client: C,
    told: u64,
    /// When somebody looked last, and how long nobody is to look again.
    at: Instant,
    pause: Duration,
}

impl<C: fmt::Display> Losses<C> {
    pub(crate) fn new(what: &'static str, client: C) -> Self {
        Self { what, client, told: 0, at: Instant::now(), pause: PAUSE_MIN }
    }

    /// Does something that takes as long as the client likes, and tells meanwhile what that costs it. `all` is the count
    /// of its losses from the beginning.
    pub(crate) async fn watch<T>(
        &mut self,
        mut all: impl FnMut() -> u64,
        task: impl Future<Output = T>,
    ) -> T {
        let mut task = pin!(task);
        loop {
            tokio::select! {
                biased;
                done = &mut task => {
                    self.pause = PAUSE_MIN;
                    if self.at + self.pause <= Instant::now() {
                        self.tell(all(), PAUSE_MIN);
                    }
                    return done;
                }
                () = sleep_until(self.at + self.pause) => {
                    let pause = longer(self.pause);
                    self.tell(all(), pause);
                }
            }
        }
    }

    /// To be waited for while the client has all that there is for it: then it is told what has not been yet.
    pub(crate) async fn told(&mut self, all: u64) {
        if all == self.told {
            std::future::pending().await
        }
        sleep_until(self.at + self.pause).await;
        self.tell(all, PAUSE_MIN);
    }

    fn tell(&mut self, all: u64, pause: Duration) {
        if let Some(count) = self.count(Instant::now(), all, pause) {
            let Self { what, client, .. } = self;
            log::warn!(target: "agent.ipc", "Dropping {what} to ipc.client: {client} ({count} of them)");
        }
    }

    /// Looks, and says how many have not been told.
    fn count(&mut self, now: Instant, all: u64, pause: Duration) -> Option<u64> {
        (self.at, self.pause) = (now, pause);
        let untold = all.checked_sub(std::mem::replace(&mut self.told, all))?;
        (untold > 0).then_some(untold)
    }
}

fn longer(pause: Duration) -> Duration {
    (2 * pause).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_counted_once() {
        let mut losses = Losses::new("event", "a client");
        let now = losses.at;
        let told = [0, 3, 3, 10, 10].map(|all| losses.count(now, all, PAUSE_MIN));
        assert_eq!(told, [None, Some(3), None, Some(7), None]);
    }

    #[test]
    fn of_a_client_that_never_reads_there_is_less_and_less_to_be_told() {
        let mut losses = Losses::new("logs", "a client");
        let (begin, mut now, mut lines) = (losses.at, losses.at, 0);
        // The line is lost as well.
        while now < begin + Duration::from_secs(24 * 3600) {
            now = losses.at + losses.pause;
            let pause = longer(losses.pause);
            lines += losses.count(now, lines + 1, pause).unwrap_or_default();
        }
        assert!(lines < 160, "{lines} lines in a day");
        assert_eq!(losses.pause, PAUSE_MAX);
    }
}
