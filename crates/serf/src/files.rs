//! Files that are rewritten while a node runs, and must be whole at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the content of a file in one step: whoever reads it sees the old content or the new one, also after
/// a crash. A new file can be read by its owner only; an old one keeps its mode, and a link stays a link.
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
/// The file could not be written; it is as it was. Only if its directory lets us make no other file there may be less
/// of it than was to be written.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".tmp.{}", std::process::id()));
    let temporary = Path::new(&temporary);
    match write_new(temporary, &path, content) {
        Ok(()) => {
            fs::rename(temporary, &path).inspect_err(|_| drop(fs::remove_file(temporary)))?;
            keep_name(&path);
            Ok(())
        }
        // The file may be ours to write in a directory that is not.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::write(&path, content),
        Err(error) => {
            drop(fs::remove_file(temporary));
            Err(error)
        }
    }
}

fn write_new(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    // Left behind by a crash of a process with the same number.
    drop(fs::remove_file(temporary));
    let mut file = create_private(temporary)?;
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(content)?;
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
