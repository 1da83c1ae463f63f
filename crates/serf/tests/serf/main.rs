//! What the library promises, on real sockets of 127.0.0.0/8. Nothing sleeps: conditions are awaited, with a limit
//! that only a failure reaches.

mod cluster;
mod combinations;
mod driver;
mod events;
mod faulty;
mod identity;
mod keys;
mod membership;
mod names;
mod policies;
mod queries;
#[cfg(any(feature = "quic", feature = "tls"))]
mod secure;
mod snapshot;

use std::future::Future;
use std::time::Duration;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The future's result, or a failure if it takes too long.
#[track_caller]
fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(result) => result,
            Err(_) => panic!("took too long: {caller}"),
        }
    }
}

/// Waits for something that nobody tells.
#[track_caller]
fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

/// Runs a test on both kinds of runtime.
fn on_both<F: Future<Output = ()> + Send + 'static>(test: impl Fn() -> F) {
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    single.block_on(test());
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    multi.block_on(async { tokio::spawn(test()).await.unwrap() });
}
