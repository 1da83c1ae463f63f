//! `serf agent -check-config`: everything that can be said of a configuration without starting an agent, all of it at
//! once, and what is set where. It opens no socket, asks no name server, and writes nothing.
//!
//! A problem keeps an agent from starting. A warning is about what would start, but hardly do what was meant; so is
//! what may be different on the machine that the configuration is for.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{Access, access};

use super::address::{self, DEFAULT_GOSSIP_PORT};
use super::file::{self, DecodeError, FileError, Layer, ProblemKind};
use super::interface::InterfaceError;
use super::keys::{self, Key};
pub use super::places::Place;
use super::places::Places;
use super::settings::Settings;
use super::{
    DEFAULT_BROADCAST_TIMEOUT, DEFAULT_RETRY_INTERVAL, DEFAULT_SYSLOG_FACILITY, Limits, Profile,
    SHORTEST_WAIT, START, Sources, interface, log_level, node_name, tags, time,
};
use crate::events::EventHandler;
use crate::log_format::LogFormat;
use crate::syslog;
use crate::text::os_error;

/// What is wrong with a configuration, and what it says.
#[derive(Debug, Default)]
pub struct Examination {
    /// In the order of the sources; then what concerns all of them together.
    pub findings: Vec<Finding>,
    /// What is set to something, sorted by key, with the place that counts.
    pub settings: Vec<Shown>,
}

/// Something that is wrong, or may be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Would an agent with this configuration not start?
    pub is_problem: bool,
    /// Where, unless it is nowhere in particular.
    pub place: Option<Place>,
    /// What it is, with the key and the remedy, in one line.
    pub text: String,
}

/// A setting as it would be written in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key with its parents.
    pub key: String,
    /// Its value in JSON; for a secret something else.
    pub value: String,
    /// Where it is set. Lists and tags, which add up, have several.
    pub places: Vec<Place>,
}

/// Their values are not for eyes.
const SECRETS: [&str; 2] = ["encrypt_key", "rpc_auth"];

/// Looks at a configuration, all of it.
#[must_use]
pub fn examine(sources: &Sources) -> Examination {
    let mut examiner = Examiner::default();
    for notice in &sources.notices {
        examiner.warn(Some(Place::CommandLine), notice.trim_start_matches("Warning: "));
    }
    for path in &sources.files {
        examiner.path(path);
    }
    let flags = Layer { settings: sources.flags.clone(), ..Layer::default() };
    examiner.layer(&flags, |_| Place::CommandLine);
    examiner.whole();
    examiner.done()
}

#[derive(Default)]
struct Examiner {
    findings: Vec<Finding>,
    settings: Settings,
    places: Places,
    /// Not all that is written could be read.
    is_partial: bool,
}

impl Examiner {
    fn path(&mut self, path: &Path) {
        match file::files_at(path) {
            Ok(files) if files.is_empty() => {
                self.warn(
                    Some(Place::File(path.to_owned(), None)),
                    "no file in this directory ends in .json",
                );
            }
            Ok(files) => files.iter().for_each(|file| self.file(file)),
            Err(error) => self.unreadable(error),
        }
    }

    fn file(&mut self, path: &Path) {
        let layer = match file::read_file(path) {
            Ok(layer) => layer,
            Err(error) => return self.unreadable(error),
        };
        let place = |at| Place::File(path.to_owned(), Some(at));
        self.is_partial |= !layer.problems.is_empty();
        for problem in &layer.problems {
            let text = match &problem.what {
                ProblemKind::Duration { key, source } => {
                    format!("'{key}': {source}; write it like \"1m30s\"")
                }
                what => what.to_string(),
            };
            self.problem(Some(place(problem.at)), text);
        }
        for remark in &layer.remarks {
            self.warn(Some(place(remark.at)), remark.what.to_string());
        }
        self.layer(&layer, |key| layer.place(key));
    }

