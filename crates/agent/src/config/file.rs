//! Configuration files: finding them, and reading one into [`Settings`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::duration::{DurationError, GoDuration};
use super::knobs::{GOSSIP_KEYS, Knob, KnobError};
use super::settings::Settings;
use crate::files;
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
    #[error("'{key}' is not a known key{}", hint(.nearest))]
    UnknownKey {
        /// The key with its parents, as `mdns.interfaces`.
        key: String,
        /// A known key that looks like it, with its parents unless they are the same.
        nearest: Option<String>,
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
    /// The value of a key of `gossip` is not one that it may have.
    #[error("'{key}' {source}")]
    Knob {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: KnobError,
    },
    /// The key occurs again, in the same spelling. The last one counts. Only a remark.
    #[error("'{key}' stands here, but again below, which is what counts; remove one of them")]
    Repeated {
        /// The key.
        key: String,
    },
    /// Something follows the configuration, and is not looked at. Only a remark.
    #[error("what begins here is ignored: a file holds one object")]
    Trailing,
}

fn place(at: &Option<Position>) -> String {
    at.map_or_else(String::new, |at| format!(" ({at})"))
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |key| format!("; did you mean '{key}'?"))
}

fn list(problems: &[Problem]) -> String {
    if let [only] = problems {
        return only.to_string();
    }
    let lines = problems.iter().map(|problem| format!("\n    {problem}"));
    format!("{} problems:{}", problems.len(), lines.collect::<String>())
}

/// What one file says.
#[derive(Debug, Default)]
pub struct Layer {
    /// The file.
    pub path: PathBuf,
    /// What it says, as far as it makes sense.
    pub settings: Settings,
    /// Where the values stand: by key, as `mdns.interface`, and by item, as `event_handlers[0]` or `tags[role]`.
    pub places: BTreeMap<String, Position>,
    /// What makes no sense.
    pub problems: Vec<Problem>,
    /// What does, but hardly as it was meant.
    pub remarks: Vec<Problem>,
}

/// Reads files and directories in the given order. Each is to be laid over the ones before it.
pub fn read_paths<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Vec<Layer>, FileError> {
    let mut layers = Vec::new();
    for path in paths {
        for file in files_at(path.as_ref())? {
            let layer = read_file(&file)?;
            match layer.problems.is_empty() {
                true => layers.push(layer),
                false => {
                    let source = DecodeError::Problems(layer.problems);
                    return Err(FileError::Decode { path: layer.path, source });
                }
            }
        }
    }
    Ok(layers)
}

/// The files that a path stands for: itself, or those of the directory.
pub(super) fn files_at(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let open_error = |source| FileError::Open { path: path.to_owned(), source };
    match fs::metadata(path).map_err(open_error)?.is_dir() {
        true => files_in(path),
        false => Ok(vec![path.to_owned()]),
    }
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

/// Reads one file, and what is sound in it.
pub(super) fn read_file(path: &Path) -> Result<Layer, FileError> {
    let decode_error = |source| FileError::Decode { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    let text = files::read_all(file)
        .map_err(|source| decode_error(DecodeError::Read { path: path.to_owned(), source }))?;
    let layer = decode(&text).map_err(decode_error)?;
    Ok(Layer { path: path.to_owned(), ..layer })
}

/// Reads the text of one configuration file.
pub fn decode_settings(text: &[u8]) -> Result<Settings, DecodeError> {
    let Layer { settings, problems, .. } = decode(text)?;
    if problems.is_empty() { Ok(settings) } else { Err(DecodeError::Problems(problems)) }
}

/// Reads on after a problem, so that all of them can be shown at once. Only what is no JSON ends it.
fn decode(text: &[u8]) -> Result<Layer, DecodeError> {
    let root = json::read_first(text).map_err(|source| DecodeError::Syntax {
        at: source.offset().map(|offset| Position::of(text, offset)),
        source,
    })?;
    let mut decoder = Decoder { text, layer: Layer::default() };
    match &root.value {
        Value::Null => {}
        Value::Object(members) => decoder.object(members, KEYS, "", ""),
        other => decoder.problem(root.offset, ProblemKind::NotAnObject(other.kind())),
    }
    if let Err(SyntaxError::Character { offset, .. }) = json::read_only(text) {
        decoder.remark(offset, ProblemKind::Trailing);
    }
    Ok(decoder.layer)
}

/// Where the value of a key goes, and what it has to be.
pub(super) enum Slot {
    Text(fn(&mut Settings) -> &mut Option<String>),
    Integer(fn(&mut Settings) -> &mut Option<i64>),
    Switch(fn(&mut Settings) -> &mut Option<bool>),
    Duration(fn(&mut Settings) -> &mut Option<GoDuration>),
    List(fn(&mut Settings) -> &mut Vec<String>),
    Map(fn(&mut Settings) -> &mut BTreeMap<String, String>),
    Object(&'static [(&'static str, Self)]),
    Knob(Knob),
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
    ("keyring_create", Slot::Switch(|s| &mut s.keyring_create)),
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
    ("gossip", Slot::Object(GOSSIP_KEYS)),
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

struct Decoder<'a> {
    text: &'a [u8],
    layer: Layer,
}

