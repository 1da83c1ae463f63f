//! The file that keeps the keys for the next start, rewritten whenever somebody in the cluster changes them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use serf_core::{Command, Node, QueryKey};
use serf_wire::encrypt::Key;
use tokio::sync::mpsc;

use crate::driver::WeakRemote;
use crate::handle::Request;
use crate::runtime::{Runtime, unblock};
use crate::{fault, files};

/// Changes that wait for the disk. A cluster changes its keys now and then; what comes faster is not kept, and not
/// answered.
const WAITING_MAX: usize = 64;

/// Writes keys to a file in one step, see [`files::replace`]: a JSON list of their base64 forms, the primary one first.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("serf-doc-ring-{}", std::process::id()));
/// serf::write_keyring(&path, &[serf::Key::new(b"0123456789abcdef")?])?;
/// assert_eq!(std::fs::read_to_string(&path)?, "[\n  \"MDEyMzQ1Njc4OWFiY2RlZg==\"\n]");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`files::replace`].
pub fn write_keyring(path: &Path, keys: &[Key]) -> io::Result<()> {
    let lines: Vec<String> =
        keys.iter().map(|key| format!("\n  \"{}\"", Base64::encode_string(key.as_bytes()))).collect();
    let end = if lines.is_empty() { "]" } else { "\n]" };
    files::replace(path, format!("[{}{end}", lines.join(",")).as_bytes())
}

/// Writes changes one after another, beside the driver, and tells the machine how that went.
pub(crate) struct Keeper(mpsc::Sender<(QueryKey, Vec<Key>)>);

impl Keeper {
    /// Starts it. It ends when it is dropped.
    pub(crate) fn start(path: PathBuf, node: WeakRemote<Request<Node>>, runtime: &Arc<dyn Runtime>) -> Self {
        let (sender, mut changes) = mpsc::channel::<(QueryKey, Vec<Key>)>(WAITING_MAX);
        let files = runtime.clone();
        runtime.spawn(Box::pin(async move {
            while let Some((key, keys)) = changes.recv().await {
                let file = path.clone();
                let result = match unblock(&*files, move || write_keyring(&file, &keys)).await {
                    Some(Ok(())) => Ok(()),
                    Some(Err(error)) => {
                        let why = fault::call("open", &error);
                        let why = why.strip_prefix("open: ").unwrap_or(&why);
                        Err(format!("Failed to write keyring file: open {}: {why}", path.display()))
                    }
                    None => Err("Failed to write keyring file: interrupted".to_owned()),
                };
                if node.send(Request::Order(Command::KeysKept { key, result })).await.is_err() {
                    return;
                }
            }
        }));
        Self(sender)
    }

    /// Has keys written.
    pub(crate) fn keep(&self, key: QueryKey, keys: Vec<Key>) {
        if self.0.try_send((key, keys)).is_err() {
            log::error!(target: "serf", "keys change faster than they can be written, a change is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Directory;

    #[test]
    fn a_keyring_has_a_line_for_each_key() {
        let directory = Directory::new();
        let path = directory.path().join("keyring");
        for (n, lines) in [(0, 1), (1, 3), (2, 4), (9, 11)] {
            let keys: Vec<Key> = (0..n).map(|n| Key::new(&[n; 32]).unwrap()).collect();
            write_keyring(&path, &keys).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), lines);
        }
    }
}