    fn unreadable(&mut self, error: FileError) {
        self.is_partial = true;
        let (path, at, text) = match error {
            FileError::Open { path, source } | FileError::List { path, source } => {
                let remedy = match source.kind() {
                    io::ErrorKind::NotFound => {
                        "; write its path from the root, or from where the agent is started"
                    }
                    io::ErrorKind::PermissionDenied => "; the user that the agent runs as must be allowed to",
                    _ => "",
                };
                (path, None, format!("cannot be read: {}{remedy}", os_error(&source)))
            }
            FileError::Decode { path, source: DecodeError::Read { source, .. } } => {
                (path, None, format!("cannot be read: {}", os_error(&source)))
            }
            FileError::Decode { path, source: DecodeError::Syntax { source, at } } => {
                (path, at, format!("not JSON: {source}"))
            }
            FileError::Decode { path, source } => (path, None, source.to_string()),
        };
        self.problem(Some(Place::File(path, at)), text);
    }

    /// What can be said of one source by itself; then it is laid over the others.
    fn layer(&mut self, layer: &Layer, place: impl Fn(&str) -> Place) {
        let settings = &layer.settings;
        for (n, text) in settings.event_handlers.iter().enumerate() {
            let key = format!("event_handlers[{n}]");
            if let Err(error) = EventHandler::parse_list(text) {
                self.problem(
                    Some(place(&key)),
                    format!("'{key}': invalid handler, {error}; {}", error.remedy()),
                );
            }
        }
        for (list, texts) in [("start_join", &settings.start_join), ("retry_join", &settings.retry_join)] {
            for (n, text) in texts.iter().enumerate() {
                let key = format!("{list}[{n}]");
                if let Err(error) = serf::JoinAddress::from_str(text) {
                    let text = format!(
                        "'{key}': {error} in '{text}', so nobody can be joined there; write HOST, HOST:PORT or \
                         NODE/HOST:PORT"
                    );
                    self.warn(Some(place(&key)), text);
                }
            }
        }
        self.places.overlay(settings, place);
        self.settings.overlay(settings.clone());
    }

    /// What can be said of all sources together.
    fn whole(&mut self) {
        let settings = std::mem::take(&mut self.settings);
        let limits = self.values(&settings);
        self.addresses(&settings);
        self.mdns(&settings);
        let limits = self.state_files(&settings, limits);
        for error in limits.broken() {
            let text = error.to_string();
            let text = text.strip_prefix(START).unwrap_or(&text);
            self.wrong(error.key(), text.strip_prefix("Failed to create memberlist: ").unwrap_or(text));
        }
        self.settings = settings;
    }

    fn values(&mut self, settings: &Settings) -> Limits {
        let mut limits = Limits::of(settings);
        match node_name(settings) {
            Ok(name) => limits.node_name = name,
            Err(error) => self.problem(None, format!("{error}; set 'node_name'")),
        }
        if let Err(error) = log_level(settings) {
            self.wrong("log_level", error);
        }
        if let Some(Err(error)) = settings.log_format.as_deref().map(str::parse::<LogFormat>) {
            self.wrong("log_format", error);
        }
        match settings.profile.as_deref().map_or(Ok(Profile::Lan), str::parse) {
            Err(error) => self.wrong("profile", format!("{error}; write lan, wan, local or fast")),
            // The rest of an unreadable file may hold what is missing.
            Ok(_) if self.is_partial => {}
            Ok(profile) => {
                if let Err(error) = settings.gossip.check(&profile.node(&limits.node_name)) {
                    self.wrong(&error.key(), error);
                }
            }
        }
        if settings.enable_syslog == Some(true) {
            let facility = settings.syslog_facility.as_deref().unwrap_or(DEFAULT_SYSLOG_FACILITY);
            if let Err(error) = syslog::code(facility) {
                self.wrong("syslog_facility", error);
            }
        }
        for (key, given, default) in [
            ("retry_interval", settings.retry_interval, DEFAULT_RETRY_INTERVAL),
            ("broadcast_timeout", settings.broadcast_timeout, DEFAULT_BROADCAST_TIMEOUT),
        ] {
            if time(given, default) < SHORTEST_WAIT {
                self.doubt(key, "less than 1s, and taken for 1s");
            }
        }
        if settings.rejoin_after_leave == Some(true) && settings.snapshot_path.is_none() {
            self.doubt("rejoin_after_leave", "does nothing without 'snapshot_path'");
        }
        if settings.role.is_some() {
            self.doubt("role", "has been replaced with the tag 'role', and overrides it; use 'tags'");
        }
        limits
    }

