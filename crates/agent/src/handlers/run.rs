//! One run of a script: started, fed, listened to, and ended if it takes too long. Whatever it does, the agent keeps a
//! bounded part of its output and goes on.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::output::{KEPT_MAX, Tail};
use crate::notify;
use crate::text::{os_error, printable};

/// What reads a script.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// A script that runs longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// Between the signal that a script may heed and the one that it cannot escape.
const TERMINATION_GRACE: Duration = Duration::from_secs(2);
/// How long output is listened to after that. Only what left the process group can still hold it.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) script: Arc<str>,
    /// The type of the event.
    pub(super) kind: &'static str,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) stdin: Vec<u8>,
    pub(super) timeout: Option<Duration>,
}

/// A run in the making. Dropped when the script has got its input.
pub(super) type Feeding = mpsc::Sender<()>;

/// What came of a run.
struct Done {
    status: ExitStatus,
    output: Tail,
    timed_out: bool,
}

impl Run {
    /// Runs it to its end, which is when the shell has ended and nobody holds its output any more. Gives what it has
    /// to say to a query: all that is kept of its output, if it succeeded and there is any.
    pub(super) async fn execute(self, feeding: Feeding) -> Option<Vec<u8>> {
        let script = &self.script;
        let done = match self.attempt(feeding).await {
            Ok(done) => done,
            Err(error) => {
                log::error!(target: "agent", "Error invoking script '{script}': {}", os_error(&error));
                return None;
            }
        };
        let total = done.output.total();
        let output = done.output.into_bytes();
        log::debug!(target: "agent", "Event '{}' script output: {}", self.kind, loggable(&output));
        if total > KEPT_MAX as u64 {
            log::warn!(
                target: "agent",
                "Script '{script}' generated {total} bytes of output, truncated to {KEPT_MAX}"
            );
        }
        if !done.status.success() {
            log::error!(target: "agent", "Error invoking script '{script}': {}", ending(done.status));
        }
        (done.status.success() && !done.timed_out && total > 0).then_some(output)
    }

    async fn attempt(&self, feeding: Feeding) -> io::Result<Done> {
        let (mut child, mut output) = self.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let feed = self.feed(child.stdin.take(), feeding);
        let (abandon, abandoned) = oneshot::channel::<()>();
        let is_limited = self.timeout.is_some();
        let end = async move {
            let mut tail = Tail::default();
            if !is_limited {
                let (status, ()) = tokio::join!(child.wait(), listen(&mut output, &mut tail));
                return io::Result::Ok((status?, tail));
            }
            tokio::select! {
                () = listen(&mut output, &mut tail) => {}
                _ = abandoned => {}
            }
            // Only now, though the shell may have ended before: as long as it has not been asked for its status, nobody
            // else can get the number of its process group, which may have to be ended.
            Ok((child.wait().await?, tail))
        };
        let slow = sleep(SLOW);
        let limit = sleep(self.timeout.unwrap_or_default());
        tokio::pin!(feed, end, slow, limit);
        let (mut fed, mut is_slow) = (false, false);
        let (mut stage, mut abandon) = (Stage::InTime, Some(abandon));
        loop {
            tokio::select! {
                ended = &mut end => {
                    let (status, output) = ended?;
                    return Ok(Done { status, output, timed_out: stage != Stage::InTime });
                }
                () = &mut feed, if !fed => fed = true,
                () = &mut slow, if !is_slow => {
                    is_slow = true;
                    log::warn!(target: "agent", "Script '{}' slow, execution exceeding {SLOW:?}", self.script);
                }
                () = &mut limit, if self.timeout.is_some() && abandon.is_some() => {
                    let wait = match stage {
                        Stage::InTime => {
                            log::error!(target: "agent", "Script '{}' takes too long and is ended", self.script);
                            signal(group, Signal::TERM);
                            stage = Stage::Terminated;
                            TERMINATION_GRACE
                        }
                        Stage::Terminated => {
                            signal(group, Signal::KILL);
                            stage = Stage::Killed;
                            KILL_GRACE
                        }
                        Stage::Killed => {
                            abandon = None;
                            continue;
                        }
                    };
                    limit.as_mut().reset(Instant::now() + wait);
                }
            }
        }
    }

