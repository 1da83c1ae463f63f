//! Files that are rewritten while a node runs, and must be whole at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the content of a file in one step: whoever reads it sees the old content or the new one, also after
/// a crash. A new file can be read by its owner only; an old one keeps its mode and its owner, and a link stays a link.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("serf-doc-{}", std::process::id()));
/// serf::files::replace(&path, b"new")?;
/// assert_eq!(std::fs::read(&path)?, b"new");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The file could not be written; it is as it was. Only where no other file can take its place there may be less of it
/// than was to be written: in a directory that is not ours, for a file of another owner, or mounted by itself.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".tmp.{}", std::process::id()));
    let temporary = Path::new(&temporary);
    let replaced = write_new(temporary, &path, content).and_then(|()| fs::rename(temporary, &path));
    match replaced {
        Ok(()) => {
            keep_name(&path);
            Ok(())
        }
        Err(error) => {
            drop(fs::remove_file(temporary));
            if is_about_the_place(&error) { overwrite(&path, content) } else { Err(error) }
        }
    }
}

/// Whether no other file can take the place of one that can perhaps be written: its directory or its owner is not ours,
/// nothing can be made beside it, or it is a mount of its own, as those handed into containers are.
fn is_about_the_place(error: &io::Error) -> bool {
    use io::ErrorKind::{
        CrossesDevices, InvalidFilename, PermissionDenied, ReadOnlyFilesystem, ResourceBusy,
    };
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | ResourceBusy | CrossesDevices | InvalidFilename
    )
}

fn write_new(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    // Left behind by a crash of a process with the same number.
    drop(fs::remove_file(temporary));
    let mut file = create_private(temporary)?;
    if let Ok(old) = fs::metadata(path) {
        keep_owner(&file, &old)?;
        file.set_permissions(old.permissions())?;
    }
    file.write_all(content)?;
    file.sync_all()
}

/// Who may read a file at the next start is not for us to change.
#[cfg(unix)]
pub(crate) fn keep_owner(file: &File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    fchown(file, Some(old.uid()), Some(old.gid()))
}

#[cfg(not(unix))]
pub(crate) fn keep_owner(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Writes over what is there. It is cut last, so that a full disk takes nothing that has its place already.
fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Never through something that stands there already: it might be somebody else's link.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Has the new name of a file outlive a loss of power, where directories can be asked for that.
fn keep_name(path: &Path) {
    #[cfg(unix)]
    if let Some(directory) = path.parent()
        && let Ok(directory) =
            File::open(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })
    {
        // The file itself is whole in any case.
        let _ = directory.sync_all();
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::testing::Directory;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn new_files_are_private_and_old_ones_keep_their_mode() {
        let directory = Directory::new();
        let path = directory.path().join("tags");
        replace(&path, b"one").expect("written");
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        replace(&path, b"two").expect("written");
        assert_eq!((mode(&path), fs::read(&path).expect("read")), (0o644, b"two".to_vec()));
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1, "nothing is left behind");
    }

    /// Only root can give files away: elsewhere there is nothing to be seen.
    #[test]
    fn an_old_file_keeps_its_owner() {
        use std::os::unix::fs::{MetadataExt, chown};
        let directory = Directory::new();
        let path = directory.write("ring", "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        if chown(&path, Some(4321), Some(1234)).is_err() {
            return;
        }
        replace(&path, b"new").expect("written");
        let now = fs::metadata(&path).expect("it exists");
        assert_eq!((now.uid(), now.gid(), mode(&path)), (4321, 1234, 0o640));
        assert_eq!(fs::read(&path).expect("read"), b"new");
    }

    #[test]
    fn where_nothing_can_take_the_place_of_a_file_it_is_written_over() {
        use std::os::unix::fs::MetadataExt;
        let directory = Directory::new();
        // There can be no longer name beside it.
        let path = directory.write(&"x".repeat(255), "old and long");
        let before = fs::metadata(&path).expect("it exists").ino();
        replace(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::metadata(&path).expect("it exists").ino(), before);
        for kind in [io::ErrorKind::ResourceBusy, io::ErrorKind::ReadOnlyFilesystem] {
            assert!(is_about_the_place(&kind.into()), "{kind}");
        }
        assert!(!is_about_the_place(&io::ErrorKind::StorageFull.into()));
    }

    #[test]
    fn links_stay_links() {
        let directory = Directory::new();
        let target = directory.write("elsewhere/tags", "old");
        let link = directory.path().join("tags");
        symlink(&target, &link).expect("linked");
        replace(&link, b"new").expect("written");
        assert!(fs::symlink_metadata(&link).expect("it exists").is_symlink());
        assert_eq!(fs::read(&target).expect("read"), b"new");
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let directory = Directory::new();
        assert!(replace(&directory.path().join("no/tags"), b"x").is_err());
    }
}
