//! The snapshot file on disk: read before the node is made, written beside its driver, so that no disk holds it up.
//! What is written, and when, is decided in `serf_core::snapshot`.
//!
//! The writer has a thread of its own rather than a task: what a node has recorded is written to its end even if the
//! runtime has ended before.

mod disk;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serf_core::snapshot::{Snapshot, Write};
use serf_core::{Command, Node};
use tokio::sync::{oneshot, watch};

use self::disk::Real;
use self::writer::{Failed, Found, Writer};
use crate::driver::WeakRemote;
use crate::fault;
use crate::handle::Request;
use crate::runtime::{Runtime, timeout};

/// How long the end of a node waits for its file: a disk that takes longer has other trouble.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A snapshot file cannot be opened or read. It was not changed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step} snapshot: {step} {}: {}", .path.display(), fault::errno(.error))]
pub struct SnapshotError {
    path: PathBuf,
    step: &'static str,
    #[source]
    error: io::Error,
}

impl SnapshotError {
    /// Which file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system says.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.error
    }
}

/// Opens and reads a file in a thread that then writes to it, and says in the log what it found.
pub(crate) async fn open(
    path: PathBuf,
    rejoin_after_leave: bool,
) -> Result<(Scribe, Written, Snapshot), SnapshotError> {
    let (writes, asked) = mpsc::channel();
    let (opening, opened) = oneshot::channel();
    let (ending, ended) = watch::channel(());
    let file = path.clone();
    let work = move || {
        // Dropped last of all.
        let _ending = ending;
        match Writer::open(Real, &file, rejoin_after_leave) {
            Ok((writer, found)) => {
                tell(&file, &found, writer.is_shared());
                if opening.send(Ok(found.snapshot)).is_ok() {
                    keep(writer, &asked);
                }
            }
            Err(failed) => drop(opening.send(Err(failed))),
        }
    };
    let failed = |Failed { step, error }| SnapshotError { path, step, error };
    if let Err(error) = thread::Builder::new().name("serf-snapshot".to_owned()).spawn(work) {
        return Err(failed(Failed { step: "open", error }));
    }
    let interrupted = || Failed { step: "read", error: io::ErrorKind::Interrupted.into() };
    let snapshot = opened.await.unwrap_or_else(|_| Err(interrupted())).map_err(failed)?;
    Ok((Scribe(writes), Written(ended), snapshot))
}

/// Writes until nobody can ask any more.
fn keep(mut writer: Writer<Real>, asked: &mpsc::Receiver<(Write, Owner)>) {
    let mut failed = false;
    while let Ok((write, node)) = asked.recv() {
        let result = writer.write(&write);
        note(writer.path(), &result, failed);
        failed = result.is_err();
        // At the end nobody listens any more, but it is written nevertheless.
        let _ = node.send_blocking(Request::Order(Command::SnapshotWritten { done: !failed }));
    }
}

fn tell(path: &Path, found: &Found, is_shared: bool) {
    let Found { snapshot, is_recovered } = found;
    let path = path.display();
    if *is_recovered {
        log::info!(target: "serf", "snapshot {path} was missing, and is taken from {path}.compact");
    }
    if is_shared {
        log::error!(
            target: "serf",
            "snapshot {path} is written by another process, too: each node needs a file of its own"
        );
    }
    for skipped in &snapshot.skipped {
        log::warn!(target: "serf", "{skipped} ({path}:{})", skipped.line);
    }
    let more = snapshot.skipped_lines - snapshot.skipped.len() as u64;
    if more > 0 {
        log::warn!(target: "serf", "skipped {more} more lines of snapshot {path}");
    }
    if snapshot.torn > 0 {
        log::warn!(
            target: "serf",
            "the last line of snapshot {path} has no end and does not count ({} bytes)",
            snapshot.torn
        );
    }
}

/// The way to the thread that writes. It ends, when all is written, after this is dropped.
#[derive(Debug)]
pub(crate) struct Scribe(
    // Not bounded: a machine asks for one write at a time, and at the end for one more.
    mpsc::Sender<(Write, Owner)>,
);

/// The node that is told how a write went.
type Owner = WeakRemote<Request<Node>>;

impl Scribe {
    /// Has this written.
    pub(crate) fn write(&self, write: Write, node: &Owner) {
        // The thread ends after us.
        let _ = self.0.send((write, node.clone()));
    }
}

/// Knows when all is written.
#[derive(Debug, Clone)]
pub(crate) struct Written(watch::Receiver<()>);

impl Written {
    /// Waits for that, within bounds.
    pub(crate) async fn wait(&self, runtime: &dyn Runtime) {
        // Nothing is ever sent: the other end is dropped at the end of the thread.
        if timeout(runtime, END_PATIENCE, self.0.clone().changed()).await.is_none() {
            log::error!(target: "serf", "the disk does not answer: the end of the snapshot may be missing");
        }
    }
}

/// Says in the log what became of a write, and whether the one before had failed.
fn note(path: &Path, result: &Result<(), Failed>, had_failed: bool) {
    let path = path.display();
    match result {
        Ok(()) if had_failed => log::info!(target: "serf", "snapshot {path} is written again"),
        Ok(()) => {}
        Err(Failed { step, error }) => log::error!(
            target: "serf",
            "failed to {step} snapshot {path}: {}; {}. It is tried again, and nothing is lost unless the node ends",
            fault::errno(error),
            remedy(error)
        ),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::PermissionDenied => "let this process write to it and make files beside it",
        io::ErrorKind::ReadOnlyFilesystem => "mount its disk for writing",
        io::ErrorKind::NotFound => "make its directory again",
        _ => "see to its disk",
    }
}
