//! Standard output, by way of a thread of its own: a terminal that was stopped, or a pipe that nobody reads, must not
//! stop the node, or its peers take it for failed.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::banner::TARGET;
use crate::log_format::{LogFormat, json_line};
use crate::logging::Level;

/// Texts that wait while nobody reads: some hundred kilobytes. What comes then is lost, with a count.
const WAITING_MAX: usize = 4096;
/// How long the end of the agent waits until all is written.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long those who can go on without it wait until what was said is written.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts to get the last word into a full queue.
const END_POLL: Duration = Duration::from_millis(10);

/// The one of this process, once an agent runs in it.
static STDOUT: OnceLock<Queue> = OnceLock::new();

/// Is everything told in JSON? What is lost is told, too.
static JSON: AtomicBool = AtomicBool::new(false);

/// The form of all that is printed from now on.
pub(crate) fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Relaxed);
}

pub(crate) fn format() -> LogFormat {
    if JSON.load(Relaxed) { LogFormat::Json } else { LogFormat::Text }
}

/// Writes in the order of the calls, as the agent's console and log do.
pub(crate) fn write(text: &str) {
    write_bytes(text.as_bytes());
}

fn write_bytes(text: &[u8]) {
    match STDOUT.get() {
        Some(queue) => queue.write(text),
        None => now(&mut io::stdout(), text),
    }
}

/// From now on nobody waits for standard output.
pub(crate) fn start() {
    STDOUT.get_or_init(|| Queue::to(io::stdout()));
}

/// Waits until everything up to here is written, unless nobody reads it.
pub(crate) async fn written() {
    if let Some(queue) = STDOUT.get() {
        queue.written(PATIENCE).await;
    }
}

/// [`written`], for the last time.
pub(crate) fn finish() {
    if let Some(queue) = STDOUT.get() {
        queue.finish();
    }
}

/// [`write`] for whoever wants something to write to.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        write_bytes(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Job {
    Text(Vec<u8>),
    /// Called when everything before is written.
    Then(Box<dyn FnOnce() + Send>),
}

struct Queue {
    jobs: SyncSender<Job>,
    lost: AtomicU64,
}

impl Queue {
    fn to(mut sink: impl Write + Send + 'static) -> Self {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        let work = move || {
            for job in waiting {
                match job {
                    Job::Text(text) => now(&mut sink, &text),
                    Job::Then(tell) => tell(),
                }
            }
        };
        // Without the thread all is lost, and a node that is mute still works.
        let _ = thread::Builder::new().name("stdout".to_owned()).spawn(work);
        Self { jobs, lost: AtomicU64::new(0) }
    }

    fn write(&self, text: &[u8]) {
        // What was lost is told where it is missing.
        let lost = self.lost.swap(0, Relaxed);
        let text = match lost {
            0 => text.to_vec(),
            lost => {
                let missing = format!("{lost} lines are missing here: nobody read them");
                let line = match format() {
                    LogFormat::Text => format!("==> {missing}\n"),
                    LogFormat::Json => json_line(Utc::now(), Level::Warn, TARGET, &missing),
                };
                [line.as_bytes(), text].concat()
            }
        };
        if self.jobs.try_send(Job::Text(text)).is_err() {
            self.lost.fetch_add(lost + 1, Relaxed);
        }
    }

    async fn written(&self, patience: Duration) {
        let (told, done) = oneshot::channel();
        let then = Job::Then(Box::new(|| _ = told.send(())));
        // A full queue is one that nobody reads.
        if self.jobs.try_send(then).is_ok() {
            let _ = timeout(patience, done).await;
        }
    }

    fn finish(&self) {
        let end = Instant::now() + END_PATIENCE;
        let (told, done) = sync_channel(1);
        let mut job = Job::Then(Box::new(move || _ = told.try_send(())));
        while let Err(TrySendError::Full(returned)) = self.jobs.try_send(job) {
            if Instant::now() >= end {
                return;
            }
            job = returned;
            thread::sleep(END_POLL);
        }
        let _ = done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn now(sink: &mut impl Write, text: &[u8]) {
    // Nobody is left to be told if this fails.
    let _ = sink.write_all(text).and_then(|()| sink.flush());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Hands over what is written, and takes no more before it is let.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(text.to_vec()).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_lost_is_counted() {
        let (open, gate) = channel();
        let (sender, written) = channel();
        let queue = Queue::to(Gate(gate, sender));
        // One may be in the thread's hands already.
        for n in 0..WAITING_MAX + 11 {
            queue.write(format!("{n}\n").as_bytes());
        }
        let lost = queue.lost.load(Relaxed);
        assert!((10..=11).contains(&lost), "{lost}");
        let texts = WAITING_MAX + 11 - lost as usize;
        for n in 0..texts {
            open.send(()).expect("the thread runs");
            assert_eq!(written.recv().expect("it writes"), format!("{n}\n").as_bytes());
        }
        queue.write(b"last\n");
        open.send(()).expect("the thread runs");
        queue.finish();
        let last = format!("==> {lost} lines are missing here: nobody read them\nlast\n");
        assert_eq!(written.try_recv().expect("it is finished"), last.as_bytes());
    }

    #[tokio::test]
    async fn one_can_wait_until_it_is_written_and_nobody_waits_for_ever() {
        let (open, gate) = channel();
        let (sender, written) = channel();
        let queue = Queue::to(Gate(gate, sender));
        queue.write(b"one\n");
        // Comes back, though nobody reads.
        queue.written(Duration::from_millis(1)).await;
        queue.write(b"two\n");
        assert!(written.try_recv().is_err());
        for _ in 0..2 {
            open.send(()).expect("the thread runs");
        }
        queue.written(Duration::from_secs(600)).await;
        assert_eq!(written.try_iter().collect::<Vec<_>>(), [b"one\n", b"two\n"]);
    }
}
