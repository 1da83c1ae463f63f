//! The examples, run as programs. Nothing waits for a time: what is to come is looked for again and again, with a limit
//! that only a failure reaches.

mod small;
mod toyconsul;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A loaded machine is slow; what is waited for comes at last or is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// An example, which `cargo test -p serf` has built beside this test, and `cargo test --test examples` has not.
fn example(name: &str) -> Command {
    let this = std::env::current_exe().expect("the path of this test");
    let target =
        this.parent().and_then(|deps| deps.parent()).expect("it is in a folder of the target folder");
    let path: PathBuf = target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let built = path.metadata().and_then(|meta| meta.modified());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let sources = [folder.join(name).join("main.rs"), folder.join(format!("{name}.rs"))];
    let written = sources.iter().find_map(|source| source.metadata().ok()?.modified().ok());
    let is_there = built.is_ok_and(|built| written.is_none_or(|written| written < built));
    assert!(is_there, "{} is missing or old: cargo build -p serf --examples", path.display());
    Command::new(path)
}

#[track_caller]
fn until<T>(what: impl Fn() -> String, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {}", what());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An example that runs, with what it has printed so far. It is killed in the end.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it is started");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (out, printed) = (child.stdout.take().expect("it is piped"), lines.clone());
        std::thread::spawn(move || {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| printed.lock().unwrap().push(line));
        });
        Self { child, lines }
    }

    /// Waits for a line in which there is this.
    #[track_caller]
    fn prints(&self, what: &str) -> String {
        until(
            || format!("{what:?} in {:?}", self.lines.lock().unwrap()),
            || self.lines.lock().unwrap().iter().find(|line| line.contains(what)).cloned(),
        )
    }

    /// Takes what was printed so far away.
    fn forget(&self) {
        self.lines.lock().unwrap().clear();
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        until(|| "its end".to_owned(), || self.child.try_wait().expect("it can be waited for"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
