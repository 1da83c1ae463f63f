//! What to do about a start that failed. The messages themselves are words that operators and scripts know, so this is a
//! line of its own behind them, with the keys and flags that matter.

use std::fmt::Display;
use std::io;

use serf::StartError;
use serf::transport::BindError;

use crate::config::address::AddressError;
use crate::config::interface::{self, InterfaceError};
use crate::config::keys::KeyringFileError;
use crate::config::tags::TagsFileError;
use crate::config::{Config, ConfigError, LimitError, RpcAddressError, SetupError};
use crate::mdns::MdnsError;
use crate::syslog::{SyslogError, facilities};

/// The message and, if there is one, what to do.
pub(crate) fn told(error: &impl Display, remedy: Option<String>) -> String {
    match remedy {
        Some(remedy) => format!("{error}\n    ({remedy})"),
        None => error.to_string(),
    }
}

const MAY_WRITE: &str = "the user that the agent runs as must be allowed to read and write it";

/// About a configuration that makes no sense. Most messages say enough, and name the file.
pub(crate) fn of_config(error: &ConfigError) -> Option<String> {
    let address = |error: &AddressError, key: &str| match error {
        AddressError::Lookup { .. } => {
            format!("name an IP address, or a name that stands for one, in -{key} or '{key}'")
        }
        _ => format!("write HOST, HOST:PORT, IPV6 or [IPV6]:PORT in -{key} or '{key}'"),
    };
    Some(match error {
        ConfigError::Hostname(_) => "name the node with -node or 'node_name'".into(),
        ConfigError::Interface(InterfaceError::Unknown)
        | ConfigError::MdnsInterface(InterfaceError::Unknown) => {
            format!("this machine has {}", listed(interface::names()))
        }
        ConfigError::InterfaceAddress(InterfaceError::NotItsAddress { name, .. }) => {
            let addresses = interface::find(name).map(|it| it.addresses).unwrap_or_default();
            format!("it has {}: name one of them in -bind, or leave out either flag", listed(addresses))
        }
        ConfigError::MdnsWithoutDiscover => "name the cluster with -discover or 'discover'".into(),
        ConfigError::MdnsDisabled => {
            "leave one family to -discover: -mdns-disable-ipv4 and -mdns-disable-ipv6 are both set".into()
        }
        ConfigError::Bind(error) => address(error, "bind"),
        ConfigError::Advertise(error) => address(error, "advertise"),
        ConfigError::Placed { source, .. } => return of_config(source),
        ConfigError::Profile(_) => "profiles are lan, wan, local and fast".into(),
        _ => return None,
    })
}

/// About the files of tags and keys.
pub(crate) fn of_setup(error: &SetupError, config: &Config) -> Option<String> {
    let file = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    let (tags, keys) = (file(&config.tags_file), file(&config.keyring_file));
    let of_read = |source: &io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => Some(MAY_WRITE.to_owned()),
        _ => None,
    };
    Some(match error {
        SetupError::TagsAndTagsFile => {
            format!(
                "tags are kept in '{tags}': leave out the others (-tag, -role, 'tags', 'role'), or that file"
            )
        }
        SetupError::TagsFile(TagsFileError::Read { source, .. }) => return of_read(source),
        SetupError::TagsFile(_) => {
            format!(
                "'{tags}' has to be an object of strings, as {{\"role\": \"web\"}}; without the file there are no tags"
            )
        }
        SetupError::KeyAndKeyring => {
            format!("keys are kept in '{keys}': leave out -encrypt and 'encrypt_key', or that file")
        }
        SetupError::KeyringFile(KeyringFileError::Missing { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            "make it, a list of keys that `serf keygen` prints, as [\"KEY\"]".into()
        }
        SetupError::KeyringFile(
            KeyringFileError::Missing { source, .. } | KeyringFileError::Read { source, .. },
        ) => return of_read(source),
        SetupError::KeyringFile(_) => {
            format!(
                "'{keys}' has to be a list of keys that `serf keygen` prints, the primary one first, as [\"KEY\"]"
            )
        }
    })
}

/// About the limits of the protocol. Scripts may know the message as the last line, so there is seldom another.
pub(crate) fn of_limit(error: &LimitError) -> Option<String> {
    match error {
        LimitError::TagsSize => Some("all nodes are told all tags: shorten them, or leave some out".into()),
        _ => None,
    }
}

/// About a node that cannot begin.
pub(crate) fn of_start(error: &StartError) -> Option<String> {
    match error {
        StartError::Bind(BindError::Tcp { source, .. } | BindError::Udp { source, .. }) => {
            Some(of_bind(source, "-bind or 'bind'"))
        }
        StartError::Snapshot(error) => Some(
            match error.error().kind() {
                io::ErrorKind::NotFound => "make its directory, or name another file with -snapshot",
                io::ErrorKind::PermissionDenied => {
                    "the user that the agent runs as must be allowed to read and write it, and to make files beside it"
                }
                _ => "name another file with -snapshot",
            }
            .into(),
        ),
        StartError::Advertise(_) => {
            Some("name an address at which other members reach this one with -advertise or 'advertise'".into())
        }
        _ => None,
    }
}

/// About a port that cannot be had, which is set by a flag and a key.
pub(crate) fn of_bind(error: &io::Error, setting: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program listens there, perhaps an agent: end it, or name another port with {setting}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has that address: name another with {setting}")
        }
        io::ErrorKind::PermissionDenied => format!("name a port from 1024 up with {setting}"),
        _ => format!("name another address with {setting}"),
    }
}

/// About what is no address for commands.
pub(crate) fn of_rpc_address(error: &RpcAddressError) -> Option<String> {
    match error {
        RpcAddressError::Tcp(_) => Some("write HOST:PORT or unix:PATH in -rpc-addr or 'rpc_addr'".into()),
        RpcAddressError::Unix(_) => None,
    }
}

/// About the log daemon. That none is there is told in one line, and has been ever since: scripts compare all of it.
pub(crate) fn of_syslog(error: &SyslogError) -> Option<String> {
    match error {
        SyslogError::NoDaemon => None,
        SyslogError::Facility(_) => {
            Some(format!("name one of {} in 'syslog_facility'", listed(facilities())))
        }
    }
}

/// About discovery.
pub(crate) fn of_mdns(error: &MdnsError) -> Option<String> {
    match error {
        MdnsError::Listen { .. } => Some(
            "name an interface with multicast in -mdns-iface or 'mdns.interface', or leave out -discover and 'discover'"
                .into(),
        ),
        _ => None,
    }
}

fn listed(items: impl IntoIterator<Item: Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        None => "none".into(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_said_as_people_say_them() {
        assert_eq!(listed([""; 0]), "none");
        assert_eq!(listed(["lo"]), "lo");
        assert_eq!(listed(["lo", "eth0", "eth1"]), "lo, eth0 and eth1");
    }
}
