//! One snapshot file: found, read and put in order at the start, then written as the machine asks. After each step, done or
//! failed, and at each byte of it, what is in the file system is a file that a restart can go on from.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serf_core::snapshot::{Replay, Snapshot, Write};

use super::disk::Disk;

/// What a file is rewritten under, before it takes the place of the old one. The reference, which removes the old one
/// first, may leave it behind alone (B33).
const SUFFIX: &str = ".compact";
/// How much is read at once.
const PIECE: usize = 64 << 10;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Writer<D: Disk> {
    disk: D,
    file: D::File,
    path: PathBuf,
    temporary: PathBuf,
    /// Length of what is whole. None if that is not certain, or not ours to say: then nothing is cut off.
    whole: Option<u64>,
    /// The beginning of a line is at the end, and could not be cut off.
    is_torn: bool,
    is_shared: bool,
}

/// What was found at the start.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) snapshot: Snapshot,
    /// It was a rewrite that had not been put in its place.
    pub(super) is_recovered: bool,
}

/// A step failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: &'static str,
    pub(super) error: io::Error,
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> Failed {
    move |error| Failed { step, error }
}

impl<D: Disk> Writer<D> {
    /// Opens a file, reads it, and sees to it that the next line begins where a line begins.
    pub(super) fn open(mut disk: D, path: &Path, rejoin_after_leave: bool) -> Result<(Self, Found), Failed> {
        let mut path = disk.target(path);
        let temporary = temporary(&path);
        let mut is_recovered = false;
        if disk.is_there(&temporary) {
            if disk.is_there(&path) {
                // A rewrite that was not finished. What it says is in the file.
                let _ = disk.remove(&temporary);
            } else {
                // A rewrite that was finished, in place of a file that was removed for it.
                is_recovered = disk.rename(&temporary, &path).is_ok();
            }
        }
        let is_new = !disk.is_there(&path);
        let mut file = disk.open(&path).map_err(at("open"))?;
        path = disk.target(&path);
        if is_new {
            // What will be written to it is of no use without its name.
            let _ = disk.sync_name(&path);
        }
        let mut replay = Replay::new(rejoin_after_leave);
        let mut buffer = vec![0; PIECE];
        loop {
            match disk.read(&mut file, &mut buffer).map_err(at("read"))? {
                0 => break,
                n => replay.feed(&buffer[..n]),
            }
        }
        let snapshot = replay.finish();
        let is_shared = !disk.claim(&file);
        let temporary = self::temporary(&path);
        let whole = (!is_shared).then_some(snapshot.whole);
        let mut writer = Self { disk, file, path, temporary, whole, is_torn: false, is_shared };
        // B31: cut off rather than ended, for a part of a line may look like a whole one.
        writer.is_torn = snapshot.torn > 0 && !writer.cut();
        Ok((writer, Found { snapshot, is_recovered }))
    }

    /// Where the file is, links followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another process writes to the file, too.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Does what the machine asks.
    pub(super) fn write(&mut self, write: &Write) -> Result<(), Failed> {
        match write {
            Write::Append { lines, sync } => {
                self.append(lines).map_err(at("write"))?;
                if *sync { self.disk.sync(&mut self.file).map_err(at("sync")) } else { Ok(()) }
            }
            Write::Replace { content } => self.replace(content),
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.is_torn && !self.cut() {
            // It becomes a line of its own, and with a blank at its end one that nobody takes for whole.
            self.disk.append(&mut self.file, b" \n")?;
            self.whole = None;
        }
        let done = self.disk.append(&mut self.file, lines);
        if done.is_ok() {
            self.whole = self.whole.map(|len| len + lines.len() as u64);
        }
        self.is_torn = done.is_err() && !self.cut();
        done
    }

    /// Cuts off what is not whole, if that is possible.
    fn cut(&mut self) -> bool {
        self.whole.is_some_and(|len| self.disk.truncate(&mut self.file, len).is_ok())
    }

    fn replace(&mut self, content: &[u8]) -> Result<(), Failed> {
        let Self { disk, file, path, temporary, .. } = self;
        // Left by a rewrite that failed.
        let _ = disk.remove(temporary);
        let mut new = disk.create(temporary, file).map_err(at("create"))?;
        let written = disk
            .append(&mut new, content)
            .map_err(at("write"))
            .and_then(|()| disk.sync(&mut new).map_err(at("sync")))
            .and_then(|()| {
                disk.claim(&new);
                disk.rename(temporary, path).map_err(at("rename"))
            });
        if let Err(why) = written {
            let _ = disk.remove(temporary);
            return Err(why);
        }
        *file = new;
        self.whole = Some(content.len() as u64);
        self.is_torn = false;
        self.disk.sync_name(&self.path).map_err(at("sync the directory of"))
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SUFFIX);
    name.into()
}
