//! The real file system: modes, links, locks and what it refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::{append, replace};
use crate::snapshot::disk::Real;
use crate::snapshot::writer::Writer;
use crate::testing::Directory;

fn open(path: &Path) -> Writer<Real> {
    Writer::open(Real, path, false).expect("it opens").0
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

// B37
#[test]
fn a_rewrite_keeps_the_mode() {
    let directory = Directory::new();
    let path = directory.path().join("snap");
    let mut writer = open(&path);
    // Readable for everybody, as far as the mask of the process allows.
    assert_eq!(mode(&path) & 0o600, 0o600);
    assert_eq!(mode(&path) & 0o133, 0);
    for wanted in [mode(&path), 0o640] {
        fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
        writer.write(&replace("clock: 7\n")).unwrap();
        assert_eq!(mode(&path), wanted);
    }
    writer.write(&append("clock: 8\n", true)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 7\nclock: 8\n");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
}

/// Only root can give files away: elsewhere there is nothing to be seen.
#[test]
fn a_rewrite_keeps_the_owner() {
    let directory = Directory::new();
    let path = directory.path().join("snap");
    let mut writer = open(&path);
    if chown(&path, Some(4321), Some(1234)).is_err() {
        return;
    }
    writer.write(&replace("clock: 7\n")).unwrap();
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.uid(), now.gid()), (4321, 1234));
}

#[test]
fn a_torn_line_is_cut_off_and_the_next_begins_where_a_line_begins() {
    let directory = Directory::new();
    let path = directory.write("snap", "clock: 7\nalive: a 127.0.0.1:79");
    let mut writer = open(&path);
    writer.write(&append("clock: 8\n", false)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 7\nclock: 8\n");
}

#[test]
fn a_link_stays_a_link() {
    let directory = Directory::new();
    let target = directory.write("elsewhere/snap", "clock: 1\n");
    let link = directory.path().join("snap");
    symlink(&target, &link).unwrap();
    let mut writer = open(&link);
    writer.write(&replace("clock: 7\n")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "clock: 7\n");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    // One that leads nowhere yet, too.
    let (nowhere, link) = (directory.path().join("elsewhere/new"), directory.path().join("other"));
    symlink(&nowhere, &link).unwrap();
    let mut writer = open(&link);
    writer.write(&replace("clock: 7\n")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && nowhere.is_file());
}

#[test]
fn a_second_writer_knows_of_the_first_also_after_a_rewrite() {
    let directory = Directory::new();
    let path = directory.path().join("snap");
    let mut first = open(&path);
    assert!(!first.is_shared());
    assert!(open(&path).is_shared());
    first.write(&replace("clock: 7\n")).unwrap();
    assert!(open(&path).is_shared());
    drop(first);
    assert!(!open(&path).is_shared());
}

#[test]
fn what_is_no_file_is_refused_and_left_alone() {
    let directory = Directory::new();
    for (path, why) in [
        (directory.path().join("no/snap"), "No such file or directory"),
        (directory.path().to_owned(), "Is a directory"),
        ("/dev/null".into(), "not a regular file"),
    ] {
        let failed = Writer::open(Real, &path, false).unwrap_err();
        assert_eq!(failed.step, "open");
        assert!(failed.error.to_string().starts_with(why), "{}", failed.error);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_was_removed_is_made_again_by_the_next_rewrite() {
    let directory = Directory::new();
    let path = directory.path().join("snap");
    let mut writer = open(&path);
    fs::remove_file(&path).unwrap();
    writer.write(&append("clock: 6\n", false)).unwrap();
    writer.write(&replace("clock: 7\n")).unwrap();
    writer.write(&append("clock: 8\n", false)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 7\nclock: 8\n");
}