impl Decoder<'_> {
    fn problem(&mut self, offset: usize, what: ProblemKind) {
        self.layer.problems.push(Problem { at: Position::of(self.text, offset), what });
    }

    fn remark(&mut self, offset: usize, what: ProblemKind) {
        self.layer.remarks.push(Problem { at: Position::of(self.text, offset), what });
    }

    fn wrong_type(&mut self, node: &Node, key: String, expected: &'static str) {
        self.problem(node.offset, ProblemKind::WrongType { key, expected, found: node.value.kind() });
    }

    /// Keys match in any case, but one key cannot come in two spellings. Of the same spelling the last counts.
    /// `parent` is the object's key as it is written, with a dot, and `home` as it should be.
    fn object(
        &mut self,
        members: &[Member],
        keys: &'static [(&'static str, Slot)],
        parent: &str,
        home: &str,
    ) {
        let mut spellings: BTreeMap<&str, &str> = BTreeMap::new();
        // An exact spelling is the right one, wherever it stands.
        for member in members {
            if let Some((name, _)) = keys.iter().find(|(name, _)| *name == member.key) {
                spellings.insert(name, &member.key);
            }
        }
        for (at, member) in members.iter().enumerate() {
            let key = format!("{parent}{}", member.key);
            let Some((name, slot)) = keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(&member.key))
            else {
                let nearest = nearest_key(&member.key, keys);
                self.problem(member.offset, ProblemKind::UnknownKey { key, nearest });
                continue;
            };
            let spelling = *spellings.entry(name).or_insert(&member.key);
            if spelling != member.key {
                let other = format!("{parent}{spelling}");
                self.problem(member.offset, ProblemKind::DoubledKey { key, other });
            } else if members[at + 1..].iter().any(|later| later.key == member.key) {
                self.remark(member.offset, ProblemKind::Repeated { key });
            } else {
                self.value(&member.value, slot, key, format!("{home}{name}"));
            }
        }
    }

    /// `null` leaves a setting alone, whatever its type.
    fn value(&mut self, node: &Node, slot: &'static Slot, key: String, name: String) {
        let settings = &mut self.layer.settings;
        match (slot, &node.value) {
            (_, Value::Null) => return,
            (Slot::Text(slot), Value::String(text)) => *slot(settings) = Some(text.clone()),
            (Slot::Text(_), _) => return self.wrong_type(node, key, "a string"),
            (Slot::Switch(slot), Value::Bool(on)) => *slot(settings) = Some(*on),
            (Slot::Switch(_), _) => return self.wrong_type(node, key, "a boolean"),
            (Slot::Integer(slot), Value::Number(number)) => match truncated(*number) {
                Some(number) => *slot(settings) = Some(number),
                None => return self.problem(node.offset, ProblemKind::Range { key }),
            },
            (Slot::Integer(_), _) => return self.wrong_type(node, key, "a number"),
            // An empty text is no duration at all, rather than a wrong one.
            (Slot::Duration(_), Value::String(text)) if text.is_empty() => return,
            (Slot::Duration(slot), Value::String(text)) => match text.parse() {
                Ok(duration) => *slot(settings) = Some(duration),
                Err(source) => return self.problem(node.offset, ProblemKind::Duration { key, source }),
            },
            (Slot::Duration(_), _) => return self.wrong_type(node, key, "a string with a duration"),
            (Slot::Knob(knob), value) => match knob.read(value) {
                Ok(None) => return,
                Ok(Some(setting)) => settings.gossip.set(knob.name, setting),
                Err(source) => return self.problem(node.offset, ProblemKind::Knob { key, source }),
            },
            (Slot::List(slot), Value::Array(items)) => {
                let mut texts = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    texts.extend(self.item(item, format!("{key}[{i}]"), format!("{name}[{i}]")));
                }
                *slot(&mut self.layer.settings) = texts;
            }
            (Slot::List(_), _) => return self.wrong_type(node, key, "a list"),
            (Slot::Map(slot), Value::Object(members)) => {
                let mut map = BTreeMap::new();
                for Member { key: tag, value, .. } in members {
                    if let Some(text) = self.item(value, format!("{key}[{tag}]"), format!("{name}[{tag}]")) {
                        map.insert(tag.clone(), text);
                    }
                }
                *slot(&mut self.layer.settings) = map;
            }
            (Slot::Object(keys), Value::Object(members)) => {
                return self.object(members, keys, &format!("{key}."), &format!("{name}."));
            }
            (Slot::Map(_) | Slot::Object(_), _) => return self.wrong_type(node, key, "an object"),
        }
        self.layer.places.insert(name, Position::of(self.text, node.offset));
    }

    /// A string inside of a list or map; `null` is an empty one.
    fn item(&mut self, node: &Node, key: String, name: String) -> Option<String> {
        self.layer.places.insert(name, Position::of(self.text, node.offset));
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Null => Some(String::new()),
            _ => {
                self.wrong_type(node, key, "a string");
                None
            }
        }
    }
}

