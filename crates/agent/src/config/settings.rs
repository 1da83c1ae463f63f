//! What was written: one layer of configuration, from a file or from the command line, and how layers add up.

use std::collections::BTreeMap;
use std::fmt;

use super::duration::GoDuration;
use super::knobs::Knobs;

/// The settings of one source, as they were written there. What was not mentioned is `None` or empty.
///
/// An empty string, a zero and a zero duration (but that of `event_handler_patience`, and in `gossip`) count as not
/// mentioned, so that a later source cannot take a setting back with them. A switch can be set both ways: the later source wins.
#[derive(Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are the configuration keys; Config explains what they mean")]
pub struct Settings {
    pub node_name: Option<String>,
    pub role: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub tags_file: Option<String>,
    pub bind: Option<String>,
    pub interface: Option<String>,
    pub advertise: Option<String>,
    pub encrypt_key: Option<String>,
    pub keyring_file: Option<String>,
    pub keyring_create: Option<bool>,
    pub log_level: Option<String>,
    pub log_format: Option<String>,
    pub rpc_addr: Option<String>,
    pub rpc_auth: Option<String>,
    pub http_addr: Option<String>,
    pub protocol: Option<i64>,
    pub replay_on_join: Option<bool>,
    pub query_response_size_limit: Option<i64>,
    pub query_size_limit: Option<i64>,
    pub user_event_size_limit: Option<i64>,
    pub start_join: Vec<String>,
    pub retry_join: Vec<String>,
    pub retry_max_attempts: Option<i64>,
    pub retry_interval: Option<GoDuration>,
    pub event_handlers: Vec<String>,
    pub event_handler_patience: Option<GoDuration>,
    pub event_handler_timeout: Option<GoDuration>,
    pub event_handler_json: Option<bool>,
    pub profile: Option<String>,
    pub gossip: Knobs,
    pub snapshot_path: Option<String>,
    pub rejoin_after_leave: Option<bool>,
    pub leave_on_terminate: Option<bool>,
    pub skip_leave_on_interrupt: Option<bool>,
    pub discover: Option<String>,
    pub mdns_interface: Option<String>,
    pub mdns_disable_ipv4: Option<bool>,
    pub mdns_disable_ipv6: Option<bool>,
    pub reconnect_interval: Option<GoDuration>,
    pub reconnect_timeout: Option<GoDuration>,
    pub tombstone_timeout: Option<GoDuration>,
    pub disable_name_resolution: Option<bool>,
    pub enable_syslog: Option<bool>,
    pub syslog_facility: Option<String>,
    pub statsite_addr: Option<String>,
    pub statsd_addr: Option<String>,
    pub broadcast_timeout: Option<GoDuration>,
    pub enable_compression: Option<bool>,
    pub disable_coordinates: Option<bool>,
    pub validate_node_names: Option<bool>,
    /// Accepted for the sake of old files; it has nothing to act on.
    pub msgpack_use_new_time_format: Option<bool>,
}

impl Settings {
    /// Lays the settings of a later source over these.
    pub fn overlay(&mut self, later: Self) {
        // Taken apart field by field, so that the compiler asks about a new one.
        let Self {
            node_name,
            role,
            tags,
            tags_file,
            bind,
            interface,
            advertise,
            encrypt_key,
            keyring_file,
            keyring_create,
            log_level,
            log_format,
            rpc_addr,
            rpc_auth,
            http_addr,
            protocol,
            replay_on_join,
            query_response_size_limit,
            query_size_limit,
            user_event_size_limit,
            start_join,
            retry_join,
            retry_max_attempts,
            retry_interval,
            event_handlers,
            event_handler_patience,
            event_handler_timeout,
            event_handler_json,
            profile,
            gossip,
            snapshot_path,
            rejoin_after_leave,
            leave_on_terminate,
            skip_leave_on_interrupt,
            discover,
            mdns_interface,
            mdns_disable_ipv4,
            mdns_disable_ipv6,
            reconnect_interval,
            reconnect_timeout,
            tombstone_timeout,
            disable_name_resolution,
            enable_syslog,
            syslog_facility,
            statsite_addr,
            statsd_addr,
            broadcast_timeout,
            enable_compression,
            disable_coordinates,
            validate_node_names,
            msgpack_use_new_time_format,
        } = later;

        text(&mut self.node_name, node_name);
        text(&mut self.role, role);
        text(&mut self.tags_file, tags_file);
        text(&mut self.bind, bind);
        text(&mut self.interface, interface);
        text(&mut self.advertise, advertise);
        text(&mut self.encrypt_key, encrypt_key);
        text(&mut self.keyring_file, keyring_file);
        text(&mut self.log_level, log_level);
        text(&mut self.log_format, log_format);
        text(&mut self.rpc_addr, rpc_addr);
        text(&mut self.rpc_auth, rpc_auth);
        text(&mut self.http_addr, http_addr);
        text(&mut self.profile, profile);
        text(&mut self.snapshot_path, snapshot_path);
        text(&mut self.discover, discover);
        text(&mut self.mdns_interface, mdns_interface);
        text(&mut self.syslog_facility, syslog_facility);
        text(&mut self.statsite_addr, statsite_addr);
        text(&mut self.statsd_addr, statsd_addr);

        // Both zero and a negative protocol ask for the newest one.
        unless(&mut self.protocol, protocol, |&n| n <= 0);
        unless(&mut self.query_response_size_limit, query_response_size_limit, |&n| n == 0);
        unless(&mut self.query_size_limit, query_size_limit, |&n| n == 0);
        unless(&mut self.user_event_size_limit, user_event_size_limit, |&n| n == 0);
        unless(&mut self.retry_max_attempts, retry_max_attempts, |&n| n == 0);

        unless(&mut self.retry_interval, retry_interval, |d| d.is_zero());
        unless(&mut self.reconnect_interval, reconnect_interval, |d| d.is_zero());
        unless(&mut self.reconnect_timeout, reconnect_timeout, |d| d.is_zero());
        unless(&mut self.tombstone_timeout, tombstone_timeout, |d| d.is_zero());
        unless(&mut self.broadcast_timeout, broadcast_timeout, |d| d.is_zero());
        unless(&mut self.event_handler_timeout, event_handler_timeout, |d| d.is_zero());
        // Here zero is a setting: not to wait at all.
        unless(&mut self.event_handler_patience, event_handler_patience, |_| false);

        switch(&mut self.keyring_create, keyring_create);
        switch(&mut self.replay_on_join, replay_on_join);
        switch(&mut self.rejoin_after_leave, rejoin_after_leave);
        switch(&mut self.leave_on_terminate, leave_on_terminate);
        switch(&mut self.skip_leave_on_interrupt, skip_leave_on_interrupt);
        switch(&mut self.mdns_disable_ipv4, mdns_disable_ipv4);
        switch(&mut self.mdns_disable_ipv6, mdns_disable_ipv6);
        switch(&mut self.disable_name_resolution, disable_name_resolution);
        switch(&mut self.enable_syslog, enable_syslog);
        switch(&mut self.enable_compression, enable_compression);
        switch(&mut self.disable_coordinates, disable_coordinates);
        switch(&mut self.validate_node_names, validate_node_names);
        switch(&mut self.event_handler_json, event_handler_json);
        switch(&mut self.msgpack_use_new_time_format, msgpack_use_new_time_format);

        self.gossip.overlay(gossip);
        self.start_join.extend(start_join);
        self.retry_join.extend(retry_join);
        self.event_handlers.extend(event_handlers);
        self.tags.extend(tags);
    }
}

