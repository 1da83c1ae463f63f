//! Members as JSON shows them, on the command line and over HTTP alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use serf_rpc::message::Member;

/// A member. What is no UTF-8 in names and tags is shown as U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberDocument {
    /// Its name.
    pub name: String,
    /// See [`address`].
    pub addr: String,
    /// Its port once more, by itself.
    pub port: u16,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// `alive`, `leaving`, `left` or `failed`.
    pub status: String,
    /// The Serf protocol.
    pub protocol: Protocol,
}

/// Versions of the Serf protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Protocol {
    /// The newest that it can speak.
    pub max: u8,
    /// The oldest.
    pub min: u8,
    /// The one that it speaks.
    pub version: u8,
}

impl MemberDocument {
    /// The document of a member.
    #[must_use]
    pub fn of(member: &Member) -> Self {
        Self {
            name: member.name.to_string(),
            addr: address(member),
            port: member.port,
            tags: member.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            status: member.status.to_string(),
            protocol: Protocol {
                max: member.delegate_max,
                min: member.delegate_min,
                version: member.delegate_cur,
            },
        }
    }
}

/// Address and port. Bytes that are no IP address are shown as what they are.
#[must_use]
pub fn address(member: &Member) -> String {
    let port = member.port;
    match (member.ip(), member.addr.as_deref().unwrap_or_default()) {
        (Some(ip), _) => SocketAddr::new(ip, port).to_string(),
        (None, []) => format!(":{port}"),
        (None, bytes) => {
            format!("?{}:{port}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_length() {
        for (bytes, shown) in [
            (Some(vec![10, 0, 0, 1]), "10.0.0.1:80"),
            (Some([&[0; 15][..], &[1]].concat()), "[::1]:80"),
            (Some([&[0; 10][..], &[255, 255, 10, 0, 0, 1]].concat()), "10.0.0.1:80"),
            (Some(vec![1, 2]), "?0102:80"),
            (None, ":80"),
        ] {
            assert_eq!(address(&Member { addr: bytes, port: 80, ..Member::default() }), shown);
        }
    }
}