    fn spawn(&self) -> io::Result<(Child, pipe::Receiver)> {
        // One pipe for both, so that what is printed keeps its order.
        let (output, printed) = io::pipe()?;
        let output = pipe::Receiver::from_owned_fd(output.into())?;
        let [shell, flag] = SHELL;
        let mut command = Command::new(shell);
        command.arg(flag).arg(&*self.script).envs(self.environment.iter().map(|(name, value)| (name, value)));
        for variable in notify::VARIABLES {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(printed.try_clone()?).stderr(printed);
        if self.timeout.is_some() {
            // So that all of it can be ended. Without need it stays with the agent, as scripts may expect: a terminal
            // then interrupts both.
            command.process_group(0);
        }
        // Our copies of the pipe's end go with the command, or it would never be closed.
        Ok((command.spawn()?, output))
    }

    async fn feed(&self, stdin: Option<ChildStdin>, feeding: Feeding) {
        if let Some(mut stdin) = stdin
            && let Err(error) = stdin.write_all(&self.stdin).await
            // A line for each member is more than many a script wants to read.
            && !self.kind.starts_with("member-")
        {
            log::error!(target: "agent", "Error writing payload: {}", os_error(&error));
        }
        drop(feeding);
    }
}

/// How far the end of a script that takes too long has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    InTime,
    Terminated,
    Killed,
}

/// Takes what is printed until nobody can print any more.
async fn listen(output: &mut pipe::Receiver, tail: &mut Tail) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = output.read(&mut buffer).await {
        tail.push(&buffer[..len]);
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    // It may have ended this very moment.
    let _ = group.map(|group| kill_process_group(group, signal));
}

/// The output for a log: line breaks and tabs stay, other control characters are spelt out.
fn loggable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let pieces = text.split_inclusive(['\n', '\t']).map(|piece| {
        let rest = piece.trim_end_matches(['\n', '\t']);
        printable(rest) + &piece[rest.len()..]
    });
    pieces.collect()
}

