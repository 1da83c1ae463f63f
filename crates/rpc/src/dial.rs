//! Finding and connecting to an address, with the words of Go's dialer when that fails: operators know them, and
//! scripts look for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

/// Where an agent listens for commands, by the form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// `HOST:PORT`. Not looked at any closer.
    Tcp(&'a str),
    /// `unix:PATH`: a socket in the file system.
    Unix(&'a Path),
}

/// Why no socket can be at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// There is none.
    #[error("missing path behind 'unix:'")]
    Missing,
    /// It is longer than an address of a socket can be.
    #[error("path of {0} bytes is too long, {UNIX_PATH_MAX} are possible")]
    TooLong(
        /// Its length in bytes.
        usize,
    ),
    /// It is a name outside of the file system, which nobody owns, so that everybody could connect to it.
    #[error(
        "'{0}' is no path: a file of that name is './{0}', and names outside of the file system are nobody's"
    )]
    Abstract(
        /// The name.
        String,
    ),
}

/// The length of the longest path that a socket can have, in bytes.
pub const UNIX_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

impl<'a> Address<'a> {
    /// Tells the forms apart, and looks at the path if it is one.
    ///
    /// ```
    /// use serf_rpc::Address;
    /// use std::path::Path;
    /// assert_eq!(Address::parse("127.0.0.1:7373")?, Address::Tcp("127.0.0.1:7373"));
    /// assert_eq!(Address::parse("unix:/run/serf/rpc.sock")?, Address::Unix(Path::new("/run/serf/rpc.sock")));
    /// // A host may have that name. A file that is called by a number is `unix:./7373`.
    /// assert_eq!(Address::parse("unix:7373")?, Address::Tcp("unix:7373"));
    /// # Ok::<(), serf_rpc::PathError>(())
    /// ```
    ///
    /// # Errors
    /// No socket can be at that path.
    pub fn parse(text: &'a str) -> Result<Self, PathError> {
        let Some(path) = text.strip_prefix("unix:") else { return Ok(Self::Tcp(text)) };
        match path.len() {
            0 => Err(PathError::Missing),
            _ if path.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Self::Tcp(text)),
            _ if path.starts_with('@') => Err(PathError::Abstract(path.into())),
            bytes if bytes > UNIX_PATH_MAX => Err(PathError::TooLong(bytes)),
            _ => Ok(Self::Unix(Path::new(path))),
        }
    }
}

/// Why there is no connection to an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is no address.
    #[error("dial tcp: missing address")]
    Missing,
    /// The address is not of the form `HOST:PORT`.
    #[error("dial tcp: address {address}: {problem}")]
    Address {
        /// The address, or the part of it that is wrong.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name of the host or of the port stands for nothing.
    #[error("dial tcp: lookup {name}: {problem}")]
    Lookup {
        /// The name.
        name: String,
        /// Why, in the words of the resolver.
        problem: String,
    },
    /// Nothing accepts connections there.
    #[error("dial tcp {address}: connect: {}", words(.source))]
    Connect {
        /// The IP address and port.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing answers there.
    #[error("dial tcp {address}: i/o timeout")]
    TimedOut {
        /// The IP address and port.
        address: String,
    },
    /// There can be no socket at that path.
    #[error("dial unix: {0}")]
    Path(#[from] PathError),
    /// Nothing accepts connections at that path, or not from us.
    #[error("dial unix {}: connect: {}", .path.display(), words(.source))]
    Unix {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The two directions of a connection, whatever it goes through.
pub(crate) type Stream = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

/// Connects to an address, within `limit` if somebody has to be waited for.
pub(crate) async fn dial(address: &str, limit: Duration) -> Result<Stream, DialError> {
    match Address::parse(address)? {
        Address::Tcp(address) => {
            let stream = dial_tcp(address, limit).await?;
            // Requests are small and each is waited for, so that nothing is won by collecting them.
            let _ = stream.set_nodelay(true);
            let (reading, writing) = stream.into_split();
            Ok((Box::new(reading), Box::new(writing)))
        }
        Address::Unix(path) => {
            dial_unix(path).await.map_err(|source| DialError::Unix { path: path.into(), source })
        }
    }
}

#[cfg(unix)]
async fn dial_unix(path: &Path) -> io::Result<Stream> {
    let (reading, writing) = tokio::net::UnixStream::connect(path).await?.into_split();
    Ok((Box::new(reading), Box::new(writing)))
}

#[cfg(not(unix))]
async fn dial_unix(_: &Path) -> io::Result<Stream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Connects to `HOST:PORT` within `limit`.
///
/// If the host has several addresses they are tried in the order of the resolver, each with its share of the time
/// that is left. If none works the error is that of the first.
async fn dial_tcp(address: &str, limit: Duration) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + limit;
    let (host, port) = split(address)?;
    let targets = resolve(host, port, deadline).await?;
    let mut first_error = None;
    for (index, target) in targets.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (targets.len() - index) as u32;
        // No host stands for this one, and is then shown as it was given.
        let shown = if host.is_empty() { format!(":{port}") } else { target.to_string() };
        let error = match timeout(share, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => DialError::Connect { address: shown, source },
            Err(_) => DialError::TimedOut { address: shown },
        };
        first_error.get_or_insert(error);
    }
    Err(first_error
        .unwrap_or_else(|| DialError::Lookup { name: host.into(), problem: "no such host".into() }))
}

async fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
    if host.is_empty() {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::from((ip, port))]);
    }
    let problem = match timeout_at(deadline, lookup_host((host, port))).await {
        Ok(Ok(found)) => return Ok(found.collect()),
        Ok(Err(error)) => lookup_problem(&error),
        Err(_) => "i/o timeout".into(),
    };
    Err(DialError::Lookup { name: host.into(), problem })
}

