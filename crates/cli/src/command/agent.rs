//! `serf agent`: the daemon.

use std::path::PathBuf;

use serf_agent::config::Sources;
use serf_agent::config::duration::GoDuration;
use serf_agent::config::examine::examine;
use serf_agent::config::settings::Settings;
use serf_agent::config::tags;

use super::{Command, Failure};
use crate::flags::{Flag, Flags};

pub(crate) const COMMAND: Command = Command {
    name: "agent",
    synopsis: "Runs a Serf agent",
    about: &[
        "Runs an agent, this machine's member of a cluster, until it is interrupted or told to leave. \
         SIGINT makes it leave gracefully, SIGHUP makes it read its configuration again.",
        "Settings come from configuration files, in the order in which they are given, and from flags, \
         which win.",
        "An event handler is a command for the shell, SCRIPT, which runs for every event; or TYPE=SCRIPT \
         for events of one type, or several with commas between them. Types are member-join, \
         member-leave, member-failed, member-update, member-reap, user, user:NAME, query, query:NAME and \
         *.",
    ],
    flags: &[
        Flag::text(
            "bind",
            "ADDRESS",
            "Where to listen for other members: HOST, HOST:PORT, IPV6 or [IPV6]:PORT.",
        )
        .or("0.0.0.0:7946"),
        Flag::text(
            "iface",
            "NAME",
            "The network interface whose address to bind to, in place of -bind. With both, the interface \
             must have that address. Also used for -discover.",
        ),
        Flag::text(
            "advertise",
            "ADDRESS",
            "The address to tell the other members, where it is not the bound one.",
        ),
        Flag::list("config-file", "PATH", "A configuration file in JSON, or a directory of them."),
        Flag::list(
            "config-dir",
            "PATH",
            "A directory whose files ending in .json are read in the order of their names, or a single file.",
        ),
        Flag::switch(
            "check-config",
            "Do not start an agent. Tell everything that is wrong with the configuration, each in a line \
             with its place, or that it is valid, and what is set in it. Ends with 1 if it is not. Needs no \
             network, and changes nothing.",
        ),
        Flag::text(
            "discover",
            "CLUSTER",
            "Find members of the cluster of that name by multicast DNS, and join them.",
        ),
        Flag::text(
            "mdns-iface",
            "NAME",
            "The network interface for -discover, where it is not that of -iface.",
        ),
        Flag::switch("mdns-disable-ipv4", "Do not look for members over IPv4."),
        Flag::switch("mdns-disable-ipv6", "Do not look for members over IPv6."),
        Flag::text("encrypt", "KEY", "Encrypt traffic with this key, as printed by `serf keygen`."),
        Flag::text(
            "keyring-file",
            "PATH",
            "Where encryption keys are read from, and written to when they are changed. Not together with \
             -encrypt.",
        ),
        Flag::list("event-handler", "HANDLER", "What to run when events arrive; see above."),
        Flag::list(
            "join",
            "ADDRESS",
            "A member to join at the start. If none of them answers, the agent ends.",
        ),
        Flag::switch("replay", "Deliver user events that were sent before the join, too."),
        Flag::list(
            "retry-join",
            "ADDRESS",
            "A member to join; if none of them answers, it is tried again later.",
        ),
        Flag::text("retry-interval", "DURATION", "How long to wait between these attempts.").or("30s"),
        Flag::integer(
            "retry-max",
            "N",
            "How often they are repeated before the agent gives up and ends; 0 is forever.",
        ),
        Flag::switch("rejoin", "Join again after having left before. Needs -snapshot."),
        Flag::text("log-level", "LEVEL", "The lowest level to print: trace, debug, info, warn or err.")
            .or("info"),
        Flag::text(
            "log-format",
            "FORMAT",
            "The form of everything that is printed: text, or json, which is an object a line.",
        )
        .or("text"),
        Flag::text(
            "node",
            "NAME",
            "The name of this node, which no other may have. By default, that of the machine.",
        ),
        Flag::text(
            "profile",
            "PROFILE",
            "Timings for the network at hand: lan, wan, local (one machine), or fast (one rack, where failures \
             are noticed within a second; for all of its nodes).",
        )
        .or("lan"),
        Flag::integer("protocol", "N", "The protocol version to speak, 2 to 5; the newest one by default.")
            .or("-1"),
        Flag::text(
            "rpc-addr",
            "ADDRESS",
            "Where to listen for commands: HOST:PORT, or unix:PATH for a socket that only the agent's own user \
             can use.",
        )
        .or("127.0.0.1:7373"),
        Flag::text(
            "http-addr",
            "HOST:PORT",
            "Where to serve the HTTP API and metrics for Prometheus; not served by default. Without HOST, for \
             this machine only; without PORT, on 7374.",
        ),
        Flag::text(
            "snapshot",
            "PATH",
            "A file that remembers members and clocks over a restart: the agent finds its cluster again by \
             itself, and is told no event twice.",
        ),
        Flag::list("tag", "KEY=VALUE", "A tag of this node."),
        Flag::text(
            "tags-file",
            "PATH",
            "Where tags are read from, and written to when they are changed. Not together with other tags.",
        ),
        Flag::text("role", "ROLE", "The same as -tag role=ROLE, which should be used instead."),
        Flag::switch("syslog", "Send the log to the system's log daemon as well."),
        Flag::switch("disable-compression", "Do not compress messages to other members."),
        Flag::text("broadcast-timeout", "DURATION", "How long to wait until a message has been passed on.")
            .or("5s"),
    ],
    connects: false,
    prefix: "==> ",
    failure: "It could not start, or ended without having left the cluster.",
    examples: &[
        ("serf agent -node=web-1 -tag role=web -join=10.0.0.7", "Runs a tagged node and joins a cluster."),
        ("serf agent -config-dir=/etc/serf", "As a service."),
        ("serf agent -check-config -config-dir=/etc/serf", "Before it is restarted with a new configuration."),
    ],
    run: |flags, out| {
        let sources = sources(flags)?;
        if flags.is_on("check-config") {
            let examination = examine(&sources);
            out.result(out.shown().block(examination.to_string().as_bytes()).as_ref());
            return if examination.problems() == 0 { Ok(()) } else { Err(Failure::Exit(1)) };
        }
        match serf_agent::run(&sources) {
            0 => Ok(()),
            code => Err(Failure::Exit(code)),
        }
    },
    ..Command::PLAIN
};

