//! Configuration files: finding them, and reading one into [`Settings`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::duration::{DurationError, GoDuration};
use super::settings::Settings;
use crate::json::{self, Member, Node, Position, SyntaxError, Value};
use crate::text::{nearest, os_error};

/// Why a configuration file or directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path cannot be opened.
    #[error("Error reading '{}': open {}: {}", .path.display(), .path.display(), os_error(.source))]
    Open {
        /// The path as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The directory cannot be listed.
    #[error("Error reading '{}': readdir {}: {}", .path.display(), .path.display(), os_error(.source))]
    List {
        /// The path as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in the file is no configuration.
    #[error("Error decoding '{}': {source}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// What is wrong with the text of a configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It could be opened but not read, as a directory under a file's name.
    #[error("read {}: {}", .path.display(), os_error(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not JSON.
    #[error("{source}{}", place(.at))]
    Syntax {
        /// What is wrong.
        source: SyntaxError,
        /// Where, unless the text simply ends.
        at: Option<Position>,
    },
    /// It is JSON, but not a configuration.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

/// Something in a configuration that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} (line {}, column {})", .at.line, .at.column)]
pub struct Problem {
    /// Where it stands.
    pub at: Position,
    /// What it is.
    pub what: ProblemKind,
}

/// The kinds of things that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// There is no such key.
    #[error("'{key}' is not a known key{}", hint(*.nearest))]
    UnknownKey {
        /// The key with its parents, as `mdns.interfaces`.
        key: String,
        /// A known key that looks like it.
        nearest: Option<&'static str>,
    },
    /// The key occurs in several spellings.
    #[error("'{key}' is the same key as '{other}'")]
    DoubledKey {
        /// The spelling that comes later.
        key: String,
        /// The one it clashes with.
        other: String,
    },
    /// The value is of the wrong type.
    #[error("'{key}' must be {expected}, not {found}")]
    WrongType {
        /// The key with parents and index, as `event_handlers[0]`.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// The configuration as a whole is not an object.
    #[error("expected an object with settings, not {0}")]
    NotAnObject(&'static str),
    /// The number is too large.
    #[error("'{key}' is out of range")]
    Range {
        /// The key.
        key: String,
    },
    /// The text is not a duration.
    #[error("{source}, the value of '{key}'")]
    Duration {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: DurationError,
    },
}

fn place(at: &Option<Position>) -> String {
    at.map_or_else(String::new, |at| format!(" ({at})"))
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean '{key}'?"))
}

fn list(problems: &[Problem]) -> String {
    if let [only] = problems {
        return only.to_string();
    }
    let lines = problems.iter().map(|problem| format!("\n    {problem}"));
    format!("{} problems:{}", problems.len(), lines.collect::<String>())
}

/// Reads files and directories in the given order. Each is to be laid over the ones before it.
pub fn read_paths<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> Result<Vec<(PathBuf, Settings)>, FileError> {
    let mut layers = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let open_error = |source| FileError::Open { path: path.to_owned(), source };
        let files = match fs::metadata(path).map_err(open_error)?.is_dir() {
            true => files_in(path)?,
            false => vec![path.to_owned()],
        };
        for file in files {
            let settings = read_file(&file)?;
            layers.push((file, settings));
        }
    }
    Ok(layers)
}

/// The files of a directory that end in `.json`, in the bytewise order of their names. Real sub-directories are
/// passed over; links to directories are not, and fail when they are read.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let error = |source| FileError::List { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        let is_json = entry.file_name().as_encoded_bytes().ends_with(b".json");
        if is_json && !entry.file_type().map_err(error)?.is_dir() {
            names.push(entry.file_name());
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn read_file(path: &Path) -> Result<Settings, FileError> {
    let decode = |source| FileError::Decode { path: path.to_owned(), source };
    let mut file =
        fs::File::open(path).map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut file, &mut text)
        .map_err(|source| decode(DecodeError::Read { path: path.to_owned(), source }))?;
    decode_settings(&text).map_err(decode)
}

/// Reads the text of one configuration file.
pub fn decode_settings(text: &[u8]) -> Result<Settings, DecodeError> {
    let root = json::read_first(text).map_err(|source| DecodeError::Syntax {
        at: source.offset().map(|offset| Position::of(text, offset)),
        source,
    })?;
    let mut decoder = Decoder { text, settings: Settings::default(), problems: Vec::new() };
    match &root.value {
        Value::Null => {}
        Value::Object(members) => decoder.object(members, KEYS, ""),
        other => decoder.problem(root.offset, ProblemKind::NotAnObject(other.kind())),
    }
    if decoder.problems.is_empty() {
        Ok(decoder.settings)
    } else {
        Err(DecodeError::Problems(decoder.problems))
    }
}

/// Where the value of a key goes, and what it has to be.
enum Slot {
    Text(fn(&mut Settings) -> &mut Option<String>),
    Integer(fn(&mut Settings) -> &mut Option<i64>),
    Switch(fn(&mut Settings) -> &mut Option<bool>),
    Duration(fn(&mut Settings) -> &mut Option<GoDuration>),
    List(fn(&mut Settings) -> &mut Vec<String>),
    Map(fn(&mut Settings) -> &mut BTreeMap<String, String>),
    Object(&'static [(&'static str, Self)]),
}