    fn addresses(&mut self, settings: &Settings) {
        const FORMS: &str = "write HOST, HOST:PORT, IPV6 or [IPV6]:PORT";
        for (key, text) in [("bind", &settings.bind), ("advertise", &settings.advertise)] {
            if let Some(Err(error)) = text.as_ref().map(|text| address::check_or(text, DEFAULT_GOSSIP_PORT)) {
                self.wrong(key, format!("{error}; {FORMS}"));
            }
        }
        const PORT_FORMS: &str = "write HOST:PORT or [IPV6]:PORT";
        match settings.rpc_addr.as_deref().map(serf_rpc::Address::parse) {
            Some(Ok(serf_rpc::Address::Tcp(text))) => {
                if let Err(error) = address::check(text) {
                    self.wrong("rpc_addr", format!("{error}; {PORT_FORMS}, or unix:PATH"));
                }
            }
            Some(Ok(serf_rpc::Address::Unix(path))) => self.directory("rpc_addr", path, true),
            Some(Err(error)) => self.wrong("rpc_addr", error),
            None => {}
        }
        if let Some(Err(error)) = settings.http_addr.as_deref().map(address::check_http) {
            self.wrong("http_addr", format!("{error}; {PORT_FORMS}"));
        }
        for (key, text) in
            [("statsd_addr", &settings.statsd_addr), ("statsite_addr", &settings.statsite_addr)]
        {
            if let Some(Err(error)) = text.as_deref().map(address::check) {
                self.doubt(key, format!("{error}, so nothing is sent; {PORT_FORMS}"));
            }
        }
        let Some(name) = &settings.interface else { return };
        match interface::find(name) {
            Err(error) => self.doubt("interface", not_here(name, &error)),
            Ok(found) => {
                let bind = settings.bind.as_deref().map_or(Some(super::DEFAULT_BIND), |text| {
                    text.parse::<std::net::IpAddr>().is_ok().then_some(text)
                });
                let bind = bind.and_then(|text| address::resolve_or(text, DEFAULT_GOSSIP_PORT).ok());
                if let Some(Err(error)) = bind.map(|bind| found.choose(bind)) {
                    self.doubt("interface", format!("{error} on this machine"));
                }
            }
        }
    }

    fn mdns(&mut self, settings: &Settings) {
        if let Some(name) = &settings.mdns_interface {
            if settings.discover.is_none() && !self.is_partial {
                self.wrong("mdns.interface", "needs 'discover', the name of the cluster to look for");
            }
            if let Err(error) = interface::find(name) {
                self.doubt("mdns.interface", not_here(name, &error));
            }
        }
        let disabled = [settings.mdns_disable_ipv4, settings.mdns_disable_ipv6] == [Some(true); 2];
        if settings.discover.is_some() && disabled {
            self.wrong("mdns.disable_ipv6", "IPv4 and IPv6 are both disabled; 'discover' needs one of them");
        }
    }

    /// Files that are read or written besides; they add to what has limits.
    fn state_files(&mut self, settings: &Settings, mut limits: Limits) -> Limits {
        if let Some(path) = &settings.tags_file {
            let path = Path::new(path);
            if !limits.tags.is_empty() {
                self.wrong(
                    "tags_file",
                    "not together with tags in the configuration; have them in the file or here, not both",
                );
            }
            match tags::load(path) {
                Ok(Some(found)) => limits.tags.extend(found),
                Ok(None) => self.directory("tags_file", path, false),
                Err(error) => self.wrong("tags_file", format!("{}: {error}", path.display())),
            }
        }
        let key = settings.encrypt_key.as_deref().map(Key::from_base64);
        match key {
            Some(Ok(key)) => limits.keys.push(key),
            Some(Err(error)) => {
                self.wrong("encrypt_key", format!("{error}; `serf keygen` makes a key"));
            }
            None => {}
        }
        if let Some(path) = &settings.keyring_file {
            let path = Path::new(path);
            let creates = settings.keyring_create == Some(true) && settings.encrypt_key.is_some();
            if settings.encrypt_key.is_some() && !creates {
                self.wrong(
                    "keyring_file",
                    "not together with 'encrypt_key', unless 'keyring_create' is true; make that key the first \
                     one of the file",
                );
            }
            if creates && keys::is_missing(path) {
                self.directory("keyring_file", path, true);
            } else if let Err(error) = keys::load_keyring(path) {
                let remedy = match error {
                    keys::KeyringFileError::Missing { .. } => "; make it, with a list of keys: [\"KEY\"]",
                    _ => "",
                };
                let path = path.display();
                self.wrong("keyring_file", format!("{path}: {error}{remedy}"));
            }
        }
        let keyring = (settings.keyring_create, &settings.keyring_file, &settings.encrypt_key);
        if let (Some(true), None, _) | (Some(true), _, None) = keyring {
            self.doubt("keyring_create", "does nothing without 'keyring_file' and 'encrypt_key'");
        }
        if let Some(path) = &settings.snapshot_path {
            self.snapshot(Path::new(path));
        }
        limits
    }

