//! The service registry, as processes: who joins late, crashes or starts again.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Running, example, until};

/// A node in a process, with a loopback address and a directory of its own.
struct Node {
    name: &'static str,
    gossip: String,
    control: String,
    dir: PathBuf,
    process: Running,
}

impl Node {
    fn start(name: &'static str, join: &[&Self]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (n, pid) = (NEXT.fetch_add(1, Ordering::Relaxed) + 1, std::process::id());
        let host = format!("127.{}.{}.{}", 64 + pid % 128, pid / 128 % 250 + 1, n % 250 + 1);
        let dir = std::env::temp_dir().join(format!("toyconsul-test-{pid}-{n}"));
        let (process, gossip, control) = launch(name, &format!("{host}:0"), &dir, join);
        Self { name, gossip, control, dir, process }
    }

    /// Again, where it was.
    fn restart(&mut self) {
        let (process, gossip, control) = launch(self.name, &self.gossip, &self.dir, &[]);
        assert_eq!(gossip, self.gossip);
        (self.process, self.control) = (process, control);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = example("toyconsul");
        command.arg(words[0]).args(["-control", &self.control]).args(&words[1..]);
        command
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("it is run")
    }

    #[track_caller]
    fn does(&self, words: &[&str]) {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn refuses(&self, words: &[&str], why: &str) {
        let output = self.ask(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(why), "{words:?}: {text}");
    }

    /// Waits until it lists just this: services and nodes.
    #[track_caller]
    fn lists(&self, want: &[&str]) {
        let list = || {
            let output = self.ask(&["list"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).expect("text");
            text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<Vec<_>>()
        };
        until(|| format!("{want:?} at {}, but {:?}", self.name, list()), || (list() == want).then_some(()));
    }

    fn host(&self) -> &str {
        self.gossip.split(':').next().expect("an address")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn launch(name: &str, bind: &str, dir: &PathBuf, join: &[&Node]) -> (Running, String, String) {
    let mut command = example("toyconsul");
    command.args([
        "start",
        "-profile",
        "local",
        "-name",
        name,
        "-bind",
        bind,
        "-control",
        "127.0.0.1:0",
        "-data",
    ]);
    command.arg(dir);
    for node in join {
        command.args(["-join", &node.gossip]);
    }
    let process = Running::start(command);
    let line = process.prints("control at ");
    let (gossip, control) = line.split_once(", control at ").expect("two addresses");
    let gossip = gossip.rsplit(' ').next().expect("an address").to_owned();
    let control = control.to_owned();
    (process, gossip, control)
}

#[test]
fn late_joiners_crashes_and_restarts_leave_the_registry_right() {
    let mut a = Node::start("a", &[]);
    let b = Node::start("b", &[&a]);
    let c = Node::start("c", &[]);
    c.does(&["join", &b.gossip]);
    a.does(&["register", "web", "8080"]);
    b.does(&["register", "db", "5432"]);
    b.does(&["register", "web", "8081"]);
    for node in [&a, &b, &c] {
        node.lists(&["db b", "web a", "web b"]);
    }
    let output = c.ask(&["list", "web"]);
    let want = format!("web a {}:8080\nweb b {}:8081\n", a.host(), b.host());
    assert_eq!(String::from_utf8_lossy(&output.stdout), want);

    // It was not there when they registered.
    let late = Node::start("late", &[&c]);
    late.lists(&["db b", "web a", "web b"]);
    let watcher = Running::start(late.command(&["watch"]));
    watcher.prints(&format!("+ web a {}:8080", a.host()));
    watcher.prints("+ db b ");

    watcher.forget();
    a.process.kill();
    watcher.prints("- web a ");
    for node in [&b, &c, &late] {
        node.lists(&["db b", "web b"]);
    }

    // Nobody tells it whom to join, nor what to register.
    watcher.forget();
    a.restart();
    watcher.prints("+ web a ");
    for node in [&a, &b, &c, &late] {
        node.lists(&["db b", "web a", "web b"]);
    }

    watcher.forget();
    b.does(&["deregister", "db"]);
    b.does(&["register", "web", "9090"]);
    watcher.prints("- db b ");
    watcher.prints(&format!("+ web b {}:9090", b.host()));
    a.lists(&["web a", "web b"]);
}

#[test]
fn who_leaves_takes_its_services_along_and_comes_back_with_them() {
    let a = Node::start("a", &[]);
    let mut b = Node::start("b", &[&a]);
    b.does(&["register", "web", "80"]);
    a.lists(&["web b"]);
    b.does(&["leave"]);
    assert!(b.process.ends().success());
    a.lists(&[]);
    // One that has left does not call the others by itself.
    b.restart();
    b.lists(&["web b"]);
    b.does(&["join", &a.gossip]);
    a.lists(&["web b"]);
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let a = Node::start("a", &[]);
    a.does(&["register", "web", "80"]);
    a.refuses(&["register", "web", "eighty"], "no port: \"eighty\"");
    a.refuses(&["register", "web", "0"], "no port: \"0\"");
    a.refuses(&["register", "a/b", "80"], "a service has 1 to 64 letters");
    a.refuses(&["register", "web"], "no such request: \"register web\"");
    a.refuses(&["deregister", "db"], "not registered here: \"db\"");
    a.refuses(&["join", "127.0.0.1:1"], "failed to join 127.0.0.1:1");
    a.refuses(&["register", &"x".repeat(2000), "80"], "the request is too long");
    a.refuses(&["bake"], "no such command: bake");
    for n in 0.. {
        let name = format!("a-service-with-a-rather-long-name-{n}");
        let output = a.ask(&["register", &name, "80"]);
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(
                text.contains("Encoded length of tags exceeds limit of 512 bytes") && n > 5,
                "{n}: {text}"
            );
            break;
        }
        a.does(&["deregister", &name]);
        a.does(&["register", &name, "81"]);
    }
    let listed = String::from_utf8(a.ask(&["list"]).stdout).expect("text");
    assert_eq!(listed.lines().filter(|line| line.ends_with(":81")).count(), listed.lines().count() - 1);

    let nobody = example("toyconsul").args(["list", "-control", "127.0.0.1:1"]).output().expect("it is run");
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no node at 127.0.0.1:1"));
    let open = example("toyconsul")
        .args(["start", "-name", "x", "-control", "0.0.0.0:0"])
        .output()
        .expect("it is run");
    assert!(String::from_utf8_lossy(&open.stderr).contains("-control must be a loopback address"));
}