/// All keys of a configuration file.
const KEYS: &[(&str, Slot)] = &[
    ("node_name", Slot::Text(|s| &mut s.node_name)),
    ("role", Slot::Text(|s| &mut s.role)),
    ("tags", Slot::Map(|s| &mut s.tags)),
    ("tags_file", Slot::Text(|s| &mut s.tags_file)),
    ("bind", Slot::Text(|s| &mut s.bind)),
    ("interface", Slot::Text(|s| &mut s.interface)),
    ("advertise", Slot::Text(|s| &mut s.advertise)),
    ("encrypt_key", Slot::Text(|s| &mut s.encrypt_key)),
    ("keyring_file", Slot::Text(|s| &mut s.keyring_file)),
    ("log_level", Slot::Text(|s| &mut s.log_level)),
    ("log_format", Slot::Text(|s| &mut s.log_format)),
    ("rpc_addr", Slot::Text(|s| &mut s.rpc_addr)),
    ("rpc_auth", Slot::Text(|s| &mut s.rpc_auth)),
    ("http_addr", Slot::Text(|s| &mut s.http_addr)),
    ("protocol", Slot::Integer(|s| &mut s.protocol)),
    ("replay_on_join", Slot::Switch(|s| &mut s.replay_on_join)),
    ("query_response_size_limit", Slot::Integer(|s| &mut s.query_response_size_limit)),
    ("query_size_limit", Slot::Integer(|s| &mut s.query_size_limit)),
    ("user_event_size_limit", Slot::Integer(|s| &mut s.user_event_size_limit)),
    ("start_join", Slot::List(|s| &mut s.start_join)),
    ("retry_join", Slot::List(|s| &mut s.retry_join)),
    ("retry_max_attempts", Slot::Integer(|s| &mut s.retry_max_attempts)),
    ("retry_interval", Slot::Duration(|s| &mut s.retry_interval)),
    ("event_handlers", Slot::List(|s| &mut s.event_handlers)),
    ("event_handler_patience", Slot::Duration(|s| &mut s.event_handler_patience)),
    ("event_handler_timeout", Slot::Duration(|s| &mut s.event_handler_timeout)),
    ("event_handler_json", Slot::Switch(|s| &mut s.event_handler_json)),
    ("profile", Slot::Text(|s| &mut s.profile)),
    ("snapshot_path", Slot::Text(|s| &mut s.snapshot_path)),
    ("rejoin_after_leave", Slot::Switch(|s| &mut s.rejoin_after_leave)),
    ("leave_on_terminate", Slot::Switch(|s| &mut s.leave_on_terminate)),
    ("skip_leave_on_interrupt", Slot::Switch(|s| &mut s.skip_leave_on_interrupt)),
    ("discover", Slot::Text(|s| &mut s.discover)),
    ("mdns", Slot::Object(MDNS_KEYS)),
    ("reconnect_interval", Slot::Duration(|s| &mut s.reconnect_interval)),
    ("reconnect_timeout", Slot::Duration(|s| &mut s.reconnect_timeout)),
    ("tombstone_timeout", Slot::Duration(|s| &mut s.tombstone_timeout)),
    ("disable_name_resolution", Slot::Switch(|s| &mut s.disable_name_resolution)),
    ("enable_syslog", Slot::Switch(|s| &mut s.enable_syslog)),
    ("syslog_facility", Slot::Text(|s| &mut s.syslog_facility)),
    ("statsite_addr", Slot::Text(|s| &mut s.statsite_addr)),
    ("statsd_addr", Slot::Text(|s| &mut s.statsd_addr)),
    ("broadcast_timeout", Slot::Duration(|s| &mut s.broadcast_timeout)),
    ("enable_compression", Slot::Switch(|s| &mut s.enable_compression)),
    ("disable_coordinates", Slot::Switch(|s| &mut s.disable_coordinates)),
    ("validate_node_names", Slot::Switch(|s| &mut s.validate_node_names)),
    ("MsgpackUseNewTimeFormat", Slot::Switch(|s| &mut s.msgpack_use_new_time_format)),
];

