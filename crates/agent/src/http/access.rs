//! Who may ask for what. With a token, whoever presents it. Without one it depends on where the API listens:
//!
//! - On loopback everybody on this machine may do everything, but no web page: browsers on this machine could be made to
//!   ask for one. So `Host` must be what no foreign page can have (DNS rebinding), and a request that does something must
//!   say that it is JSON, which a browser does for a foreign page only after asking, and it is told no.
//! - Elsewhere everybody may read, and nobody may do anything.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use subtle::ConstantTimeEq;

/// What an API asks of its clients.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// Empty for none.
    token: Vec<u8>,
    is_loopback: bool,
}

/// Why somebody may not. The text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("a token is needed: send 'Authorization: Bearer TOKEN' with the agent's rpc_auth")]
    NoToken,
    #[error("the token is wrong: it is the agent's rpc_auth")]
    WrongToken,
    #[error(
        "the Host header names neither an IP address nor localhost, as a web page could make a browser do; ask for one \
         of these, or set rpc_auth and send it as a token"
    )]
    ForeignHost,
    #[error(
        "without a token this takes only JSON that says so, which a foreign web page cannot send; send \
         'Content-Type: application/json', or set rpc_auth and send it as a token"
    )]
    NotJson,
    #[error(
        "the agent has no token, and listens where others can reach it: it can only be read; set rpc_auth in its \
         configuration, and send it as a token"
    )]
    ReadOnly,
}

impl Gate {
    pub(super) fn new(token: &[u8], listens_on: IpAddr) -> Self {
        Self { token: token.to_vec(), is_loopback: listens_on.to_canonical().is_loopback() }
    }

    /// Is this open to whoever reaches it?
    pub(super) fn is_open_to_all(&self) -> bool {
        self.token.is_empty() && !self.is_loopback
    }

    /// May a client ask so, to read or to have something done?
    pub(super) fn check(&self, headers: &HeaderMap, only_reads: bool) -> Result<(), Denied> {
        if !self.token.is_empty() {
            return match only(headers, &AUTHORIZATION).map(bearer) {
                None => Err(Denied::NoToken),
                Some(Some(token)) if bool::from(token.ct_eq(&self.token)) => Ok(()),
                Some(_) => Err(Denied::WrongToken),
            };
        }
        if !self.is_loopback {
            return if only_reads { Ok(()) } else { Err(Denied::ReadOnly) };
        }
        if !only(headers, &HOST).is_some_and(is_local) {
            return Err(Denied::ForeignHost);
        }
        if only_reads || only(headers, &CONTENT_TYPE).is_some_and(is_json) {
            Ok(())
        } else {
            Err(Denied::NotJson)
        }
    }
}

/// The value of a header that came once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    values.next().is_none().then_some(value)
}

/// What stands behind `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// An IP address or `localhost`, with or without a port.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let is_port =
        |text: &str| text.is_empty() || text.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok() && is_port(rest);
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    is_port(port) && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a header value"));
        }
        map
    }

    fn gate(token: &str, at: &str) -> Gate {
        Gate::new(token.as_bytes(), at.parse().expect("an address"))
    }

    #[test]
    fn with_a_token_whoever_has_it_may_do_everything_from_anywhere() {
        for at in ["127.0.0.1", "0.0.0.0", "::1"] {
            for (values, outcome) in [
                (&[][..], Err(Denied::NoToken)),
                (&["Bearer secret"], Ok(())),
                (&["bearer  secret "], Ok(())),
                (&["Bearer secre"], Err(Denied::WrongToken)),
                (&["Bearer secret2"], Err(Denied::WrongToken)),
                (&["Bearer "], Err(Denied::WrongToken)),
                (&["Bearer"], Err(Denied::WrongToken)),
                (&["Basic secret"], Err(Denied::WrongToken)),
                (&["secret"], Err(Denied::WrongToken)),
                (&["Bearer secret", "Bearer secret"], Err(Denied::NoToken)),
            ] {
                let pairs: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
                for only_reads in [true, false] {
                    assert_eq!(gate("secret", at).check(&headers(&pairs), only_reads), outcome, "{values:?}");
                }
            }
        }
    }

    #[test]
    fn without_one_no_web_page_can_ask_a_browser_on_this_machine_for_it() {
        for at in ["127.0.0.1", "127.7.7.7", "::1", "::ffff:127.0.0.1"] {
            for (host, local) in [
                ("127.0.0.1:7374", true),
                ("localhost", true),
                ("LocalHost:80", true),
                ("10.0.0.1", true),
                ("[::1]:7374", true),
                ("[::1]", true),
                ("evil.example:7374", false),
                ("127.0.0.1.evil.example", false),
                ("localhost.evil.example", false),
                ("localhost:80:80", false),
                ("localhost:http", false),
                ("[evil]", false),
                ("[::1]x", false),
                ("", false),
            ] {
                let outcome = if local { Ok(()) } else { Err(Denied::ForeignHost) };
                assert_eq!(gate("", at).check(&headers(&[("host", host)]), true), outcome, "{host}");
            }
            assert_eq!(gate("", at).check(&headers(&[]), true), Err(Denied::ForeignHost));
            let two = headers(&[("host", "localhost"), ("host", "localhost")]);
            assert_eq!(gate("", at).check(&two, true), Err(Denied::ForeignHost));
            for (content_type, outcome) in [
                (Some("application/json"), Ok(())),
                (Some("Application/JSON; charset=utf-8"), Ok(())),
                (Some("text/plain"), Err(Denied::NotJson)),
                (Some("text/plain; application/json"), Err(Denied::NotJson)),
                (Some("application/jsonx"), Err(Denied::NotJson)),
                (None, Err(Denied::NotJson)),
            ] {
                let mut map = headers(&[("host", "localhost")]);
                map.extend(content_type.map(|it| (CONTENT_TYPE, it.parse().expect("a header value"))));
                assert_eq!(gate("", at).check(&map, false), outcome, "{content_type:?}");
            }
        }
    }

    #[test]
    fn without_one_whoever_reaches_it_over_the_network_may_read_only() {
        for at in ["0.0.0.0", "10.0.0.1", "::", "2001:db8::1"] {
            let gate = gate("", at);
            assert!(gate.is_open_to_all());
            assert_eq!(gate.check(&headers(&[("host", "serf.example")]), true), Ok(()));
            let json = headers(&[("host", "localhost"), ("content-type", "application/json")]);
            assert_eq!(gate.check(&json, false), Err(Denied::ReadOnly));
        }
        assert!(!gate("secret", "0.0.0.0").is_open_to_all());
        assert!(!gate("", "127.0.0.1").is_open_to_all());
    }
}
