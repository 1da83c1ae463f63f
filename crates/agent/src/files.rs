//! Files that the agent reads, and directories for tests of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file. An error comes with the step that failed.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, (&'static str, io::Error)> {
    let mut file = File::open(path).map_err(|error| ("open", error))?;
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(|error| ("read", error))?;
    Ok(content)
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