const MDNS_KEYS: &[(&str, Slot)] = &[
    ("interface", Slot::Text(|s| &mut s.mdns_interface)),
    ("disable_ipv4", Slot::Switch(|s| &mut s.mdns_disable_ipv4)),
    ("disable_ipv6", Slot::Switch(|s| &mut s.mdns_disable_ipv6)),
];

/// Reads on after a problem, so that all of them can be shown at once.
struct Decoder<'a> {
    text: &'a [u8],
    settings: Settings,
    problems: Vec<Problem>,
}

impl Decoder<'_> {
    fn problem(&mut self, offset: usize, what: ProblemKind) {
        self.problems.push(Problem { at: Position::of(self.text, offset), what });
    }

    fn wrong_type(&mut self, node: &Node, key: String, expected: &'static str) {
        self.problem(node.offset, ProblemKind::WrongType { key, expected, found: node.value.kind() });
    }

    /// Keys match in any case, but one key cannot come in two spellings. Of the same spelling the last counts.
    fn object(&mut self, members: &[Member], keys: &'static [(&'static str, Slot)], parent: &str) {
        let mut spellings: BTreeMap<&str, &str> = BTreeMap::new();
        // An exact spelling is the right one, wherever it stands.
        for member in members {
            if let Some((name, _)) = keys.iter().find(|(name, _)| *name == member.key) {
                spellings.insert(name, &member.key);
            }
        }
        for (at, member) in members.iter().enumerate() {
            let path = format!("{parent}{}", member.key);
            let Some((name, slot)) = keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(&member.key))
            else {
                let nearest = nearest(&member.key, keys.iter().map(|(name, _)| *name));
                self.problem(member.offset, ProblemKind::UnknownKey { key: path, nearest });
                continue;
            };
            let spelling = *spellings.entry(name).or_insert(&member.key);
            if spelling != member.key {
                let other = format!("{parent}{spelling}");
                self.problem(member.offset, ProblemKind::DoubledKey { key: path, other });
            } else if members[at + 1..].iter().all(|later| later.key != member.key) {
                self.value(&member.value, slot, path);
            }
        }
    }

    /// `null` leaves a setting alone, whatever its type.
    fn value(&mut self, node: &Node, slot: &'static Slot, key: String) {
        match (slot, &node.value) {
            (_, Value::Null) => {}
            (Slot::Text(slot), Value::String(text)) => *slot(&mut self.settings) = Some(text.clone()),
            (Slot::Text(_), _) => self.wrong_type(node, key, "a string"),
            (Slot::Switch(slot), Value::Bool(on)) => *slot(&mut self.settings) = Some(*on),
            (Slot::Switch(_), _) => self.wrong_type(node, key, "a boolean"),
            (Slot::Integer(slot), Value::Number(number)) => match truncated(*number) {
                Some(number) => *slot(&mut self.settings) = Some(number),
                None => self.problem(node.offset, ProblemKind::Range { key }),
            },
            (Slot::Integer(_), _) => self.wrong_type(node, key, "a number"),
            // An empty text is no duration at all, rather than a wrong one.
            (Slot::Duration(_), Value::String(text)) if text.is_empty() => {}
            (Slot::Duration(slot), Value::String(text)) => match text.parse() {
                Ok(duration) => *slot(&mut self.settings) = Some(duration),
                Err(source) => self.problem(node.offset, ProblemKind::Duration { key, source }),
            },
            (Slot::Duration(_), _) => self.wrong_type(node, key, "a string with a duration"),
            (Slot::List(slot), Value::Array(items)) => {
                let items = items.iter().enumerate();
                let texts: Vec<_> =
                    items.filter_map(|(i, item)| self.item(item, || format!("{key}[{i}]"))).collect();
                *slot(&mut self.settings) = texts;
            }
            (Slot::List(_), _) => self.wrong_type(node, key, "a list"),
            (Slot::Map(slot), Value::Object(members)) => {
                let mut map = BTreeMap::new();
                for member in members {
                    if let Some(text) = self.item(&member.value, || format!("{key}[{}]", member.key)) {
                        map.insert(member.key.clone(), text);
                    }
                }
                *slot(&mut self.settings) = map;
            }
            (Slot::Object(keys), Value::Object(members)) => self.object(members, keys, &format!("{key}.")),
            (Slot::Map(_) | Slot::Object(_), _) => self.wrong_type(node, key, "an object"),
        }
    }

    /// A string inside of a list or map; `null` is an empty one.
    fn item(&mut self, node: &Node, key: impl Fn() -> String) -> Option<String> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Null => Some(String::new()),
            _ => {
                self.wrong_type(node, key(), "a string");
                None
            }
        }
    }
}

