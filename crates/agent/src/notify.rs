//! What a service manager is told that wants to know: that the agent is ready, reads its configuration again, ends, and
//! still turns. It is systemd's protocol (sd_notify(3)): datagrams of `NAME=VALUE` lines, sent to the socket that
//! `NOTIFY_SOCKET` names. Without that nothing is told, and nobody is woken for it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as Socket};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serf::{Event, Serf};
use tokio::net::UnixDatagram;
use tokio::time::{sleep, timeout};

/// What only the process itself is to be told and to tell, not those that it starts.
pub(crate) const VARIABLES: [&str; 3] = [SOCKET, WATCHDOG_TIME, WATCHDOG_PROCESS];
const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_TIME: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";
/// How long the agent waits for a manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager, if there is one that wants to be told. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manager {
    socket: Option<Arc<SocketAddr>>,
    /// Within this time it wants to hear of the agent, again and again.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that has started this process.
    pub(crate) fn of_this_process() -> Self {
        Self::named(|variable| std::env::var_os(variable)).unwrap_or_else(|error| {
            log::warn!(target: "agent", "The service manager is not told anything: {error}");
            Self::default()
        })
    }

    fn named(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let Some(name) = variable(SOCKET).filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let socket = socket_address(&name)
            .map_err(|error| io::Error::other(format!("{SOCKET}={}: {error}", name.display())))?;
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let ours = variable(WATCHDOG_PROCESS).is_none()
            || number(WATCHDOG_PROCESS) == Some(std::process::id().into());
        let watchdog = number(WATCHDOG_TIME).filter(|&time| ours && time > 0).map(Duration::from_micros);
        Ok(Self { socket: Some(Arc::new(socket)), watchdog })
    }

    /// The agent is up, and has joined those that it is to join at the start. From now on the manager is told who is
    /// there, and that the agent still turns.
    pub(crate) async fn ready(&self, serf: &Serf) {
        if self.socket.is_none() {
            return;
        }
        let changes = serf.subscribe().await;
        self.tell(&format!("READY=1\n{}", members(serf).await)).await;
        if let Ok(mut changes) = changes {
            let (this, serf) = (self.clone(), serf.clone());
            tokio::spawn(async move {
                while let Some(change) = changes.recv().await {
                    if matches!(change, Event::Member(_)) {
                        this.tell(&members(&serf).await).await;
                    }
                }
            });
        }
        if let Some(limit) = self.watchdog {
            let (this, serf) = (self.clone(), serf.clone());
            // Only an agent whose node answers is one.
            tokio::spawn(async move {
                while serf.stats().await.is_ok() {
                    this.tell("WATCHDOG=1").await;
                    sleep(limit / 2).await;
                }
            });
        }
    }

    /// The configuration is being read again.
    pub(crate) async fn reloading(&self) {
        if self.socket.is_some() {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")).await;
        }
    }

    /// It has been read.
    pub(crate) async fn reloaded(&self) {
        self.tell("READY=1").await;
    }

    /// The agent is about to end.
    pub(crate) async fn stopping(&self) {
        self.tell("STOPPING=1").await;
    }

    async fn tell(&self, state: &str) {
        let Some(address) = &self.socket else { return };
        let send = async {
            // Each time anew: a manager may have been restarted.
            let socket = Socket::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(address)?;
            UnixDatagram::from_std(socket)?.send(state.as_bytes()).await
        };
        if let Err(error) =
            timeout(PATIENCE, send).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        {
            let what = state.lines().next().unwrap_or_default();
            log::warn!(target: "agent", "The service manager was not told {what}: {error}");
        }
    }
}

/// The one line that it shows of a service.
async fn members(serf: &Serf) -> String {
    let vitals = serf.stats().await.map(|stats| stats.vitals).unwrap_or_default();
    let alive = vitals.members.saturating_sub(vitals.failed + vitals.left);
    format!("STATUS=Members: {alive} alive, {} failed, {} left", vitals.failed, vitals.left)
}

fn socket_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("neither a path nor a name of a local socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::testing::Directory;

    fn named(variables: &[(&str, &str)]) -> io::Result<Manager> {
        Manager::named(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_watchdog_is_fed_by_whom_it_is_meant_for() {
        let pid = std::process::id().to_string();
        let of = |more: &[(&str, &str)]| {
            let variables = [&[(SOCKET, "/run/notify")], more].concat();
            named(&variables).expect("a path").watchdog
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(WATCHDOG_TIME, "2000000")]), Some(Duration::from_secs(2)));
        assert_eq!(of(&[(WATCHDOG_TIME, "2000000"), (WATCHDOG_PROCESS, &pid)]), Some(Duration::from_secs(2)));
        for (time, process) in [("2000000", "1"), ("2000000", "x"), ("0", &pid), ("-1", &pid), ("", &pid)] {
            assert_eq!(of(&[(WATCHDOG_TIME, time), (WATCHDOG_PROCESS, process)]), None);
        }
        assert_eq!(named(&[(WATCHDOG_TIME, "2000000")]).expect("nobody").watchdog, None);
    }

    #[test]
    fn what_is_no_local_socket_is_told() {
        assert!(named(&[]).expect("nobody").socket.is_none());
        assert!(named(&[(SOCKET, "")]).expect("nobody").socket.is_none());
        let error = named(&[(SOCKET, "vsock:2:1")]).expect_err("not here").to_string();
        assert_eq!(error, "NOTIFY_SOCKET=vsock:2:1: neither a path nor a name of a local socket");
    }

    #[tokio::test]
    async fn both_kinds_of_names_lead_to_the_manager() {
        let directory = Directory::new();
        let path = directory.path().join("notify");
        let mut names = vec![path.display().to_string()];
        if cfg!(target_os = "linux") {
            names.push(format!("@serf-agent-test-{}", std::process::id()));
        }
        for name in names {
            let address = socket_address(OsStr::new(&name)).expect("a name");
            let heard = Socket::bind_addr(&address).expect("a free name");
            let manager = named(&[(SOCKET, &name)]).expect("a name");
            manager.reloading().await;
            manager.reloaded().await;
            manager.stopping().await;
            let mut buffer = [0; 100];
            let mut next = || {
                let len = heard.recv(&mut buffer).expect("a datagram");
                String::from_utf8_lossy(&buffer[..len]).into_owned()
            };
            let reloading = next();
            let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the time");
            assert!(time.parse::<u64>().is_ok_and(|time| time > 0), "{time}");
            assert_eq!([next(), next()], ["READY=1", "STOPPING=1"]);
        }
    }

    #[tokio::test]
    async fn a_manager_that_is_gone_stops_nothing() {
        let directory = Directory::new();
        let name = directory.path().join("none").display().to_string();
        named(&[(SOCKET, &name)]).expect("a path").stopping().await;
    }
}
