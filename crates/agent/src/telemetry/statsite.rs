//! Lines by TCP, as statsite takes them: a connection that is made again after it broke.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::text::os_error;

/// Between two attempts to reach a collector.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// A collector that does not answer, or takes nothing, for so long is taken for lost.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// Sends batches of lines in their order until there will be no more. A batch that was being sent when the connection
/// broke is lost.
pub(super) async fn stream(address: String, mut batches: mpsc::Receiver<String>, retry: Duration) {
    let mut trouble = Trouble::new("statsite", &address);
    let mut connection = None;
    while let Some(batch) = batches.recv().await {
        if connection.as_ref().is_some_and(is_over) {
            connection = None;
        }
        while connection.is_none() {
            match patiently(TcpStream::connect(&address)).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    trouble.over();
                    connection = Some(stream);
                }
                Err(error) => {
                    trouble.tell(&error);
                    if batches.is_closed() {
                        return;
                    }
                    sleep(retry).await;
                }
            }
        }
        if let Some(stream) = &mut connection
            && let Err(error) = patiently(stream.write_all(batch.as_bytes())).await
        {
            trouble.lost();
            trouble.tell(&error);
            connection = None;
        }
    }
    if let Some(mut stream) = connection {
        let _ = stream.shutdown().await;
    }
}

async fn patiently<T>(io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(WAIT, io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether the other side has closed, which writing alone would notice too late. It has nothing else to say.
fn is_over(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// What is logged about a collector: when it cannot be reached, once, and when it can be again.
#[derive(Debug)]
pub(super) struct Trouble {
    who: String,
    told: bool,
    lost: u64,
}

impl Trouble {
    pub(super) fn new(kind: &str, address: &str) -> Self {
        Self { who: format!("{kind} at '{address}'"), told: false, lost: 0 }
    }

    /// A batch was lost.
    pub(super) fn lost(&mut self) {
        self.lost += 1;
    }

    pub(super) fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            let (who, why) = (&self.who, os_error(error));
            log::warn!(target: "agent", "metrics do not reach {who}: {why}; trying again every {RETRY_INTERVAL:?}");
        }
    }

    pub(super) fn over(&mut self) {
        if std::mem::take(&mut self.told) {
            let (who, lost) = (&self.who, std::mem::take(&mut self.lost));
            log::info!(target: "agent", "metrics reach {who} again, {lost} batches were lost");
        }
    }
}