/// The number without its fraction, if 64 bits hold it.
fn truncated(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let whole = number.trunc();
    (-LIMIT..LIMIT).contains(&whole).then_some(whole as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::testing::Directory;

    fn error(text: &str) -> String {
        decode_settings(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn files_and_directories_in_order() {
        let directory = Directory::new();
        let name = |name: &str| format!("{{\"node_name\": \"{name}\", \"start_join\": [\"{name}\"]}}");
        let first = directory.write("first", &name("first"));
        for file in ["d/10.json", "d/9.json", "d/B.json", "d/a.json"] {
            directory.write(file, &name(file));
        }
        directory.write("d/ignored.txt", "not json");
        directory.write("d/sub.json/inner.json", "not json either");
        let layers = read_paths([&first, &directory.path().join("d")]).expect("fine");
        let mut settings = Settings::default();
        layers.into_iter().for_each(|(_, layer)| settings.overlay(layer));
        assert_eq!(settings.start_join, ["first", "d/10.json", "d/9.json", "d/B.json", "d/a.json"]);
        assert_eq!(settings.node_name.as_deref(), Some("d/a.json"));
        let bad = directory.write("d/bad.json", "");
        let error = read_paths([directory.path().join("d")]).expect_err("refused").to_string();
        assert_eq!(error, format!("Error decoding '{}': EOF", bad.display()));
    }

    #[test]
    fn unreadable_paths_are_named() {
        let error = read_paths(["nope.json"]).expect_err("refused").to_string();
        assert_eq!(error, "Error reading 'nope.json': open nope.json: no such file or directory");
    }

    #[cfg(unix)]
    #[test]
    fn links_to_directories_are_no_files() {
        let directory = Directory::new();
        directory.write("d/x.txt", "");
        let link = directory.path().join("d/link.json");
        std::os::unix::fs::symlink(directory.path(), &link).expect("linked");
        let error = read_paths([directory.path().join("d")]).expect_err("refused").to_string();
        let link = link.display();
        assert_eq!(error, format!("Error decoding '{link}': read {link}: is a directory"));
    }

    #[test]
    fn problems_name_key_place_and_remedy() {
        assert_eq!(
            error("{\n  \"node_nmae\": \"x\"\n}"),
            "'node_nmae' is not a known key; did you mean 'node_name'? (line 2, column 3)"
        );
        assert_eq!(
            error(r#"{"zz": 1, "mdns": {"iface": ""}}"#),
            "2 problems:\n    'zz' is not a known key (line 1, column 2)\n    \
             'mdns.iface' is not a known key (line 1, column 20)"
        );
        assert_eq!(
            error(r#"{"retry_interval": "5"}"#),
            "time: missing unit in duration \"5\", the value of 'retry_interval' (line 1, column 20)"
        );
        assert_eq!(
            error(r#"{"tags": {"a": 1}}"#),
            "'tags[a]' must be a string, not a number (line 1, column 16)"
        );
        assert_eq!(
            error(r#"{"start_join": "x"}"#),
            "'start_join' must be a list, not a string (line 1, column 16)"
        );
        assert_eq!(error(r#"{"protocol": 1e30}"#), "'protocol' is out of range (line 1, column 14)");
        assert_eq!(error("{"), "unexpected EOF");
        assert_eq!(
            error("{bind}"),
            "invalid character 'b' looking for beginning of object key string (line 1, column 2)"
        );
    }

    #[test]
    fn keys_match_in_any_case_but_only_once() {
        let name = |text: &str| decode_settings(text.as_bytes()).expect(text).node_name;
        assert_eq!(name(r#"{"Node_Name": "x"}"#).as_deref(), Some("x"));
        assert_eq!(name(r#"{"node_name": "x", "node_name": "y"}"#).as_deref(), Some("y"));
        assert_eq!(name(r#"{"node_name": 5, "node_name": "y"}"#).as_deref(), Some("y"));
        assert_eq!(
            error(r#"{"NODE_NAME": "x", "node_name": "y"}"#),
            "'NODE_NAME' is the same key as 'node_name' (line 1, column 2)"
        );
    }

    #[test]
    fn null_says_nothing() {
        assert_eq!(decode_settings(b"null").expect("fine"), Settings::default());
        for (key, _) in KEYS {
            let text = format!("{{\"{key}\": null}}");
            assert_eq!(decode_settings(text.as_bytes()).expect("fine"), Settings::default(), "{key}");
        }
        let settings = decode_settings(br#"{"start_join": [null], "tags": {"a": null}}"#).expect("fine");
        assert_eq!(settings.start_join, [""]);
        assert_eq!(settings.tags.get("a").map(String::as_str), Some(""));
    }

    #[test]
    fn every_key_has_a_place_of_its_own() {
        let mut seen = Vec::new();
        let nested = MDNS_KEYS.iter().map(|(key, slot)| (*key, slot, "mdns"));
        for (key, slot, parent) in KEYS.iter().map(|(key, slot)| (*key, slot, "")).chain(nested) {
            let mut expected = Settings::default();
            let text = match slot {
                Slot::Text(place) => {
                    *place(&mut expected) = Some("x".into());
                    "\"x\""
                }
                Slot::Integer(place) => {
                    *place(&mut expected) = Some(1);
                    "1.9"
                }
                Slot::Switch(place) => {
                    *place(&mut expected) = Some(true);
                    "true"
                }
                Slot::Duration(place) => {
                    *place(&mut expected) = Some(GoDuration::from_nanos(1));
                    "\"1ns\""
                }
                Slot::List(place) => {
                    place(&mut expected).push("x".into());
                    "[\"x\"]"
                }
                Slot::Map(place) => {
                    place(&mut expected).insert("k".into(), "v".into());
                    "{\"k\": \"v\"}"
                }
                Slot::Object(_) => continue,
            };
            let mut text = format!("{{\"{key}\": {text}}}");
            if !parent.is_empty() {
                text = format!("{{\"{parent}\": {text}}}");
            }
            let decoded = decode_settings(text.as_bytes()).expect(&text);
            assert!(decoded == expected, "{text}");
            assert!(!seen.contains(&decoded), "{text}");
            let mut merged = Settings::default();
            merged.overlay(decoded.clone());
            assert!(merged == decoded, "{key} survives a merge");
            seen.push(decoded);
        }
    }
}
