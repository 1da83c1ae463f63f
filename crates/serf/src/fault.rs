//! What went wrong on a socket, in the words that operators of clusters know: those of the reference, which are Go's.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// A connection that could not be made: `dial tcp 127.0.0.1:7946: connect: connection refused`.
pub(crate) fn dial(to: impl std::fmt::Display, error: &Error) -> String {
    format!("dial tcp {to}: {}", call("connect", error))
}

/// A connection that broke: `read tcp 127.0.0.1:40000->127.0.0.1:7946: read: connection reset by peer`.
pub(crate) fn broken(what: &str, ends: Option<(SocketAddr, SocketAddr)>, error: &Error) -> String {
    match ends {
        Some((ours, theirs)) => format!("{what} tcp {ours}->{theirs}: {}", call(what, error)),
        None => format!("{what} tcp: {}", call(what, error)),
    }
}

/// The system call and what it said. A timeout of ours was no call.
pub(crate) fn call(name: &str, error: &Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        (None, ErrorKind::TimedOut) => "i/o timeout".to_owned(),
        (None, _) => error.to_string(),
        (Some(_), _) => format!("{name}: {}", errno(error)),
    }
}

/// What the resolver said: `no such host`, where that is what it means.
pub(crate) fn lookup(error: &Error) -> String {
    let text = error.to_string();
    let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let unknown = [
        "Name or service not known",
        "nodename nor servname",
        "No address associated",
        "Name does not resolve",
        "Name has no usable address",
    ];
    if unknown.iter().any(|unknown| why.starts_with(unknown)) {
        "no such host".to_owned()
    } else {
        plain(why)
    }
}

/// The text of a system error, the same on every system where it is one that operators meet.
pub(crate) fn errno(error: &Error) -> String {
    let known = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset by peer",
        ErrorKind::ConnectionAborted => "software caused connection abort",
        ErrorKind::NetworkUnreachable => "network is unreachable",
        ErrorKind::HostUnreachable => "no route to host",
        ErrorKind::TimedOut => "connection timed out",
        ErrorKind::BrokenPipe => "broken pipe",
        ErrorKind::AddrInUse => "address already in use",
        ErrorKind::AddrNotAvailable => "cannot assign requested address",
        _ => return plain(&error.to_string()),
    };
    known.to_owned()
}

/// `Message too long (os error 90)` as `message too long`.
fn plain(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn system_errors_read_as_in_the_reference() {
        for (number, text) in [
            (111, "connect: connection refused"),
            (101, "connect: network is unreachable"),
            (113, "connect: no route to host"),
            (110, "connect: connection timed out"),
            (13, "connect: permission denied"),
            (1, "connect: operation not permitted"),
            (99, "connect: cannot assign requested address"),
            (90, "connect: message too long"),
        ] {
            assert_eq!(call("connect", &Error::from_raw_os_error(number)), text);
        }
    }

    #[test]
    fn a_timeout_of_ours_is_no_system_call() {
        assert_eq!(call("connect", &Error::from(ErrorKind::TimedOut)), "i/o timeout");
    }

    #[test]
    fn an_unknown_name_is_no_such_host() {
        let said =
            |text: &str| lookup(&Error::other(format!("failed to lookup address information: {text}")));
        for unknown in ["Name or service not known", "Name does not resolve", "Name has no usable address"] {
            assert_eq!(said(unknown), "no such host");
        }
        assert_eq!(said("Temporary failure in name resolution"), "temporary failure in name resolution");
    }

    #[test]
    fn both_ends_of_a_broken_connection_are_told() {
        let (a, b) = ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:7946".parse().unwrap());
        let error = Error::from(ErrorKind::ConnectionReset);
        assert!(
            broken("read", Some((a, b)), &error).starts_with("read tcp 127.0.0.1:40000->127.0.0.1:7946: ")
        );
    }
}
