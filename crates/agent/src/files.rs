//! Files that the agent reads, and directories for tests of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read as a whole, in bytes: far above any configuration, and nothing that hurts. A device
/// that never ends is not read for ever.
const SIZE_MAX: u64 = 16 << 20;

/// Reads a file. An error comes with the step that failed.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, (&'static str, io::Error)> {
    let file = File::open(path).map_err(|error| ("open", error))?;
    read_all(file).map_err(|error| ("read", error))
}

/// Reads to the end, within bounds.
pub(crate) fn read_all(source: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    source.take(SIZE_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > SIZE_MAX {
        return Err(io::Error::other(format!("it is larger than {SIZE_MAX} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_not_read_for_ever() {
        assert_eq!(
            read_all(io::repeat(b' ').take(SIZE_MAX)).expect("it is just not too large").len() as u64,
            SIZE_MAX
        );
        let error = read_all(io::repeat(b' ')).expect_err("it has no end");
        assert_eq!(error.to_string(), "it is larger than 16777216 bytes");
    }
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