    fn snapshot(&mut self, path: &Path) {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => {
                self.wrong("snapshot_path", format!("{shown} is no ordinary file; name another one"));
            }
            Ok(_) => {
                if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK) {
                    let error = os_error(&error.into());
                    self.wrong("snapshot_path", format!("{shown} cannot be read and written: {error}"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.wrong("snapshot_path", format!("{shown}: {}", os_error(&error))),
        }
        self.directory("snapshot_path", path, true);
    }

    /// The directory of a file that is made, or made anew beside itself.
    fn directory(&mut self, key: &str, path: &Path, is_needed: bool) {
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return,
        };
        if let Err(error) = access(directory, Access::WRITE_OK | Access::EXEC_OK) {
            let text = format!(
                "no file can be made in {}: {}; make the directory, or let the agent's user write to it",
                directory.display(),
                os_error(&error.into())
            );
            match is_needed {
                true => self.wrong(key, text),
                false => self.doubt(key, text),
            }
        }
    }

    /// A problem with a setting, where it is set last.
    fn wrong(&mut self, key: &str, text: impl fmt::Display) {
        let place = self.place(key);
        self.problem(place, format!("'{key}': {text}"));
    }

    fn doubt(&mut self, key: &str, text: impl fmt::Display) {
        let place = self.place(key);
        self.warn(place, format!("'{key}': {text}"));
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.places.last(key).cloned()
    }

    fn problem(&mut self, place: Option<Place>, text: impl Into<String>) {
        self.findings.push(Finding { is_problem: true, place, text: text.into() });
    }

    fn warn(&mut self, place: Option<Place>, text: impl Into<String>) {
        self.findings.push(Finding { is_problem: false, place, text: text.into() });
    }

    fn done(self) -> Examination {
        let settings = file::written(&self.settings).into_iter().map(|(key, value)| {
            let is_secret = SECRETS.contains(&key.as_str());
            let value = if is_secret { "(not shown)".to_owned() } else { value };
            Shown { places: self.places.of(&key).to_vec(), key, value }
        });
        Examination { findings: self.findings, settings: settings.collect() }
    }
}

fn not_here(name: &str, error: &InterfaceError) -> String {
    match error {
        InterfaceError::Unknown => format!("this machine has no interface '{name}'"),
        error => error.to_string(),
    }
}

impl Examination {
    /// How many problems there are. Without any, an agent would start, as far as can be told.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.is_problem).count()
    }
}

