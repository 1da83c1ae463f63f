//! Addresses as people write them: `HOST`, `HOST:PORT`, `[V6]:PORT`, and a bare IPv6 address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use thiserror::Error;

use crate::text::os_error;

/// The port for gossip where an address names none.
pub const DEFAULT_GOSSIP_PORT: u16 = 7946;
/// The port for HTTP where an address names none.
pub const DEFAULT_HTTP_PORT: u16 = 7374;

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text does not have the form of an address.
    #[error("address {address}: {reason}")]
    Form {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The port is a number that cannot be one.
    #[error("address {0}: invalid port")]
    InvalidPort(String),
    /// The port is no number.
    #[error("lookup tcp/{0}: unknown port")]
    UnknownPort(String),
    /// The host name has no address.
    #[error("lookup {host}: {reason}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver says.
        reason: String,
    },
}

/// The words for an address without a port.
const MISSING_PORT: &str = "missing port in address";

/// Host and port, as text.
pub fn split_host_port(address: &str) -> Result<(&str, &str), AddressError> {
    let error = |reason| AddressError::Form { address: address.to_owned(), reason };
    let colon = address.rfind(':').ok_or_else(|| error(MISSING_PORT))?;
    let (host, port, rest) = match address.strip_prefix('[') {
        Some(inner) => {
            let end = inner.find(']').ok_or_else(|| error("missing ']' in address"))?;
            let (host, after) = (&inner[..end], &inner[end + 1..]);
            match after.strip_prefix(':') {
                Some(port) if !port.contains(':') => (host, port, host),
                Some(_) => return Err(error("too many colons in address")),
                None => return Err(error(MISSING_PORT)),
            }
        }
        None => {
            let (host, port) = (&address[..colon], &address[colon + 1..]);
            if host.contains(':') {
                return Err(error("too many colons in address"));
            }
            (host, port, host)
        }
    };
    if rest.contains('[') || port.contains('[') {
        return Err(error("unexpected '[' in address"));
    }
    if rest.contains(']') || port.contains(']') {
        return Err(error("unexpected ']' in address"));
    }
    Ok((host, port))
}

/// The socket address that a text with a mandatory port means.
pub fn resolve(address: &str) -> Result<SocketAddr, AddressError> {
    let (host, port) = split_host_port(address)?;
    let port = parse_port(port)?;
    Ok(SocketAddr::new(resolve_host(host, port)?, port))
}

/// The socket address that a text means, with a port for those without one.
pub fn resolve_or(address: &str, port: u16) -> Result<SocketAddr, AddressError> {
    if let Ok(ip) = address.parse::<Ipv6Addr>() {
        return Ok(SocketAddr::new(ip.into(), port));
    }
    match split_host_port(address) {
        Err(AddressError::Form { reason: MISSING_PORT, .. }) => resolve(&format!("{address}:{port}")),
        _ => resolve(address),
    }
}

/// The socket address that a text means for the HTTP API: no host is this machine only, no port is
/// [`DEFAULT_HTTP_PORT`].
pub fn resolve_http(address: &str) -> Result<SocketAddr, AddressError> {
    resolve_or(&http(address)?, DEFAULT_HTTP_PORT)
}

/// Whether a text has the form of such an address.
pub(super) fn check_http(address: &str) -> Result<(), AddressError> {
    check_or(&http(address)?, DEFAULT_HTTP_PORT)
}

/// What is left out before or behind the colon, filled in.
fn http(address: &str) -> Result<String, AddressError> {
    if address.bytes().all(|byte| byte.is_ascii_digit()) {
        // The resolver would take it for an IPv4 address.
        return Err(AddressError::Form { address: address.to_owned(), reason: "a number is no host" });
    }
    Ok(match split_host_port(address) {
        Ok(("", "")) => format!("{}:{DEFAULT_HTTP_PORT}", Ipv4Addr::LOCALHOST),
        Ok(("", port)) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        Ok((_, "")) => format!("{address}{DEFAULT_HTTP_PORT}"),
        _ => address.to_owned(),
    })
}

/// Whether a text with a mandatory port has the form of an address. Nobody is asked where a host name is.
pub(super) fn check(address: &str) -> Result<(), AddressError> {
    let (_, port) = split_host_port(address)?;
    parse_port(port).map(drop)
}

/// The same for a text that need not have a port.
pub(super) fn check_or(address: &str, port: u16) -> Result<(), AddressError> {
    if address.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    match split_host_port(address) {
        Err(AddressError::Form { reason: MISSING_PORT, .. }) => check(&format!("{address}:{port}")),
        _ => check(address),
    }
}

