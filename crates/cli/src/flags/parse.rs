//! The flag grammar: `-name value`, `-name=value`, one dash or two, until the first argument that is no flag.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;

use serf_agent::config::duration::GoDuration;
use serf_agent::text::{nearest, quote};

use super::{Flag, Kind, form};

/// The flags that were given, and the arguments after them.
#[derive(Debug)]
pub(crate) struct Flags {
    table: Vec<Flag>,
    /// In the order of the command line.
    given: Vec<(&'static str, String)>,
    arguments: Vec<OsString>,
    /// Did `--` end the flags? Then what follows is not meant as one.
    ended: bool,
}

/// Why the flags of a command line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FlagError {
    /// A help flag with a value: not an error in words, but nothing to run either.
    Help,
    Syntax(String),
    Undefined(String),
    NeedsValue(String),
    NotBoolean {
        name: &'static str,
        value: String,
    },
    Invalid {
        name: &'static str,
        value: String,
        reason: &'static str,
    },
    NotUtf8 {
        name: &'static str,
        value: Vec<u8>,
    },
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => Ok(()),
            Self::Syntax(argument) => write!(f, "bad flag syntax: {argument}"),
            Self::Undefined(name) => write!(f, "flag provided but not defined: -{name}"),
            Self::NeedsValue(name) => write!(f, "flag needs an argument: -{name}"),
            Self::NotBoolean { name, value } => {
                write!(f, "invalid boolean value {} for -{name}: parse error", quote(value.as_bytes()))
            }
            Self::Invalid { name, value, reason } => {
                write!(f, "invalid value {} for flag -{name}: {reason}", quote(value.as_bytes()))
            }
            Self::NotUtf8 { name, value } => {
                write!(f, "invalid value {} for flag -{name}: not UTF-8", quote(value))
            }
        }
    }
}

impl FlagError {
    /// What to do about it, where that can be told: the customary words do not.
    pub(crate) fn hint(&self, table: impl IntoIterator<Item = Flag>) -> Option<String> {
        let mut table = table.into_iter();
        let name = match self {
            Self::Help | Self::Syntax(_) | Self::NotUtf8 { .. } => return None,
            Self::Undefined(name) => {
                let meant = nearest(name, table.map(|flag| flag.name))?;
                return Some(format!("Did you mean -{meant}?"));
            }
            Self::NeedsValue(name) => name.as_str(),
            Self::NotBoolean { name, .. } | Self::Invalid { name, .. } => name,
        };
        let flag = table.find(|flag| flag.name == name)?;
        Some(match flag.kind {
            Kind::Duration => {
                format!("Write a number with a unit, as in -{name}=500ms, -{name}=10s or -{name}=1m30s.")
            }
            Kind::Integer => format!("Write a whole number, as in -{name}=3."),
            Kind::Switch => format!("Write -{name}, -{name}=true or -{name}=false."),
            Kind::Text | Kind::List => format!("Write {}.", form(flag)),
        })
    }
}

/// Reads the arguments after a command's name by its table.
pub(crate) fn parse(
    table: impl IntoIterator<Item = Flag>,
    arguments: &[OsString],
) -> Result<Flags, FlagError> {
    let mut flags =
        Flags { table: table.into_iter().collect(), given: Vec::new(), arguments: Vec::new(), ended: false };
    let mut rest = arguments;
    while let Some((first, tail)) = rest.split_first() {
        let argument = first.to_string_lossy();
        let name = match argument.strip_prefix('-') {
            None | Some("") => break,
            Some("-") => {
                flags.ended = true;
                rest = tail;
                break;
            }
            Some(name) => name.strip_prefix('-').unwrap_or(name),
        };
        rest = tail;
        // Not lossily: a name or a path would become another one.
        let not_utf8 =
            |flag: &Flag, value: &[u8]| FlagError::NotUtf8 { name: flag.name, value: value.to_vec() };
        if name.is_empty() || name.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(argument.into_owned()));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let Some(&flag) = flags.table.iter().find(|flag| flag.name == name) else {
            return Err(match name {
                "h" | "help" => FlagError::Help,
                _ => FlagError::Undefined(name.to_owned()),
            });
        };
        let value = match (value, flag.kind) {
            (Some(_), _) if first.to_str().is_none() => {
                let bytes = first.as_encoded_bytes();
                let at = bytes.iter().position(|&byte| byte == b'=').map_or(0, |at| at + 1);
                return Err(not_utf8(&flag, &bytes[at..]));
            }
            (Some(value), _) => value,
            (None, Kind::Switch) => "true".to_owned(),
            (None, _) => {
                let (next, tail) =
                    rest.split_first().ok_or_else(|| FlagError::NeedsValue(name.to_owned()))?;
                rest = tail;
                next.to_str().ok_or_else(|| not_utf8(&flag, next.as_encoded_bytes()))?.to_owned()
            }
        };
        check(flag, &value)?;
        flags.given.push((flag.name, value));
    }
    flags.arguments = rest.to_vec();
    Ok(flags)
}