/// What `serf agent -check-config` prints: findings, a verdict, and without problems what is set.
impl fmt::Display for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match self.problems() {
            0 => writeln!(f, "Configuration is valid!")?,
            1 => return writeln!(f, "Configuration is not valid: 1 problem"),
            n => return writeln!(f, "Configuration is not valid: {n} problems"),
        }
        if self.settings.is_empty() {
            return writeln!(f, "Nothing is set: everything is as by default.");
        }
        writeln!(f, "\nWhat is set, and where; everything else is as by default:")?;
        self.settings.iter().try_for_each(|shown| writeln!(f, "    {shown}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        // Some errors have lines of their own.
        let text = self.text.replace('\n', " ");
        write!(f, "{}{text}", if self.is_problem { "" } else { "warning: " })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)?;
        let places: Vec<_> = self.places.iter().map(ToString::to_string).collect();
        if places.is_empty() { Ok(()) } else { write!(f, "  ({})", places.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::files::testing::Directory;

    /// Findings on a directory with these files, as lines with the directory taken out.
    fn examined(files: &[(&str, &str)], flags: Settings) -> (Vec<String>, Examination) {
        let directory = Directory::new();
        let base = format!("{}/", directory.path().display());
        for (name, text) in files {
            directory.write(name, &text.replace("DIR/", &base));
        }
        let paths = files.iter().map(|(name, _)| directory.path().join(name));
        let sources = Sources {
            files: paths.filter(|path| path.extension().is_some()).collect(),
            flags,
            notices: Vec::new(),
        };
        let examination = examine(&sources);
        (examination.to_string().lines().map(|line| line.replace(&base, "")).collect(), examination)
    }

    fn first_line(text: &str) -> String {
        examined(&[("a.json", text)], Settings::default()).0.remove(0)
    }

    #[test]
    fn nothing_at_all_is_valid() {
        let (lines, examination) = examined(&[], Settings::default());
        assert_eq!(lines, ["Configuration is valid!", "Nothing is set: everything is as by default."]);
        assert_eq!(examination.problems(), 0);
    }

    #[test]
    fn a_valid_one_is_shown_with_places_and_without_secrets() {
        let a =
            "{\"node_name\": \"a\",\n\"rpc_auth\": \"s3cret\", \"tags\": {\"x\": \"1\"}, \"protocol\": 4}";
        let b = r#"{"node_name": "b", "protocol": 0, "gossip": {"push_pull_interval": "0s"}}"#;
        let flags = Settings { tags: BTreeMap::from([("y".into(), "2".into())]), ..Settings::default() };
        let (lines, _) = examined(&[("a.json", a), ("b.json", b)], flags);
        assert_eq!(
            lines,
            [
                "Configuration is valid!",
                "",
                "What is set, and where; everything else is as by default:",
                "    gossip.push_pull_interval = \"0s\"  (b.json:1:68)",
                "    node_name = \"b\"  (b.json:1:15)",
                "    protocol = 4  (a.json:2:55)",
                "    rpc_auth = (not shown)  (a.json:2:13)",
                "    tags = {\"x\":\"1\",\"y\":\"2\"}  (a.json:2:31, command line)",
            ]
        );
    }

    #[test]
    fn every_problem_has_a_line_with_its_place_and_key() {
        for (text, line) in [
            (
                r#"{"bind": "1:2:3"}"#,
                "a.json:1:10: 'bind': address 1:2:3: too many colons in address; write HOST",
            ),
            (r#"{"advertise": "a:99999"}"#, "a.json:1:15: 'advertise': address 99999: invalid port; "),
            (r#"{"rpc_addr": "x"}"#, "a.json:1:14: 'rpc_addr': address x: missing port in address; "),
            (r#"{"rpc_addr": "unix:DIR/no/s"}"#, "a.json:1:14: 'rpc_addr': no file can be made in no: "),
            (
                r#"{"http_addr": "a:b:c"}"#,
                "a.json:1:15: 'http_addr': address a:b:c: too many colons in address; ",
            ),
            (r#"{"log_format": "xml"}"#, "a.json:1:16: 'log_format': "),
            (r#"{"log_level": "loud"}"#, "a.json:1:15: 'log_level': Invalid log level: LOUD"),
            (r#"{"profile": "moon"}"#, "a.json:1:13: 'profile': Unknown profile: moon; write lan, "),
            (r#"{"protocol": 9}"#, "a.json:1:14: 'protocol': Protocol version '9' too high."),
            (r#"{"user_event_size_limit": 9999}"#, "a.json:1:27: 'user_event_size_limit': user event size "),
            (
                r#"{"encrypt_key": "foo"}"#,
                "a.json:1:17: 'encrypt_key': illegal base64 data at input byte 0; ",
            ),
            (r#"{"encrypt_key": "Zm9v"}"#, "a.json:1:17: 'encrypt_key': key size must be "),
            (r#"{"keyring_file": "DIR/none"}"#, "a.json:1:18: 'keyring_file': none: stat none: no such file"),
            (r#"{"snapshot_path": "DIR/no/s"}"#, "a.json:1:19: 'snapshot_path': no file can be made in no: "),
            (
                r#"{"snapshot_path": "/dev/null"}"#,
                "a.json:1:19: 'snapshot_path': /dev/null is no ordinary file",
            ),
            (
                r#"{"tags_file": "DIR/t", "tags": {"a": "b"}}"#,
                "a.json:1:15: 'tags_file': not together with tags",
            ),
            (r#"{"retry_interval": "5"}"#, "a.json:1:20: 'retry_interval': time: missing unit in duration"),
            (r#"{"event_handlers": ["", "a=b"]}"#, "a.json:1:25: 'event_handlers[1]': invalid handler, "),
            (r#"{"mdns": {"interface": "lo"}}"#, "a.json:1:24: 'mdns.interface': needs 'discover'"),
            (
                r#"{"discover": "c", "mdns": {"disable_ipv4": true, "disable_ipv6": true}}"#,
                "a.json:1:66: 'mdns.disable_ipv6': IPv4 and IPv6 are both disabled",
            ),
            (
                r#"{"enable_syslog": true, "syslog_facility": "X"}"#,
                "a.json:1:44: 'syslog_facility': Syslog setup ",
            ),
            (
                r#"{"gossip": {"probe_interval": "100ms"}}"#,
                "a.json:1:31: 'gossip.probe_interval': Invalid gossip settings: 'gossip.probe_timeout' must be shorter",
            ),
            ("{\n \"a\"}", "a.json:2:5: not JSON: invalid character '}' after object key"),
        ] {
            let shown = first_line(text);
            assert!(shown.starts_with(line), "{text}: {shown}");
        }
    }

    #[test]
    fn what_would_start_is_no_problem() {
        for (text, line) in [
            (r#"{"role": "x"}"#, "a.json:1:10: warning: 'role': has been replaced with the tag 'role'"),
            (r#"{"retry_interval": "1ms"}"#, "a.json:1:20: warning: 'retry_interval': less than 1s"),
            (r#"{"rejoin_after_leave": true}"#, "a.json:1:24: warning: 'rejoin_after_leave': does nothing "),
            (r#"{"keyring_create": true}"#, "a.json:1:20: warning: 'keyring_create': does nothing without "),
            (r#"{"interface": "nope0"}"#, "a.json:1:15: warning: 'interface': this machine has no interface"),
            (r#"{"statsd_addr": "x"}"#, "a.json:1:17: warning: 'statsd_addr': address x: missing port"),
            (r#"{"start_join": ["a", "[::1"]}"#, "a.json:1:22: warning: 'start_join[1]': misplaced bracket"),
            (r#"{"bind": "a", "bind": "b"}"#, "a.json:1:2: warning: 'bind' stands here, but again below"),
            (r#"{} {}"#, "a.json:1:4: warning: what begins here is ignored"),
        ] {
            let (lines, examination) = examined(&[("a.json", text)], Settings::default());
            assert!(lines[0].starts_with(line), "{text}: {lines:?}");
            assert_eq!((examination.problems(), lines[1].as_str()), (0, "Configuration is valid!"), "{text}");
        }
    }

    #[test]
    fn every_file_is_looked_at() {
        let flags = Settings { profile: Some("moon".into()), ..Settings::default() };
        let files = [
            ("a.json", "{"),
            ("b.json", r#"{"x": 1, "bind": 5, "protocol": 1}"#),
            ("c.json", "[]"),
            ("d.json", "{}"),
        ];
        let (lines, _) = examined(&files, flags);
        assert_eq!(
            lines,
            [
                "a.json: not JSON: unexpected EOF",
                "b.json:1:2: 'x' is not a known key",
                "b.json:1:18: 'bind' must be a string, not a number",
                "c.json:1:1: expected an object with settings, not a list",
                "command line: 'profile': Unknown profile: moon; write lan, wan, local or fast",
                "b.json:1:33: 'protocol': Protocol version '1' too low. Must be in range: [2, 5]",
                "Configuration is not valid: 6 problems",
            ]
        );
    }

    /// It says that it changes nothing.
    #[test]
    fn no_file_is_made_or_changed() {
        let directory = Directory::new();
        let path = |name: &str| Some(directory.path().join(name).display().to_string());
        let flags = Settings {
            snapshot_path: path("snap"),
            tags_file: path("tags"),
            keyring_file: path("keyring"),
            keyring_create: Some(true),
            encrypt_key: Some("MDEyMzQ1Njc4OWFiY2RlZg==".into()),
            ..Settings::default()
        };
        assert_eq!(examine(&Sources { flags, ..Sources::default() }).problems(), 0);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
