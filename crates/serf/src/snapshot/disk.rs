//! What keeping a snapshot takes of a file system, and the one that there is. Tests bring others, which fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::files;

/// A file system. What has been appended outlives the process; what has been synced, and the name of a file whose
/// directory has been, outlives a loss of power.
pub(crate) trait Disk {
    type File;

    /// Where a path leads, links followed.
    fn target(&mut self, path: &Path) -> PathBuf;
    /// Whether there is something at the path.
    fn is_there(&mut self, path: &Path) -> bool;
    /// Opens a file, to read from its beginning and to append at its end. Makes one if there is none.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Makes a file with the permissions and, if it can, the owner of another, to append to. There must be none.
    fn create(&mut self, path: &Path, like: &Self::File) -> io::Result<Self::File>;
    /// The next bytes; none at the end.
    fn read(&mut self, file: &mut Self::File, buffer: &mut [u8]) -> io::Result<usize>;
    /// Appends all of it, or fails, having appended any part of it.
    fn append(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file off.
    fn truncate(&mut self, file: &mut Self::File, len: u64) -> io::Result<()>;
    /// Waits until the content of a file has reached the disk.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// Puts a file in the place of another, or where there is none, in one step.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Waits until the name of a file has reached the disk.
    fn sync_name(&mut self, path: &Path) -> io::Result<()>;
    /// Marks a file as ours. False if it is another process's already, as far as that can be known.
    fn claim(&mut self, file: &Self::File) -> bool;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Real;

impl Disk for Real {
    type File = File;

    fn target(&mut self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn is_there(&mut self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok()
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            // A device or pipe can neither be read again nor replaced.
            return Err(io::Error::other("not a regular file"));
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        options.open(path)
    }

    fn create(&mut self, path: &Path, like: &File) -> io::Result<File> {
        let mut options = OpenOptions::new();
        // Never through something that stands there already: it might be somebody else's link.
        options.read(true).append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let like = like.metadata()?;
        // A file of another owner is rewritten all the same if it cannot be given back: it would grow for ever.
        let _ = files::keep_owner(&file, &like);
        file.set_permissions(like.permissions())?;
        Ok(file)
    }

    fn read(&mut self, file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn append(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn truncate(&mut self, file: &mut File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_name(&mut self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        // Not every directory can be read by those who may write to it, and not every file system can do this.
        let Ok(directory) = File::open(directory) else { return Ok(()) };
        match directory.sync_all() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    #[cfg(not(unix))]
    fn sync_name(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    // Elsewhere a lock would keep others from reading, too.
    #[cfg(unix)]
    fn claim(&mut self, file: &File) -> bool {
        !matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    }

    #[cfg(not(unix))]
    fn claim(&mut self, _: &File) -> bool {
        true
    }
}
