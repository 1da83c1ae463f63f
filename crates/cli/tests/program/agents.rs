//! Agents under test: started, asked through their own command line, and ended, whatever happens.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Which program an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The one of this project.
    Ours,
    /// HashiCorp's.
    Go,
}

const GO: &str = "/usr/bin/serf";
/// A loaded machine is slow; what is waited for comes at last or is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

impl Program {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Ours => env!("CARGO_BIN_EXE_serf"),
            Self::Go => GO,
        }
    }
}

/// Whether there is a real agent to test with. Says why not.
pub(crate) fn go_is_here(test: &str) -> bool {
    let here = Path::new(GO).exists();
    if !here {
        eprintln!("{test}: skipped, {GO} is not installed (apt-get install serf)");
    }
    here
}

pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) gossip: String,
    pub(crate) rpc: String,
    flags: Vec<String>,
    dir: PathBuf,
    starts: u32,
    /// What its shell does first.
    pub(crate) before: &'static str,
    /// More variables of its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    child: Option<Child>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback address of this process's own, and a port that is free on it.
fn free_address() -> (String, u16) {
    let n = NEXT.fetch_add(1, Ordering::Relaxed) + 1;
    let pid = std::process::id();
    let host = format!("127.{}.{}.{}", 64 + pid % 128, pid / 128 % 250 + 1, n % 250 + 1);
    for _ in 0..50 {
        let tcp = TcpListener::bind((host.as_str(), 0)).expect("loopback addresses can be bound");
        let port = tcp.local_addr().expect("it is bound").port();
        if UdpSocket::bind((host.as_str(), port)).is_ok() {
            return (host, port);
        }
    }
    panic!("no free port on {host}");
}