/// How a script ended that did not succeed.
fn ending(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exit status {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        other => return format!("signal: signal {other}"),
    };
    let core = if status.core_dumped() { " (core dumped)" } else { "" };
    format!("signal: {name}{core}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Run {
        Run {
            script: script.into(),
            kind: "query",
            environment: Vec::new(),
            stdin: Vec::new(),
            timeout: None,
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    }

    fn attempt(run: &Run) -> io::Result<Done> {
        block_on(run.attempt(mpsc::channel(1).0))
    }

    fn answer(run: Run) -> Option<String> {
        let answer = block_on(run.execute(mpsc::channel(1).0));
        answer.map(|answer| String::from_utf8_lossy(&answer).into_owned())
    }

    #[test]
    fn what_a_successful_script_prints_is_its_answer() {
        let long = "x".repeat(20_000);
        for (script, stdin, want) in [
            (r"printf 'the answer\n'", "", Some("the answer\n")),
            ("echo out; echo err >&2; echo out", "", Some("out\nerr\nout\n")),
            ("echo failing; exit 3", "", None),
            ("echo killed; kill -9 $$", "", None),
            ("cat", "line1\nline2\n", Some("line1\nline2\n")),
            ("cat >/dev/null", "x\n", None),
            ("exec <&- >&- 2>&-", "nobody reads this", None),
            ("/nonexistent/script", "", None),
            ("syntax error (", "", None),
            ("cat; cat", &long, Some(&long[..KEPT_MAX])),
            ("printf 'first '; (printf later) & exit 0", "", Some("first later")),
        ] {
            let run = Run { stdin: stdin.into(), ..run(script) };
            assert_eq!(answer(run).as_deref(), want, "{script}");
        }
    }

    #[test]
    fn the_environment_is_added_to_that_of_the_agent() {
        let environment = vec![("SERF_EVENT".into(), "user".into()), ("A".into(), "1=2 3".into())];
        let run = Run { environment, ..run(r#"printf %s "$SERF_EVENT|$A|${PATH:+inherited}""#) };
        assert_eq!(answer(run).as_deref(), Some("user|1=2 3|inherited"));
    }

    #[test]
    fn what_cannot_be_told_a_script_is_an_error_and_no_run() {
        let odd = Run { environment: vec![("SERF_USER_EVENT".into(), "a\0b".into())], ..run("echo x") };
        assert_eq!(attempt(&odd).err().map(|error| error.kind()), Some(io::ErrorKind::InvalidInput));
        assert!(attempt(&run("echo \0")).is_err());
    }

    #[test]
    fn a_run_lasts_until_nobody_holds_its_output() {
        let done = attempt(&run("(sleep 0.2; echo background) & echo shell")).expect("it ran");
        assert_eq!(done.output.into_bytes(), b"shell\nbackground\n");
        // One whose output goes elsewhere is not waited for.
        let done = attempt(&run("sleep 1000 >/dev/null 2>&1 & echo $!")).expect("it ran");
        let pid = String::from_utf8(done.output.into_bytes()).expect("a number");
        let killed = std::process::Command::new("kill").arg(pid.trim()).status().expect("kill is there");
        assert!(killed.success(), "it still runs");
    }

    #[test]
    fn endless_output_is_taken_and_only_its_end_is_kept() {
        let done = attempt(&run("head -c 5000000 /dev/zero; printf END")).expect("it ran");
        assert_eq!(done.output.total(), 5_000_003);
        let output = done.output.into_bytes();
        assert!(output.len() == KEPT_MAX && output.ends_with(b"\0END"));
    }

    /// Whether a process has this in its environment. It may not be told where there is no /proc.
    fn exists(variable: &str) -> bool {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut environments = processes.filter_map(|p| std::fs::read(p.path().join("environ")).ok());
        environments.any(|e| e.split(|&byte| byte == 0).any(|v| v == variable.as_bytes()))
    }

    #[test]
    fn a_script_that_takes_too_long_ends_with_all_that_it_started() {
        for (n, script) in [
            "echo x; sleep 1000",
            "sleep 1000 & sleep 1000 & exit 0",
            "trap '' TERM; while :; do sleep 0.01; done",
            "yes",
            "exec >&- 2>&-; sleep 1000",
            "trap 'exit 0' TERM; echo x; while :; do sleep 0.01; done",
        ]
        .into_iter()
        .enumerate()
        {
            let marker = format!("{}-{n}", std::process::id());
            let environment = vec![("SERF_TEST_RUN".into(), marker.clone().into())];
            let run = Run { timeout: Some(Duration::from_millis(100)), environment, ..run(script) };
            assert!(attempt(&run).expect("it ran").timed_out, "{script}");
            let end = std::time::Instant::now() + Duration::from_secs(60);
            while exists(&format!("SERF_TEST_RUN={marker}")) {
                assert!(std::time::Instant::now() < end, "something is left of: {script}");
                std::thread::sleep(Duration::from_millis(10)); // between polls
            }
            assert_eq!(answer(run), None, "{script}");
        }
    }

    #[test]
    fn what_left_the_process_group_is_not_waited_for_beyond_the_limit() {
        // In a session of its own, and holding the output.
        let script = "setsid sleep 100 & echo $!; sleep 1000";
        if std::process::Command::new("setsid").arg("true").status().is_err() {
            return;
        }
        let marker = format!("escaped-{}", std::process::id());
        let environment = vec![("SERF_TEST_RUN".into(), marker.into())];
        let done = attempt(&Run { timeout: Some(Duration::from_secs(1)), environment, ..run(script) });
        let done = done.expect("it ran");
        assert!(done.timed_out);
        let output = String::from_utf8(done.output.into_bytes()).expect("a number or nothing");
        if let Some(pid) = output.lines().next() {
            let _ = std::process::Command::new("kill").arg(pid).status();
        }
    }

    #[test]
    fn ends_are_told_in_the_words_of_old() {
        for (script, want) in [
            ("exit 3", "exit status 3"),
            ("kill -9 $$", "signal: killed"),
            ("kill -TERM $$", "signal: terminated"),
            ("/nonexistent", "exit status 127"),
        ] {
            assert_eq!(ending(attempt(&run(script)).expect("it ran").status), want);
        }
        assert_eq!(loggable(b"a\x1b[31m\nb\tc\xff\n"), "a\\x1b[31m\nb\tc\u{fffd}\n");
    }
}
