//! The keys of a cluster, and the files that keep them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serf::{Config, Key, KeyError, KeyReport, Serf, Status, Tags};

use crate::cluster::{addr, becomes, config, encrypted, key};
use crate::events::pair;
use crate::{on_both, within};

/// A directory for one test, removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("serf-keys-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn keeping(name: &str, bind: &str, keys: &[Key], file: &Path) -> Serf {
    let keys = keys.to_vec();
    let keyring_file = Some(file.to_owned());
    Serf::start(Config { keys, keyring_file, ..config(name, bind) }).await.unwrap()
}

fn texts(report: &KeyReport) -> Vec<&str> {
    report.messages.values().map(String::as_str).collect()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

const OLD: &str = "AQEBAQEBAQEBAQEBAQEBAQ==";
const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

// "Keyring file after install: 4 lines, old key on line 2; after use: new key on line 2; after remove: 3 lines."
#[test]
fn keys_are_rotated_and_kept() {
    on_both(async || {
        let directory = Directory::new();
        let (old, new) = (key(1, 16), key(2, 32));
        let files = [directory.0.join("a"), directory.0.join("b")];
        let a = keeping("a", "127.0.0.1:0", std::slice::from_ref(&old), &files[0]).await;
        let b = keeping("b", "127.0.0.2:0", std::slice::from_ref(&old), &files[1]).await;
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;

        let report = within(a.keys().install(&new)).await.unwrap();
        assert_eq!((report.check(), report.num_nodes, report.num_resp), (Ok(()), 2, 2));
        assert!(report.primary_keys.is_empty(), "whoever lists nothing says nothing: {report:?}");
        for file in &files {
            assert_eq!((lines(file).len(), lines(file)[1].as_str()), (4, &*format!("  \"{OLD}\",")));
        }
        let report = within(b.keys().list()).await.unwrap();
        report.check().unwrap();
        let both = [(OLD.to_owned(), 2), (NEW.to_owned(), 2)].into();
        assert_eq!((report.keys, report.primary_keys), (both, [(OLD.to_owned(), 2)].into()));

        within(b.keys().use_primary(&new)).await.unwrap().check().unwrap();
        for file in &files {
            assert_eq!(lines(file)[1], format!("  \"{NEW}\","));
        }
        within(a.keys().with_relays(1).remove(&old)).await.unwrap().check().unwrap();
        for (node, file) in [&a, &b].into_iter().zip(&files) {
            assert_eq!(lines(file), ["[".to_owned(), format!("  \"{NEW}\""), "]".to_owned()]);
            assert_eq!(node.keys().local().await.unwrap(), std::slice::from_ref(&new));
        }
        within(b.set_tags(Tags::from([("x".into(), "y".into())]))).await.unwrap();
        let c = encrypted("c", "127.0.0.3:0", new).await;
        within(c.join([addr(&a)])).await.unwrap();
    });
}

#[test]
fn what_nodes_refuse_is_in_the_report() {
    on_both(async || {
        let a = encrypted("a", "127.0.0.1:0", key(1, 16)).await;
        for (report, want) in [
            (within(a.keys().use_primary(key(9, 16))).await, "requested key is not in the keyring"),
            (within(a.keys().remove(key(1, 16))).await, "removing the primary key is not allowed"),
            (within(a.keys().install([0; 5])).await, "key size must be 16, 24 or 32 bytes"),
        ] {
            let report = report.unwrap();
            assert_eq!(report.check(), Err(KeyError::Failed { failed: 1, nodes: 1 }));
            assert_eq!(report.check().unwrap_err().to_string(), "1/1 nodes reported failure");
            assert_eq!(texts(&report), [want]);
        }
        let mut missing = KeyReport::default();
        (missing.num_nodes, missing.num_resp) = (3, 2);
        assert_eq!(missing.check().unwrap_err().to_string(), "2/3 nodes reported success");

        let (a, b) = pair().await;
        let report = within(a.keys().install(key(2, 32))).await.unwrap();
        assert_eq!(texts(&report), ["No keyring to modify (encryption not enabled)"; 2]);
        let report = within(b.keys().list()).await.unwrap();
        assert_eq!(texts(&report), ["Keyring is empty (encryption not enabled)"; 2]);
    });
}

#[test]
fn a_file_that_cannot_be_written_is_a_failure_that_says_so() {
    on_both(async || {
        let directory = Directory::new();
        let file = directory.0.join("nowhere/ring");
        let a = keeping("a", "127.0.0.1:0", &[key(1, 16)], &file).await;
        let report = within(a.keys().install(key(2, 32))).await.unwrap();
        let why = format!("Failed to write keyring file: open {}: no such file or directory", file.display());
        assert_eq!((texts(&report), report.num_err), (vec![&*why], 1));
        assert_eq!(a.keys().local().await.unwrap().len(), 2, "the change stays");
    });
}