impl Agent {
    pub(crate) fn new(program: Program, name: &str, flags: &[&str]) -> Self {
        let (host, port) = free_address();
        // Not the same host: a port that is free on one may be that of the gossip on the other.
        let (rpc_host, rpc_port) = free_address();
        let dir = std::env::temp_dir().join(format!("serf-test-{}-{port}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        Self {
            name: name.into(),
            program,
            gossip: format!("{host}:{port}"),
            rpc: format!("{rpc_host}:{rpc_port}"),
            flags: flags.iter().map(ToString::to_string).collect(),
            dir,
            starts: 0,
            before: "",
            environment: Vec::new(),
            child: None,
        }
    }

    pub(crate) fn started(program: Program, name: &str, flags: &[&str]) -> Self {
        let mut agent = Self::new(program, name, flags);
        agent.start(&[]);
        agent
    }

    /// Has it listen for commands at a socket in its directory.
    pub(crate) fn at_socket(mut self) -> Self {
        self.rpc = format!("unix:{}", self.socket().display());
        self
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("rpc.sock")
    }

    /// Writes a file where it runs, so that flags can name it without its place.
    pub(crate) fn write(&self, file: &str, content: &str) {
        std::fs::write(self.dir.join(file), content).expect("a file can be written");
    }

    /// What is in such a file; nothing if there is none.
    pub(crate) fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join(file)).unwrap_or_default()).into_owned()
    }

    /// What begins so where it runs.
    pub(crate) fn files(&self, start: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.dir).expect("it is there").flatten();
        files.filter(|f| f.file_name().to_string_lossy().starts_with(start)).map(|f| f.path()).collect()
    }

    /// Removes such a file.
    pub(crate) fn remove(&self, file: &str) {
        std::fs::remove_file(self.dir.join(file)).expect("the file is there");
    }

    /// Starts it and waits until its RPC answers.
    pub(crate) fn start(&mut self, more: &[&str]) {
        self.spawn(more);
        until(&format!("{} answers", self.name), || {
            let child = self.child.as_mut().expect("it was spawned");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                panic!("{} ended with {status} at its start:\n{}", self.name, self.log());
            }
            self.cli("info", &[]).status.success().then_some(())
        });
    }

    pub(crate) fn spawn(&mut self, more: &[&str]) {
        self.starts += 1;
        let log = std::fs::File::create(self.log_path()).expect("a log file");
        let both = (log.try_clone().expect("a file can be shared").into(), log.into());
        self.spawn_with(more, both);
    }

    /// The same, with its output going nowhere: a pipe that nobody reads before its end.
    pub(crate) fn spawn_unread(&mut self) -> ChildStdout {
        self.starts += 1;
        self.spawn_with(&[], (Stdio::piped(), Stdio::null()));
        self.child.as_mut().and_then(|child| child.stdout.take()).expect("a pipe")
    }

    fn spawn_with(&mut self, more: &[&str], (stdout, stderr): (Stdio, Stdio)) {
        let child = Command::new("sh")
            .args(["-c", &format!("{}exec \"$0\" \"$@\"", self.before), self.program.path(), "agent"])
            .args([
                format!("-node={}", self.name),
                format!("-bind={}", self.gossip),
                format!("-rpc-addr={}", self.rpc),
                "-profile=local".into(),
                "-log-level=debug".into(),
            ])
            .args(&self.flags)
            .args(more)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        self.child = Some(child);
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("log.{}", self.starts))
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Runs a command against it, with our program.
    pub(crate) fn cli(&self, command: &str, args: &[&str]) -> Output {
        cli(Program::Ours, command, &self.rpc, args)
    }

    /// Watches its log and events.
    pub(crate) fn monitor(&self) -> Monitor {
        let path = self.dir.join("monitor");
        let out = std::fs::File::create(&path).expect("a file for the output");
        let child = Command::new(Program::Ours.path())
            .args(["monitor", &format!("-rpc-addr={}", self.rpc)])
            .stdin(Stdio::null())
            .stdout(out)
            .spawn()
            .expect("the program starts");
        Monitor { child, path }
    }

    /// Joins another; how many nodes were contacted.
    pub(crate) fn join(&self, other: &Self) {
        let out = self.cli("join", &[&other.gossip]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(
            text, "Successfully joined cluster by contacting 1 nodes.\n",
            "{} joins {}",
            self.name, other.name
        );
    }

    /// Name, status and tags of each member as this agent sees them, in order of names.
    pub(crate) fn members(&self) -> Vec<(String, String, String)> {
        let out = self.cli("members", &["-format=json"]);
        assert!(out.status.success(), "members: {}", String::from_utf8_lossy(&out.stdout));
        let doc: serde_json::Value = serde_json::from_slice(&out.stdout).expect("it is JSON");
        let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_string();
        let mut members: Vec<_> = doc["members"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|m| {
                let mut tags: Vec<_> = m["tags"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| format!("{k}={}", text(v)))
                    .collect();
                tags.sort();
                (text(&m["name"]), text(&m["status"]), tags.join(","))
            })
            .collect();
        members.sort();
        members
    }

    pub(crate) fn status_of(&self, name: &str) -> Option<String> {
        self.members().into_iter().find(|m| m.0 == name).map(|m| m.1)
    }

    pub(crate) fn wait_status(&self, name: &str, status: &str) {
        until(&format!("{name} is {status} to {}", self.name), || {
            (self.status_of(name).as_deref() == Some(status)).then_some(())
        });
    }

    pub(crate) fn wait_log(&self, text: &str) {
        until(&format!("{} logs {text:?}", self.name), || self.log().contains(text).then_some(()));
    }

    /// How many files it has open; None where the system does not tell.
    pub(crate) fn open_files(&self) -> Option<usize> {
        let pid = self.child.as_ref().expect("it runs").id();
        std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count)
    }

    /// How much memory it takes beside the program itself, and the most it has ever taken with it, in KiB; None where
    /// the system does not tell.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let pid = self.child.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let number = |name: &str| line(name)?.trim().strip_suffix(" kB")?.parse().ok();
        Some((number("RssAnon:")?, number("VmHWM:")?))
    }

    /// Ends it without a goodbye.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let done = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(done.success());
    }

    /// Waits for its end; the exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        // Ours until it has ended: should it never do so, it is killed with the test.
        let what = format!("{} ends", self.name);
        let child = self.child.as_mut().expect("it runs");
        let status = until(&what, || child.try_wait().expect("a child can be waited for"));
        self.child = None;
        status.code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {} ({:?})\n{}", self.name, self.program, self.log());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// `serf monitor`, running.
pub(crate) struct Monitor {
    child: Child,
    path: PathBuf,
}

impl Monitor {
    pub(crate) fn wait_for(&self, text: &str) {
        until(&format!("the monitor shows {text:?}"), || {
            let shown = std::fs::read(&self.path).unwrap_or_default();
            String::from_utf8_lossy(&shown).contains(text).then_some(())
        });
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn cli(program: Program, command: &str, rpc: &str, args: &[&str]) -> Output {
    Command::new(program.path())
        .arg(command)
        .arg(format!("-rpc-addr={rpc}"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// Polls until there is a value; fails the test when patience ends.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(30)); // between polls
    }
}

/// All of them see all of them alive.
pub(crate) fn converge(agents: &[&Agent]) {
    for agent in agents {
        for other in agents {
            agent.wait_status(&other.name, "alive");
        }
    }
}