/// What the command line says, in the terms of the configuration.
fn sources(flags: &Flags) -> Result<Sources, Failure> {
    let error = |error: &dyn std::fmt::Display| Failure::Message(format!("Error: {error}"));
    let tags = tags::parse_all(flags.list("tag")).map_err(|e| error(&e))?;
    let duration = |name: &str| match flags.given_text(name) {
        None | Some("") => Ok(None),
        Some(text) => text.parse::<GoDuration>().map(Some).map_err(|e| error(&e)),
    };
    let retry_interval = duration("retry-interval")?;
    let broadcast_timeout = duration("broadcast-timeout")?;
    let text = |name: &str| flags.given_text(name).map(str::to_owned);
    let settings = Settings {
        node_name: text("node"),
        role: text("role"),
        tags,
        tags_file: text("tags-file"),
        bind: text("bind"),
        interface: text("iface"),
        advertise: text("advertise"),
        encrypt_key: text("encrypt"),
        keyring_file: text("keyring-file"),
        log_level: text("log-level"),
        log_format: text("log-format"),
        rpc_addr: text("rpc-addr"),
        http_addr: text("http-addr"),
        protocol: flags.given_integer("protocol"),
        replay_on_join: flags.given_switch("replay"),
        start_join: flags.list("join"),
        retry_join: flags.list("retry-join"),
        retry_max_attempts: flags.given_integer("retry-max"),
        retry_interval,
        event_handlers: flags.list("event-handler"),
        profile: text("profile"),
        snapshot_path: text("snapshot"),
        rejoin_after_leave: flags.given_switch("rejoin"),
        discover: text("discover"),
        mdns_interface: text("mdns-iface"),
        mdns_disable_ipv4: flags.given_switch("mdns-disable-ipv4"),
        mdns_disable_ipv6: flags.given_switch("mdns-disable-ipv6"),
        enable_syslog: flags.given_switch("syslog"),
        broadcast_timeout,
        enable_compression: flags.given_switch("disable-compression").map(|disabled| !disabled),
        ..Settings::default()
    };
    // One list: directories and files are told apart when they are read.
    let files = flags.lists(&["config-file", "config-dir"]).into_iter().map(PathBuf::from).collect();
    // Flags behind it have not been read, which is seldom meant.
    let ignored = flags
        .arguments()
        .first()
        .map(|word| format!("Warning: ignoring '{}' and everything after it", word.to_string_lossy()));
    Ok(Sources { files, flags: settings, notices: ignored.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn read(line: &str) -> Result<Sources, Failure> {
        let arguments: Vec<_> = line.split_whitespace().map(Into::into).collect();
        sources(&parse(COMMAND.flags(), &arguments).expect("well-formed flags"))
    }

    #[test]
    fn only_flags_that_were_given_count() {
        let sources = read("").expect("fine");
        assert!(sources.files.is_empty());
        assert_eq!(sources.flags, Settings::default());
    }

    #[test]
    fn every_flag_arrives() {
        let sources = read(
            "-node=n -config-dir=d -tag a=b -config-file f -rejoin=false -disable-compression -retry-max=3 \
             -retry-interval=1m -join x -join y -iface= -config-dir=e",
        )
        .expect("fine");
        assert_eq!(sources.files, ["d", "f", "e"].map(PathBuf::from));
        let flags = sources.flags;
        assert_eq!(flags.node_name.as_deref(), Some("n"));
        assert_eq!(flags.tags["a"], "b");
        assert_eq!(flags.rejoin_after_leave, Some(false));
        assert_eq!(flags.enable_compression, Some(false));
        assert_eq!(flags.retry_max_attempts, Some(3));
        assert_eq!(flags.retry_interval, Some(GoDuration::from_nanos(60_000_000_000)));
        assert_eq!(flags.start_join, ["x", "y"]);
    }

    #[test]
    fn tags_are_checked_before_durations() {
        let message = |text: &str| Err(Failure::Message(text.to_owned()));
        assert_eq!(read("-retry-interval=x -tag foo").map(drop), message("Error: Invalid tag: 'foo'"));
        assert_eq!(
            read("-broadcast-timeout=5").map(drop),
            message("Error: time: missing unit in duration \"5\"")
        );
    }
}
