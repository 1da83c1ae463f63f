//! Join addresses as people write them: `[name/]host[:port]`.

use std::str::FromStr;

use serf_gossip::Name;

/// Somebody to join, as people write it: `[name/]host[:port]`.
///
/// ```
/// let address: serf::JoinAddress = "web-1/[fd00::1]:7946".parse().unwrap();
/// assert_eq!(address.name, Some("web-1".into()));
/// assert_eq!((address.host.as_str(), address.port), ("fd00::1", Some(7946)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAddress {
    /// Who is expected there. Transports whose certificates are bound to names look for it there.
    pub name: Option<Name>,
    /// An IP address, or a name to look up.
    pub host: String,
    /// None for the port of the node that joins.
    pub port: Option<u16>,
}

/// Why a text is no join address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing stands before the slash.
    #[error("empty node name provided")]
    EmptyName,
    /// Nothing stands for the host.
    #[error("missing host in address")]
    MissingHost,
    /// A bracket without its other half, or something beside it.
    #[error("misplaced bracket in address")]
    Bracket,
    /// The port is not a decimal number up to 65535.
    #[error("invalid port {0:?}")]
    Port(String),
}

impl FromStr for JoinAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (name, rest) = match text.split_once('/') {
            Some(("", _)) => return Err(AddressError::EmptyName),
            Some((name, rest)) => (Some(Name::from(name)), rest),
            None => (None, text),
        };
        let (host, port) = if !has_port(rest) {
            (rest.trim_matches(['[', ']']), None)
        } else {
            let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
            (unbracket(host)?, Some(parse_port(port)?))
        };
        if host.is_empty() {
            return Err(AddressError::MissingHost);
        }
        Ok(Self { name, host: host.to_owned(), port })
    }
}

/// More than one colon without brackets is an IPv6 address.
fn has_port(text: &str) -> bool {
    if text.starts_with('[') { text.rfind(':') > text.rfind(']') } else { text.matches(':').count() == 1 }
}

fn unbracket(host: &str) -> Result<&str, AddressError> {
    let inner = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or(AddressError::Bracket)?,
        None => host,
    };
    if inner.contains(['[', ']']) { Err(AddressError::Bracket) } else { Ok(inner) }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let number = if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    number.ok_or_else(|| AddressError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, String, Option<u16>) {
        let a: JoinAddress = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        (a.name.map(|n| n.to_string()), a.host, a.port)
    }

    #[test]
    fn ports_are_found_where_they_are() {
        // NA1, NA2.
        for (text, host, port) in [
            ("1.2.3.4", "1.2.3.4", None),
            ("1.2.3.4:1234", "1.2.3.4", Some(1234)),
            ("2600:1f14:e22:1501:f9a:2e0c:a167:67e8", "2600:1f14:e22:1501:f9a:2e0c:a167:67e8", None),
            ("[2600:1f14:e22:1501:f9a:2e0c:a167:67e8]", "2600:1f14:e22:1501:f9a:2e0c:a167:67e8", None),
            (
                "[2600:1f14:e22:1501:f9a:2e0c:a167:67e8]:1234",
                "2600:1f14:e22:1501:f9a:2e0c:a167:67e8",
                Some(1234),
            ),
            ("::1", "::1", None),
            ("[::1]:0", "::1", Some(0)),
            ("localhost", "localhost", None),
            ("localhost:65535", "localhost", Some(65_535)),
            ("hashicorp.com", "hashicorp.com", None),
            ("hashicorp.com:00080", "hashicorp.com", Some(80)),
        ] {
            assert_eq!(parsed(text), (None, host.to_owned(), port), "{text}");
            // NA3.
            let named = format!("web-1/{text}");
            assert_eq!(parsed(&named), (Some("web-1".to_owned()), host.to_owned(), port), "{named}");
        }
        // Only the first slash counts.
        assert_eq!(parsed("a/b/c"), (Some("a".to_owned()), "b/c".to_owned(), None));
    }

    #[test]
    fn nonsense_is_named() {
        // NA4.
        for (text, error) in [
            ("", AddressError::MissingHost),
            (":1234", AddressError::MissingHost),
            ("[]", AddressError::MissingHost),
            ("[]:1", AddressError::MissingHost),
            ("web-1/", AddressError::MissingHost),
            ("/1.2.3.4", AddressError::EmptyName),
            ("/", AddressError::EmptyName),
            ("host:", AddressError::Port("".into())),
            ("host:65536", AddressError::Port("65536".into())),
            ("host:80x", AddressError::Port("80x".into())),
            ("host:+80", AddressError::Port("+80".into())),
            ("host:-1", AddressError::Port("-1".into())),
            ("[::1]x:80", AddressError::Bracket),
            ("[::1:80", AddressError::Bracket),
            ("ho]st:80", AddressError::Bracket),
        ] {
            assert_eq!(text.parse::<JoinAddress>(), Err(error), "{text}");
        }
    }
}