fn check(flag: Flag, value: &str) -> Result<(), FlagError> {
    let name = flag.name;
    let invalid = |reason| FlagError::Invalid { name, value: value.to_owned(), reason };
    match flag.kind {
        Kind::Text | Kind::List => Ok(()),
        Kind::Switch => match boolean(value) {
            Some(_) => Ok(()),
            None => Err(FlagError::NotBoolean { name, value: value.to_owned() }),
        },
        Kind::Integer => integer(value).map(drop).map_err(invalid),
        Kind::Duration => value.parse::<GoDuration>().map(drop).map_err(|_| invalid("parse error")),
    }
}

impl Flags {
    /// A switch's position. In the environment, whatever is not off is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        boolean(&self.value(name, Kind::Switch)).unwrap_or(true)
    }

    /// A switch's position, if it was given at all.
    pub(crate) fn given_switch(&self, name: &str) -> Option<bool> {
        debug_assert_eq!(self.row(name).kind, Kind::Switch);
        self.last(name).and_then(boolean)
    }

    /// A text, if it was given at all.
    pub(crate) fn given_text(&self, name: &str) -> Option<&str> {
        debug_assert_eq!(self.row(name).kind, Kind::Text);
        self.last(name)
    }

    /// An integer, if it was given at all.
    pub(crate) fn given_integer(&self, name: &str) -> Option<i64> {
        debug_assert_eq!(self.row(name).kind, Kind::Integer);
        self.last(name).and_then(|text| integer(text).ok())
    }

    pub(crate) fn integer(&self, name: &str) -> i64 {
        integer(&self.value(name, Kind::Integer)).expect("checked when read")
    }

    pub(crate) fn duration(&self, name: &str) -> GoDuration {
        self.value(name, Kind::Duration).parse().expect("checked when read")
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.value(name, Kind::Text)
    }

    /// All values of a list flag.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.lists(&[name])
    }

    /// All values of several list flags, in the order of the command line.
    pub(crate) fn lists(&self, names: &[&str]) -> Vec<String> {
        debug_assert!(names.iter().all(|name| self.row(name).kind == Kind::List));
        self.given.iter().filter(|(given, _)| names.contains(given)).map(|(_, value)| value.clone()).collect()
    }

    /// What stands after the flags.
    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// An argument that would have been a flag, had it stood in front of the others.
    pub(crate) fn overlooked(&self) -> Option<Cow<'_, str>> {
        let mut arguments = self.arguments.iter().map(|argument| argument.to_string_lossy());
        arguments.find(|argument| {
            let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).unwrap_or("");
            let name = name.split('=').next().unwrap_or(name);
            !self.ended && self.table.iter().any(|flag| flag.name == name)
        })
    }

    fn row(&self, name: &str) -> Flag {
        *self.table.iter().find(|flag| flag.name == name).expect("a flag of this command's table")
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    fn value(&self, name: &str, kind: Kind) -> String {
        let flag = self.row(name);
        assert_eq!(flag.kind, kind, "the table's kind of -{name}");
        let from_env = || {
            let value = flag.env.and_then(std::env::var_os)?;
            Some(value.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
        };
        let given = self.last(name).map(str::to_owned);
        given.or_else(from_env).unwrap_or_else(|| flag.default.to_owned())
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An integer with optional sign, base prefix and underscores between its digits.
fn integer(text: &str) -> Result<i64, &'static str> {
    const SYNTAX: &str = "parse error";
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    // An underscore has a digit on both sides; a base prefix counts as a digit, no prefix at all does not.
    let misplaced = digits.ends_with('_') || digits.contains("__") || radix == 10 && digits.starts_with('_');
    if digits.is_empty() || misplaced {
        return Err(SYNTAX);
    }
    let mut value: i128 = 0;
    for character in digits.chars().filter(|&c| c != '_') {
        let digit = character.to_digit(radix).ok_or(SYNTAX)?;
        value = value.saturating_mul(i128::from(radix)).saturating_add(i128::from(digit));
    }
    i64::try_from(if negative { -value } else { value }).map_err(|_| "value out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Flag; 5] = [
        Flag::switch("coalesce", "").or("true"),
        Flag::text("addr", "HOST:PORT", "").or("here"),
        Flag::integer("factor", "", ""),
        Flag::duration("timeout", "", ""),
        Flag::list("tag", "KEY=VALUE", ""),
    ];

    fn read(arguments: &[&str]) -> Result<Flags, FlagError> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        parse(TABLE, &arguments)
    }

    #[test]
    fn defaults_hold_without_flags() {
        let flags = read(&[]).expect("fine");
        assert!(flags.is_on("coalesce"));
        assert_eq!(flags.given_switch("coalesce"), None);
        assert_eq!(flags.text("addr"), "here");
        assert_eq!((flags.given_integer("factor"), flags.integer("factor")), (None, 0));
        assert_eq!(flags.duration("timeout"), GoDuration::default());
        assert!(flags.list("tag").is_empty() && flags.arguments().is_empty());
    }

    #[test]
    fn every_form_of_a_flag() {
        for form in [&["-addr", "x"][..], &["-addr=x"], &["--addr", "x"], &["--addr=x"]] {
            assert_eq!(read(form).expect("fine").text("addr"), "x", "{form:?}");
        }
        let flags = read(&["-addr=1", "-addr", "-2", "-tag=a=b", "-tag", "c", "-coalesce=F"]).expect("fine");
        assert_eq!(flags.text("addr"), "-2", "the last one wins, and may look like a flag");
        assert_eq!(flags.list("tag"), ["a=b", "c"]);
        assert_eq!(flags.given_switch("coalesce"), Some(false));
        assert_eq!(read(&["-addr="]).expect("fine").text("addr"), "");
        let flags = read(&["-factor=-0x10", "-timeout=1.5s", "-timeout", "-2ms"]).expect("fine");
        assert_eq!((flags.integer("factor"), flags.duration("timeout").as_nanos()), (-16, -2_000_000));
    }

    #[test]
    fn flags_end_at_the_first_other_argument() {
        for (given, rest) in [
            (&["-coalesce", "false", "-addr=x"][..], &["false", "-addr=x"][..]),
            (&["--", "-addr=x"], &["-addr=x"]),
            (&["-", "-addr=x"], &["-", "-addr=x"]),
            (&["", "-addr=x"], &["", "-addr=x"]),
        ] {
            let flags = read(given).expect("fine");
            assert_eq!(flags.arguments(), rest);
            assert_eq!(flags.text("addr"), "here");
        }
    }

    #[test]
    fn flags_behind_arguments_are_noticed() {
        for (given, overlooked) in [
            (&["x", "-addr=y"][..], Some("-addr=y")),
            (&["x", "--coalesce"], Some("--coalesce")),
            (&["x", "-5", "-", "--", "-other"], None),
            (&["--", "x", "-addr=y"], None),
            (&["-addr=y", "x"], None),
        ] {
            assert_eq!(read(given).expect("fine").overlooked().as_deref(), overlooked, "{given:?}");
        }
    }

    #[test]
    fn errors_have_the_customary_words() {
        for (given, message) in [
            (&["-foo"][..], "flag provided but not defined: -foo"),
            (&["--foo=1"], "flag provided but not defined: -foo"),
            (&["-addr"], "flag needs an argument: -addr"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["--=x"], "bad flag syntax: --=x"),
            (&["-coalesce=x"], "invalid boolean value \"x\" for -coalesce: parse error"),
            (&["-coalesce="], "invalid boolean value \"\" for -coalesce: parse error"),
            (&["-timeout=abc"], "invalid value \"abc\" for flag -timeout: parse error"),
            (&["-timeout", "5"], "invalid value \"5\" for flag -timeout: parse error"),
            (&["-factor=x"], "invalid value \"x\" for flag -factor: parse error"),
            (
                &["-factor=9223372036854775808"],
                "invalid value \"9223372036854775808\" for flag -factor: value out of range",
            ),
            (&["-help=1"], ""),
        ] {
            assert_eq!(read(given).expect_err("refused").to_string(), message);
        }
    }

    #[test]
    fn errors_come_with_a_remedy() {
        for (given, hint) in [
            (&["-adr=x"][..], "Did you mean -addr?"),
            (&["-addr"], "Write -addr=HOST:PORT."),
            (&["-tag"], "Write -tag KEY=VALUE."),
            (&["-coalesce=x"], "Write -coalesce, -coalesce=true or -coalesce=false."),
            (
                &["-timeout=5"],
                "Write a number with a unit, as in -timeout=500ms, -timeout=10s or -timeout=1m30s.",
            ),
            (&["-factor=x"], "Write a whole number, as in -factor=3."),
            (&["-nosuch"], ""),
            (&["---x"], ""),
        ] {
            let error = read(given).expect_err("refused");
            assert_eq!(error.hint(TABLE).unwrap_or_default(), hint, "{given:?}");
        }
    }

    #[test]
    fn integers_of_every_base() {
        for (text, value) in [
            ("0", 0),
            ("-7", -7),
            ("+7", 7),
            ("0x1F", 31),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("0_17", 15),
            ("0x_ff", 255),
            ("1_000", 1000),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in ["", "-", "0x", "1__0", "0x1_", "0x1__2", "_1", "08", "1.0", " 1", "--1"] {
            assert_eq!(integer(text), Err("parse error"), "{text}");
        }
    }
}