fn text(slot: &mut Option<String>, later: Option<String>) {
    unless(slot, later, String::is_empty);
}

fn switch(slot: &mut Option<bool>, later: Option<bool>) {
    unless(slot, later, |_| false);
}

fn unless<T>(slot: &mut Option<T>, later: Option<T>, is_unset: impl Fn(&T) -> bool) {
    if let Some(value) = later.filter(|value| !is_unset(value)) {
        *slot = Some(value);
    }
}

/// Only a few harmless fields: the others include an encryption key and a token.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("node_name", &self.node_name)
            .field("tags", &self.tags)
            .field("bind", &self.bind)
            .field("rpc_addr", &self.rpc_addr)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(layers: impl IntoIterator<Item = Settings>) -> Settings {
        layers.into_iter().fold(Settings::default(), |mut sum, layer| {
            sum.overlay(layer);
            sum
        })
    }

    #[test]
    fn later_values_win_unless_they_say_nothing() {
        let named = |name: &str| Settings { node_name: Some(name.into()), ..Settings::default() };
        assert_eq!(merged([named("a"), named("b")]).node_name.as_deref(), Some("b"));
        assert_eq!(merged([named("a"), named("")]).node_name.as_deref(), Some("a"));
        assert_eq!(merged([named("a"), Settings::default()]).node_name.as_deref(), Some("a"));
        let protocol = |protocol| Settings { protocol: Some(protocol), ..Settings::default() };
        assert_eq!(merged([protocol(4), protocol(-1), protocol(0)]).protocol, Some(4));
        let wait = |nanos| Settings {
            reconnect_timeout: Some(GoDuration::from_nanos(nanos)),
            ..Settings::default()
        };
        assert_eq!(merged([wait(5), wait(0)]).reconnect_timeout, Some(GoDuration::from_nanos(5)));
    }

    #[test]
    fn switches_can_be_reset() {
        let rejoin = |on| Settings { rejoin_after_leave: on, ..Settings::default() };
        assert_eq!(merged([rejoin(Some(true)), rejoin(None)]).rejoin_after_leave, Some(true));
        assert_eq!(merged([rejoin(Some(true)), rejoin(Some(false))]).rejoin_after_leave, Some(false));
    }

    #[test]
    fn lists_and_tags_add_up() {
        let layer = |address: &str, key: &str, value: &str| Settings {
            start_join: vec![address.into()],
            tags: BTreeMap::from([(key.into(), value.into()), ("all".into(), value.into())]),
            ..Settings::default()
        };
        let sum = merged([layer("1", "a", "x"), layer("2", "b", "y")]);
        assert_eq!(sum.start_join, ["1", "2"]);
        let tags = [("a", "x"), ("all", "y"), ("b", "y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(sum.tags, BTreeMap::from(tags));
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = Settings {
            encrypt_key: Some("key-material".into()),
            rpc_auth: Some("token".into()),
            ..Settings::default()
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("key-material") && !shown.contains("token"), "{shown}");
    }
}