/// What was meant by an unknown key: one that is known elsewhere in the file, or one that looks like it.
fn nearest_key(key: &str, here: &'static [(&'static str, Slot)]) -> Option<String> {
    let elsewhere = || all_keys().filter(|(_, _, keys)| !std::ptr::eq(*keys, here));
    let moved = elsewhere().find(|(_, name, _)| name.eq_ignore_ascii_case(key)).map(|(path, ..)| path);
    let close = || nearest(key, here.iter().map(|(name, _)| *name)).map(str::to_owned);
    moved.or_else(close).or_else(|| {
        let name = nearest(key, elsewhere().map(|(_, name, _)| name))?;
        elsewhere().find(|(_, other, _)| *other == name).map(|(path, ..)| path)
    })
}

/// Every key with its parents, and by itself, and the object that it is in.
fn all_keys() -> impl Iterator<Item = (String, &'static str, &'static [(&'static str, Slot)])> {
    KEYS.iter().flat_map(|(name, slot)| match slot {
        Slot::Object(keys) => keys.iter().map(|(key, _)| (format!("{name}.{key}"), *key, *keys)).collect(),
        _ => vec![((*name).to_owned(), *name, KEYS)],
    })
}

/// What is set to something, sorted by key, as it would be written in a file. What counts as not mentioned is left out.
pub(super) fn written(settings: &Settings) -> BTreeMap<String, String> {
    let (mut settings, mut all) = (settings.clone(), BTreeMap::new());
    for (key, slot) in KEYS {
        match slot {
            Slot::Object(keys) => {
                for (name, slot) in *keys {
                    all.extend(slot.written(&mut settings).map(|value| (format!("{key}.{name}"), value)));
                }
            }
            slot => all.extend(slot.written(&mut settings).map(|value| ((*key).to_owned(), value))),
        }
    }
    all
}

impl Slot {
    fn written(&self, settings: &mut Settings) -> Option<String> {
        let text = |value: serde_json::Value| Some(value.to_string());
        match self {
            Self::Text(place) => {
                place(settings).take().filter(|t| !t.is_empty()).and_then(|t| text(t.into()))
            }
            Self::Integer(place) => place(settings).filter(|n| *n != 0).map(|n| n.to_string()),
            Self::Switch(place) => place(settings).map(|on| on.to_string()),
            Self::Duration(place) => {
                let given = *place(settings);
                given.filter(|time| !time.is_zero()).map(|time| format!("\"{time}\""))
            }
            Self::List(place) => match std::mem::take(place(settings)) {
                list if list.is_empty() => None,
                list => text(list.into()),
            },
            Self::Map(place) => match std::mem::take(place(settings)) {
                map if map.is_empty() => None,
                map => serde_json::to_string(&map).ok(),
            },
            Self::Knob(knob) => settings.gossip.get(knob.name).map(ToString::to_string),
            Self::Object(_) => None,
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
        layers.into_iter().for_each(|layer| settings.overlay(layer.settings));
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
    fn the_library_knows_every_key_or_that_it_is_ours_alone() {
        for (key, _) in KEYS {
            let text = format!("{{\"{key}\": null}}");
            serf::Settings::new().json(&text).expect(key);
        }
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
                Slot::Object(_) | Slot::Knob(_) => continue,
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

    #[test]
    fn the_manual_has_a_row_for_every_key() {
        let manual = include_str!("../../../../docs/operating.md");
        let mut missing = String::new();
        let nested = MDNS_KEYS.iter().map(|(key, slot)| (format!("mdns.{key}"), slot));
        for (key, slot) in KEYS.iter().map(|(key, slot)| ((*key).to_owned(), slot)).chain(nested) {
            let kind = match slot {
                Slot::Text(_) => "string",
                Slot::Integer(_) => "number",
                Slot::Switch(_) => "boolean",
                Slot::Duration(_) => "duration",
                Slot::List(_) => "list",
                Slot::Map(_) => "object",
                Slot::Object(_) | Slot::Knob(_) => continue,
            };
            let reload = if super::super::FOLLOWED.contains(&key.as_str()) { "yes" } else { "–" };
            let row = format!("| `{key}` | {kind} | {reload} |");
            if !manual.lines().any(|line| line.starts_with(&row)) {
                missing += &format!("{row}\n");
            }
        }
        assert!(missing.is_empty(), "docs/operating.md lacks rows that begin with\n{missing}");
    }

    #[test]
    fn keys_in_the_wrong_object_are_shown_the_right_one() {
        for (text, hint) in [
            (r#"{"probe_interval": "1s"}"#, "gossip.probe_interval"),
            (r#"{"gossip": {"reconnect_timeout": "1s"}}"#, "reconnect_timeout"),
            (r#"{"gossip": {"prob_interval": "1s"}}"#, "probe_interval"),
            (r#"{"disable_ipv4": true}"#, "mdns.disable_ipv4"),
            (r#"{"suspicion_mul": 3}"#, "gossip.suspicion_mult"),
            (r#"{"gosip": {}}"#, "gossip"),
        ] {
            let error = error(text);
            assert!(error.contains(&format!("; did you mean '{hint}'? (")), "{error}");
        }
    }

    #[test]
    fn what_was_hardly_meant_is_remarked() {
        let text = b"{\"bind\": \"a\",\n \"bind\": \"b\"}\n{}";
        let layer = decode(text).expect("JSON");
        let remarks: Vec<_> = layer.remarks.iter().map(ToString::to_string).collect();
        assert_eq!(
            remarks,
            [
                "'bind' stands here, but again below, which is what counts; remove one of them \
                 (line 1, column 2)",
                "what begins here is ignored: a file holds one object (line 3, column 1)",
            ]
        );
        assert!(layer.problems.is_empty());
        assert_eq!(layer.places["bind"], Position { line: 2, column: 10 });
    }
}