/// Takes `HOST:PORT` or `[HOST]:PORT` apart.
fn split(address: &str) -> Result<(&str, u16), DialError> {
    if address.is_empty() {
        return Err(DialError::Missing);
    }
    let wrong = |problem| DialError::Address { address: address.into(), problem };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("missing ']' in address"))?;
            match rest.strip_prefix(':') {
                Some(port) if !port.contains(':') => (host, port),
                Some(_) => return Err(wrong("too many colons in address")),
                None => return Err(wrong("missing port in address")),
            }
        }
        None => {
            let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("missing port in address"))?;
            if host.contains(':') {
                return Err(wrong("too many colons in address"));
            }
            (host, port)
        }
    };
    for part in [host, port] {
        if part.contains('[') {
            return Err(wrong("unexpected '[' in address"));
        }
        if part.contains(']') {
            return Err(wrong("unexpected ']' in address"));
        }
    }
    Ok((host, parse_port(port)?))
}

/// A number; none at all is 0, as in Go.
fn parse_port(port: &str) -> Result<u16, DialError> {
    if port.is_empty() {
        return Ok(0);
    }
    let digits = port.strip_prefix(['+', '-']).unwrap_or(port);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DialError::Lookup { name: format!("tcp/{port}"), problem: "unknown port".into() });
    }
    port.parse().map_err(|_| DialError::Address { address: port.into(), problem: "invalid port" })
}

fn lookup_problem(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match reason {
        // One thing by the names it has on Linux, with either C library, and elsewhere.
        "Name or service not known"
        | "No address associated with hostname"
        | "Name does not resolve"
        | "Name has no usable address"
        | "nodename nor servname provided, or not known" => "no such host".into(),
        reason => reason.into(),
    }
}

/// The system's text for an error as Go has it: without the number, in lower case, and the same with any C library.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable => return "network is unreachable".into(),
        io::ErrorKind::HostUnreachable => return "no route to host".into(),
        io::ErrorKind::AddrNotAvailable => return "cannot assign requested address".into(),
        _ => {}
    }
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> String {
        split(address).unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_host_and_port() {
        assert_eq!(split("127.0.0.1:7373").unwrap(), ("127.0.0.1", 7373));
        assert_eq!(split("[::1]:7373").unwrap(), ("::1", 7373));
        assert_eq!(split("some-host:1").unwrap(), ("some-host", 1));
        assert_eq!(split(":7373").unwrap(), ("", 7373));
        assert_eq!(split("host:").unwrap(), ("host", 0));
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (address, text) in [
            ("", "dial tcp: missing address"),
            ("zz", "dial tcp: address zz: missing port in address"),
            ("[::1]", "dial tcp: address [::1]: missing port in address"),
            ("[::1]x", "dial tcp: address [::1]x: missing port in address"),
            ("::1:7373", "dial tcp: address ::1:7373: too many colons in address"),
            ("[::1]:7:3", "dial tcp: address [::1]:7:3: too many colons in address"),
            ("[::1:7373", "dial tcp: address [::1:7373: missing ']' in address"),
            ("a[b:1", "dial tcp: address a[b:1: unexpected '[' in address"),
            ("ab]:1", "dial tcp: address ab]:1: unexpected ']' in address"),
            ("host:65536", "dial tcp: address 65536: invalid port"),
            ("host:-1", "dial tcp: address -1: invalid port"),
            ("host:zz", "dial tcp: lookup tcp/zz: unknown port"),
        ] {
            assert_eq!(refusal(address), text);
        }
    }

    #[test]
    fn a_path_is_what_a_socket_can_have() {
        let parse = |path: &str| Address::parse(&format!("unix:{path}")).map(drop).map_err(|e| e.to_string());
        for path in ["/run/serf.sock", "serf.sock", "./7373", "7373", &"x".repeat(UNIX_PATH_MAX)] {
            assert_eq!(parse(path), Ok(()), "{path}");
        }
        let long = format!("path of {} bytes is too long, {UNIX_PATH_MAX} are possible", UNIX_PATH_MAX + 1);
        let taken = "'@serf' is no path: a file of that name is './@serf', \
                     and names outside of the file system are nobody's";
        for (path, error) in [
            ("", "missing path behind 'unix:'"),
            (&"x".repeat(UNIX_PATH_MAX + 1), long.as_str()),
            ("@serf", taken),
        ] {
            assert_eq!(parse(path).expect_err(path), error);
        }
    }

    #[test]
    fn system_errors_lose_number_and_capital() {
        let refused = words(&io::Error::from_raw_os_error(111));
        assert!(!refused.contains("os error"), "{refused}");
        assert_eq!(words(&io::Error::other("Connection refused")), "connection refused");
    }

    #[test]
    fn each_c_library_is_understood() {
        for (kind, text) in [
            (io::ErrorKind::NetworkUnreachable, "network is unreachable"),
            (io::ErrorKind::HostUnreachable, "no route to host"),
            (io::ErrorKind::AddrNotAvailable, "cannot assign requested address"),
        ] {
            assert_eq!(words(&kind.into()), text);
        }
        for unknown in ["Name or service not known", "Name does not resolve", "Name has no usable address"] {
            let error = io::Error::other(format!("failed to lookup address information: {unknown}"));
            assert_eq!(lookup_problem(&error), "no such host", "{unknown}");
        }
    }
}
