//! The configuration, keyring and event handler parsers against what the Go agents did with the same input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use serf_agent::banner::Banner;
use serf_agent::config::file::decode_settings;
use serf_agent::config::keys::load_keyring;
use serf_agent::config::settings::Settings;
use serf_agent::config::{Config, Profile, Setup, Sources, check, load, setup};
use serf_agent::events::{EventFilter, EventHandler};
use serf_agent::logging::Level;

fn entries(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(file);
    serde_json::from_slice(&fs::read(path).expect("test data")).expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A directory for one test, with the files that the configurations name.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("serf-agent-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What an agent with that configuration would print in front of its log, and what it would run with.
fn start(directory: &Directory, config_text: &str) -> (String, Option<(Config, Setup)>) {
    let path = directory.write("CONFIG", config_text);
    // Relative paths in the configurations are relative to the directory.
    let mut flags = Settings::default();
    if let Ok(settings) = decode_settings(config_text.as_bytes()) {
        let inside = |path: Option<String>| path.map(|path| directory.0.join(path).display().to_string());
        flags.keyring_file = inside(settings.keyring_file);
        flags.tags_file = inside(settings.tags_file);
    }
    let sources = Sources { files: vec![path], flags, notices: Vec::new() };
    let mut output = String::new();
    let config = match load(&sources, &mut |notice| output += &format!("==> {notice}\n")) {
        Ok(config) => config,
        Err(error) => return (output + &format!("==> {error}\n"), None),
    };
    let setup = match setup(&config) {
        Ok(setup) => setup,
        Err(error) => return (output + &format!("==> {error}\n"), None),
    };
    if let Err(error) = check(&config, &setup) {
        return (output + &format!("==> {error}\n"), None);
    }
    if let Err(error) = config.rpc_address() {
        return (output + &format!("==> {error}\n"), None);
    }
    output += &Banner {
        node_name: config.node_name.clone(),
        bind: config.bind,
        advertise: config.advertise,
        rpc_addr: config.rpc_addr.clone(),
        http_addr: None,
        encrypted: !setup.keys.is_empty(),
        snapshot: config.snapshot_path.is_some(),
        profile: config.profile,
        compression: config.enable_compression,
        mdns_cluster: config.discover.clone(),
    }
    .to_string();
    (output, Some((config, setup)))
}

/// Where ours differs on purpose, and what it does. The reference reads these keys and forgets them (E10).
const DIFFERENT: [(&str, &str); 2] = [
    ("enable-compression-false", "Message Compression Enabled: false\n"),
    (
        "validate-node-names-bad",
        "==> Failed to start the Serf agent: Error creating Serf: Node name 'bad name!' contains invalid characters",
    ),
];

#[test]
fn configurations_are_accepted_and_refused_as_ever() {
    let directory = Directory::new("config");
    for (name, content) in [
        ("good.keyring", r#"["MDEyMzQ1Njc4OWFiY2RlZg=="]"#),
        ("empty.keyring", "[]"),
        ("notjson.keyring", "not json"),
        ("badkey.keyring", r#"["AAAA"]"#),
        ("notb64.keyring", r#"["***"]"#),
        ("good.tags", r#"{"role": "stored"}"#),
        ("bad.tags", "[]"),
    ] {
        directory.write(name, content);
    }
    let (_, running) = start(&directory, "{}");
    compare("defaults", &running.expect("nothing is wrong with it").0, &Value::Null);
    let shorten = |output: &str| output.replace(&format!("{}/", directory.0.display()), "");
    for entry in entries("config_examples.json").iter().skip(1) {
        let (name, theirs) = (text(&entry["name"]), &entry["decoded"]["0.10"]);
        let (output, running) = start(&directory, text(&entry["config_text"]));
        let output = shorten(&output);
        if let Some((_, ours)) = DIFFERENT.iter().find(|(different, _)| *different == name) {
            assert!(output.contains(ours), "{name}: {output}");
            continue;
        }
        // Some were not started, as they would have used ports of the system.
        let accepted = theirs["accepted"].as_bool().unwrap_or(true);
        assert_eq!(running.is_some(), accepted, "{name}: {output}");
        match running {
            Some((config, _)) => {
                compare(name, &config, &theirs["differs_from_defaults"]);
                for (label, value) in theirs["banner"].as_object().into_iter().flatten() {
                    let value = text(value).replace("(host name)", &config.node_name);
                    let shown = [format!("{label}: {value}\n"), format!("{label}: '{value}'\n")];
                    assert!(shown.iter().any(|line| output.contains(line)), "{name}: {label} in {output}");
                }
            }
            None => assert_refusal(name, &output, text(&theirs["error_output"])),
        }
        for warning in theirs["warnings"].as_array().into_iter().flatten() {
            assert!(output.contains(text(warning)), "{name}: {warning} in {output}");
        }
    }
}

/// The words are theirs, except that ours on the structure of a file are more precise.
fn assert_refusal(name: &str, ours: &str, theirs: &str) {
    let structural = theirs.contains("decoding failed") || theirs.contains("expected a map");
    if structural {
        let prefix = theirs.split_once("': ").map_or("", |(prefix, _)| prefix);
        assert!(ours.starts_with(prefix), "{name}: {ours}");
        let last = theirs.lines().last().unwrap_or_default();
        let keys = match last.split_once("has invalid keys: ") {
            Some((_, keys)) => keys,
            None => last.split('\'').nth(1).unwrap_or_default(),
        };
        for key in keys.split(", ") {
            assert!(ours.contains(key), "{name}: {key} in {ours}");
        }
    } else {
        for line in theirs.lines() {
            assert!(ours.contains(line), "{name}: {line} in {ours}");
        }
    }
}

/// Checks the settings that their record holds, which are those other than the defaults.
fn compare(name: &str, config: &Config, theirs: &Value) {
    let defaults = entries("config_examples.json").remove(0)["decoded"]["0.10"].take();
    let value = |field: &str| match &theirs[field] {
        Value::Null => defaults[field].clone(),
        other => other.clone(),
    };
    let string = |field: &str| Some(text(&value(field)).to_owned()).filter(|text| !text.is_empty());
    let switch = |field: &str| value(field).as_bool().unwrap_or(false);
    let number = |field: &str| value(field).as_u64().expect("a number");
    let list = |field: &str| -> Vec<String> {
        value(field).as_array().into_iter().flatten().map(|item| text(item).to_owned()).collect()
    };
    // Zero stands for what the library below has as its default; nothing here can be negative.
    let time = |field: &str, default: u64| match value(field).as_i64().expect("a number") {
        0 => Duration::from_secs(default),
        nanos => Duration::from_nanos(nanos.max(0).unsigned_abs()),
    };
    let at_least = |seconds: u64, time: Duration| time.max(Duration::from_secs(seconds));

    if let Some(node_name) = string("NodeName") {
        assert_eq!(config.node_name, node_name, "{name}");
    }
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    for (key, tag) in value("Tags").as_object().into_iter().flatten() {
        tags.insert(key.clone(), text(tag).to_owned());
    }
    tags.extend(string("Role").map(|role| ("role".to_owned(), role)));
    assert_eq!(config.tags, tags, "{name}");
    assert_eq!(config.log_level, text(&value("LogLevel")).parse::<Level>().expect("a level"), "{name}");
    assert_eq!(Some(&config.rpc_addr), string("RPCAddr").as_ref(), "{name}");
    let token = config.rpc_auth.as_ref().map(|token| token.as_bytes());
    assert_eq!(token, string("RPCAuthKey").as_deref().map(str::as_bytes), "{name}");
    let key = config.encrypt_key.as_ref().map(|key| key.to_base64());
    assert_eq!(key, string("EncryptKey"), "{name}");
    assert_eq!(config.protocol, number("Protocol"), "{name}");
    assert_eq!(config.replay_on_join, switch("ReplayOnJoin"), "{name}");
    assert_eq!(config.query_response_size_limit as u64, number("QueryResponseSizeLimit"), "{name}");
    assert_eq!(config.query_size_limit as u64, number("QuerySizeLimit"), "{name}");
    assert_eq!(config.user_event_size_limit as u64, number("UserEventSizeLimit"), "{name}");
    assert_eq!(config.start_join, list("StartJoin"), "{name}");
    assert_eq!(config.retry_join, list("RetryJoin"), "{name}");
    assert_eq!(config.retry_max_attempts, number("RetryMaxAttempts"), "{name}");
    assert_eq!(config.retry_interval, at_least(1, time("RetryInterval", 30)), "{name}");
    assert_eq!(config.broadcast_timeout, at_least(1, time("BroadcastTimeout", 5)), "{name}");
    let handlers = list("EventHandlers");
    let handlers = handlers.iter().flat_map(|spec| EventHandler::parse_list(spec).expect("valid"));
    assert_eq!(config.event_handlers.list, handlers.collect::<Vec<_>>(), "{name}");
    assert_eq!(config.profile, text(&value("Profile")).parse::<Profile>().expect("a profile"), "{name}");
    assert_eq!(config.snapshot_path, string("SnapshotPath").map(PathBuf::from), "{name}");
    assert_eq!(config.rejoin_after_leave, switch("RejoinAfterLeave"), "{name}");
    assert_eq!(config.leave_on_terminate, switch("LeaveOnTerm"), "{name}");
    assert_eq!(config.skip_leave_on_interrupt, switch("SkipLeaveOnInt"), "{name}");
    assert_eq!(config.discover, string("Discover"), "{name}");
    assert_eq!(config.interface, string("Interface"), "{name}");
    assert_eq!(config.reconnect_interval, time("ReconnectInterval", 30), "{name}");
    assert_eq!(config.reconnect_timeout, time("ReconnectTimeout", 24 * 3600), "{name}");
    assert_eq!(config.tombstone_timeout, time("TombstoneTimeout", 24 * 3600), "{name}");
    assert_eq!(config.disable_name_resolution, switch("DisableNameResolution"), "{name}");
    assert_eq!(config.disable_coordinates, switch("DisableCoordinates"), "{name}");
    assert_eq!(config.enable_syslog, switch("EnableSyslog"), "{name}");
    assert_eq!(Some(&config.syslog_facility), string("SyslogFacility").as_ref(), "{name}");
    assert_eq!(config.statsite_addr, string("StatsiteAddr"), "{name}");
    assert_eq!(config.statsd_addr, string("StatsdAddr"), "{name}");
}

#[test]
fn keyrings_are_accepted_and_refused_as_ever() {
    let directory = Directory::new("keyring");
    let mut seen = 0;
    for entry in entries("keyring.json") {
        let (name, file_text) = (text(&entry["name"]), text(&entry["file_text"]));
        let decoded = &entry["decoded"];
        if name.ends_with("/keygen") {
            continue;
        }
        seen += 1;
        let path = directory.write("keyring", file_text);
        let result = load_keyring(&path);
        match decoded["keys"].as_array() {
            Some(keys) => {
                let result: Vec<_> = result.expect(name).iter().map(|key| key.to_base64()).collect();
                assert_eq!(result, keys.iter().map(text).collect::<Vec<_>>(), "{name}");
            }
            None => {
                let refusal = format!("==> Failed to setup the Serf agent: {}", result.expect_err(name));
                assert_eq!(refusal, text(&decoded["agent_output"]["0.10"][0]), "{name}");
            }
        }
        if !decoded["primary"].is_null() {
            // The agents wrote these; so do we.
            let keys = load_keyring(&path).expect(name);
            let keys: Vec<_> = keys.iter().map(|key| serf::Key::new(key.as_bytes()).expect(name)).collect();
            serf::write_keyring(&path, &keys).expect(name);
            assert_eq!(fs::read_to_string(&path).expect(name), file_text, "{name}");
        }
    }
    assert!(seen > 10);
}

#[test]
fn handlers_and_filters_are_parsed_as_ever() {
    let mut seen = 0;
    for entry in entries("event_handlers.json") {
        let (name, input) = (text(&entry["name"]), text(&entry["input"]));
        let Some(expected) = entry["decoded"].as_array() else { continue };
        let valid = expected.iter().all(|item| item["valid"] == true);
        let expected: Vec<_> = expected
            .iter()
            .map(|item| {
                (text(&item["event"]), text(&item["name"]), text(&item["script"]), text(&item["string"]))
            })
            .collect();
        match text(&entry["kind"]) {
            "handler_spec" => match EventHandler::parse_list(input) {
                Ok(handlers) => {
                    assert!(valid, "{name}");
                    let parsed = handlers.iter().map(|h| (h.filter.kind(), h.filter.name(), &*h.script));
                    assert!(
                        parsed.eq(expected.iter().map(|&(kind, name, script, _)| (kind, name, script))),
                        "{name}"
                    );
                }
                Err(error) => {
                    assert!(!valid, "{name}");
                    let error = error.to_string();
                    assert!(expected.iter().any(|(.., string)| error.starts_with(string)), "{name}: {error}");
                }
            },
            "event_filter" => match EventFilter::parse_list(input) {
                Ok(filters) => {
                    assert!(valid, "{name}");
                    let parsed = filters.iter().map(|filter| (filter.kind(), filter.name()));
                    assert!(parsed.eq(expected.iter().map(|&(kind, name, ..)| (kind, name))), "{name}");
                }
                Err(_) => assert!(!valid, "{name}"),
            },
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen > 20);
}
