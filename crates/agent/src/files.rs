//! Files that the agent rewrites while it runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Replaces the content of a file in one step: whoever reads it sees the old content or the new one, also after
/// a crash. A new file can be read by its owner only; an old one keeps its mode, and a link stays a link.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".tmp.{}", std::process::id()));
    let temporary = Path::new(&temporary);
    match write_new(temporary, &path, content) {
        Ok(()) => fs::rename(temporary, &path).inspect_err(|_| drop(fs::remove_file(temporary))),
        // The file may be ours to write in a directory that is not.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::write(&path, content),
        Err(error) => {
            drop(fs::remove_file(temporary));
            Err(error)
        }
    }
}

/// Reads a file. An error comes with the step that failed.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, (&'static str, io::Error)> {
    let mut file = File::open(path).map_err(|error| ("open", error))?;
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(|error| ("read", error))?;
    Ok(content)
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

/// A directory for one test, removed afterwards.
#[cfg(test)]
pub(crate) mod testing {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) struct Directory(PathBuf);

    impl Directory {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name =
                format!("serf-agent-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).expect("a directory for the test");
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().expect("it is inside")).expect("a directory");
            std::fs::write(&path, content).expect("a file for the test");
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::testing::Directory;
    use super::*;

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
