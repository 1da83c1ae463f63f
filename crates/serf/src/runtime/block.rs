//! Waiting for a future in a thread that has no runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Runs a future to its end in this thread, which sleeps meanwhile. It suits what a node's handles give, since that
/// needs no runtime of its own; nothing else is run here.
///
/// ```
/// assert_eq!(serf::runtime::block_on(async { 2 + 2 }), 4);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            // Whoever wakes us between the poll and here leaves a token: then this returns at once.
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::block_on;

    #[test]
    fn a_future_woken_from_another_thread_is_run_to_its_end() {
        for n in 0..100 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let thread = std::thread::spawn(move || sender.send(n));
            assert_eq!(block_on(receiver), Ok(n));
            thread.join().unwrap().unwrap();
        }
    }
}
