//! What the agent says on its console besides the log: status lines, and the banner at the start.

use std::fmt;
use std::net::SocketAddr;

use chrono::Utc;
use serde_json::json;

use crate::config::Profile;
use crate::log_format::{LogFormat, json_line, json_line_with};
use crate::logging::Level;
use crate::stdout;

/// What JSON lines of the console name in place of a subsystem.
pub(crate) const TARGET: &str = "console";

/// The agent's console. In text, status and errors stand behind an arrow, details behind blanks; in JSON everything
/// is an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

impl Console {
    /// `==> text`, for what the agent does.
    pub fn status(self, text: &str) {
        self.tell(Level::Info, "==> ", text);
    }

    /// `==> text`, for what the operator should know.
    pub fn warn(self, text: &str) {
        self.tell(Level::Warn, "==> ", text);
    }

    /// `==> text`, for what went wrong.
    pub fn error(self, text: &str) {
        self.tell(Level::Err, "==> ", text);
    }

    /// `    text`, for details.
    pub fn detail(self, text: &str) {
        self.tell(Level::Info, "    ", text);
    }

    fn tell(self, level: Level, prefix: &str, text: &str) {
        stdout::write(&match stdout::format() {
            LogFormat::Text => format!("{prefix}{text}\n"),
            LogFormat::Json => json_line(Utc::now(), level, TARGET, text),
        });
    }

    /// That the agent runs, and how.
    pub fn running(self, banner: &Banner) {
        const TEXT: &str = "Serf agent running!";
        stdout::write(&match stdout::format() {
            LogFormat::Text => format!("==> {TEXT}\n{banner}"),
            LogFormat::Json => json_line_with(Utc::now(), Level::Info, TARGET, TEXT, banner.json()),
        });
    }

    /// The line between the start and the log, where there is something to tell apart.
    pub fn log_follows(self) {
        if stdout::format() == LogFormat::Text {
            stdout::write("\n==> Log data will now stream in as it occurs:\n\n");
        }
    }
}

/// The facts about a new agent. Its text has a line for each.
#[derive(Clone, Debug)]
pub struct Banner {
    /// The name of the node.
    pub node_name: String,
    /// The address it listens on, with its real port.
    pub bind: SocketAddr,
    /// The address it tells others, if configured.
    pub advertise: Option<SocketAddr>,
    /// Where it listens for commands; see [`rpc_addr_shown`].
    pub rpc_addr: String,
    /// Where it serves HTTP, if it does, with its real port.
    pub http_addr: Option<SocketAddr>,
    /// Is there an encryption key?
    pub encrypted: bool,
    /// Is there a snapshot file?
    pub snapshot: bool,
    /// The timings of gossip.
    pub profile: Profile,
    /// Are messages compressed?
    pub compression: bool,
    /// The name of the cluster for multicast DNS.
    pub mdns_cluster: Option<String>,
}

/// The address for commands as the banner shows it: as written, unless only the system knows the port.
#[must_use]
pub fn rpc_addr_shown(written: &str, port: Option<u16>) -> String {
    match (written.rsplit_once(':'), port) {
        (Some((host, "" | "0")), Some(port)) => format!("{host}:{port}"),
        _ => written.to_owned(),
    }
}

impl Banner {
    /// The same facts; what is not set is null.
    fn json(&self) -> serde_json::Value {
        let Self {
            node_name,
            bind,
            advertise,
            rpc_addr,
            http_addr,
            encrypted,
            snapshot,
            profile,
            compression,
            mdns_cluster,
        } = self;
        json!({
            "node_name": node_name,
            "bind_addr": bind,
            "advertise_addr": advertise,
            "rpc_addr": rpc_addr,
            "http_addr": http_addr,
            "encrypted": encrypted,
            "snapshot": snapshot,
            "profile": profile.to_string(),
            "compression": compression,
            "mdns_cluster": mdns_cluster,
        })
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Programs read these lines, so their blanks are part of the interface.
        writeln!(f, "{:>31}: '{}'", "Node name", self.node_name)?;
        writeln!(f, "{:>31}: '{}'", "Bind addr", self.bind)?;
        if let Some(advertise) = self.advertise {
            writeln!(f, "    Advertise addr: '{advertise}'")?;
        }
        writeln!(f, "{:>31}: '{}'", "RPC addr", self.rpc_addr)?;
        if let Some(http) = self.http_addr {
            writeln!(f, "{:>31}: '{http}'", "HTTP addr")?;
        }
        writeln!(f, "{:>31}: {}", "Encrypted", self.encrypted)?;
        writeln!(f, "{:>31}: {}", "Snapshot", self.snapshot)?;
        writeln!(f, "{:>31}: {}", "Profile", self.profile)?;
        writeln!(f, "{:>31}: {}", "Message Compression Enabled", self.compression)?;
        match &self.mdns_cluster {
            Some(cluster) => writeln!(f, "{:>31}: {cluster}", "mDNS cluster"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_fact() {
        let mut banner = Banner {
            node_name: "n1".into(),
            bind: SocketAddr::from(([127, 0, 0, 1], 7946)),
            advertise: None,
            rpc_addr: "127.0.0.1:7373".into(),
            http_addr: None,
            encrypted: false,
            snapshot: false,
            profile: Profile::Lan,
            compression: true,
            mdns_cluster: None,
        };
        let short = "                      Node name: 'n1'
                      Bind addr: '127.0.0.1:7946'
                       RPC addr: '127.0.0.1:7373'
                      Encrypted: false
                       Snapshot: false
                        Profile: lan
    Message Compression Enabled: true
";
        assert_eq!(banner.to_string(), short);
        banner.advertise = Some(SocketAddr::from(([127, 0, 0, 5], 17950)));
        banner.mdns_cluster = Some("prod".into());
        banner.http_addr = Some(SocketAddr::from(([127, 0, 0, 1], 7374)));
        let long = banner.to_string();
        assert!(long.contains("\n    Advertise addr: '127.0.0.5:17950'\n                       RPC addr"));
        assert!(long.contains(
            "RPC addr: '127.0.0.1:7373'\n                      HTTP addr: '127.0.0.1:7374'\n                      Enc"
        ));
        assert!(long.ends_with(": true\n                   mDNS cluster: prod\n"));
        let facts = banner.json().as_object().expect("an object").len();
        assert_eq!(facts, long.lines().count());
    }

    #[test]
    fn ports_are_shown_as_they_are() {
        for (written, shown) in [
            ("localhost:7373", "localhost:7373"),
            ("127.0.0.1:0", "127.0.0.1:4711"),
            ("[::1]:", "[::1]:4711"),
        ] {
            assert_eq!(rpc_addr_shown(written, Some(4711)), shown);
        }
        assert_eq!(rpc_addr_shown("unix:/run/a:0", None), "unix:/run/a:0");
    }
}