/// No port at all is port 0, which is any free one.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if text.is_empty() {
        Ok(0)
    } else if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Err(AddressError::UnknownPort(text.to_owned()))
    } else {
        text.parse().map_err(|_| AddressError::InvalidPort(text.to_owned()))
    }
}

/// No host at all is every interface. Of several addresses the first IPv4 one is taken, as most peers would.
fn resolve_host(host: &str, port: u16) -> Result<IpAddr, AddressError> {
    if host.is_empty() {
        return Ok(Ipv4Addr::UNSPECIFIED.into());
    }
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let error = |error: &io::Error| AddressError::Lookup { host: host.to_owned(), reason: reason(error) };
    let found: Vec<_> =
        (host, port).to_socket_addrs().map_err(|e| error(&e))?.map(|found| found.ip()).collect();
    let best = found.iter().find(|ip| ip.is_ipv4()).or_else(|| found.first());
    best.copied().ok_or_else(|| error(&io::Error::other("no such host")))
}

/// The resolver's words; those for an unknown name vary, so it gets the customary ones.
fn reason(error: &io::Error) -> String {
    let text = os_error(error);
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let unknown = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
        "nodename nor servname",
    ];
    if unknown.iter().any(|words| text.starts_with(words)) || text.contains("invalid") {
        "no such host".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1:7946"),
            ("127.0.0.1:17946", "127.0.0.1:17946"),
            ("127.0.0.1:", "127.0.0.1:0"),
            ("127.0.0.1:+80", "127.0.0.1:80"),
            (":80", "0.0.0.0:80"),
            ("::1", "[::1]:7946"),
            ("2001:db8::7", "[2001:db8::7]:7946"),
            ("[::1]", "[::1]:7946"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:80", "127.0.0.1:80"),
        ] {
            let expected: SocketAddr = address.parse().expect("an address");
            assert_eq!(resolve_or(text, DEFAULT_GOSSIP_PORT), Ok(expected), "{text}");
        }
    }

    #[test]
    fn without_a_host_http_is_for_this_machine_and_without_a_port_at_its_own() {
        for (text, address) in [
            (":", "127.0.0.1:7374"),
            (":80", "127.0.0.1:80"),
            (":0", "127.0.0.1:0"),
            ("127.0.0.2", "127.0.0.2:7374"),
            ("127.0.0.2:", "127.0.0.2:7374"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("::1", "[::1]:7374"),
            ("[::]:", "[::]:7374"),
            ("localhost", "127.0.0.1:7374"),
        ] {
            assert_eq!(resolve_http(text), Ok(address.parse().expect("an address")), "{text}");
        }
        for text in ["8080", ":x", ":99999", "1:2:3"] {
            resolve_http(text).expect_err(text);
        }
    }

    #[test]
    fn refused_in_the_customary_words() {
        for (text, message) in [
            ("1:2:3", "address 1:2:3: too many colons in address"),
            ("[::", "address [::: missing ']' in address"),
            ("[::1]:1:2", "address [::1]:1:2: too many colons in address"),
            ("foo[bar", "address foo[bar:7946: unexpected '[' in address"),
            ("foo]bar:1", "address foo]bar:1: unexpected ']' in address"),
            ("127.0.0.1:99999", "address 99999: invalid port"),
            ("127.0.0.1:-1", "address -1: invalid port"),
            ("127.0.0.1:+80000", "address +80000: invalid port"),
            ("127.0.0.1:notaport", "lookup tcp/notaport: unknown port"),
            ("[::1]x", "address [::1]x:7946: missing port in address"),
        ] {
            let error = resolve_or(text, DEFAULT_GOSSIP_PORT).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(
            resolve("nonsense").expect_err("no port").to_string(),
            "address nonsense: missing port in address"
        );
        let unknown = resolve("no such name.invalid:1").expect_err("unknown").to_string();
        assert!(unknown.starts_with("lookup no such name.invalid: "), "{unknown}");
    }

    #[test]
    fn an_unknown_name_has_one_name_whatever_the_resolver_calls_it() {
        for words in ["Name or service not known", "Name does not resolve", "Name has no usable address"] {
            let error = io::Error::other(format!("failed to lookup address information: {words}"));
            assert_eq!(reason(&error), "no such host", "{words}");
        }
        let error = io::Error::other("failed to lookup address information: Try again");
        assert_eq!(reason(&error), "Try again");
    }
}
