//! The command line's flags: `--name value` or `--name=value`, from one table for each command that feeds the help too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

/// One flag. One whose default is `false` is a switch: it takes no value.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What it is if it is not given.
    pub default: &'static str,
    /// What it means, with its unit.
    pub help: &'static str,
}

/// The flags as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args(BTreeMap<&'static str, String>);

/// What is wrong with a command line. The text names the flag and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgsError(pub String);

impl Args {
    /// Reads what follows the command's name.
    ///
    /// # Errors
    /// A flag that the table does not know, or one without its value.
    pub fn parse(table: &[&[Flag]], given: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let flags = || table.iter().copied().flatten();
        let mut values: BTreeMap<_, _> = flags().map(|f| (f.name, f.default.to_owned())).collect();
        let mut given = given.into_iter();
        while let Some(arg) = given.next() {
            let (name, value) = match arg.trim_start_matches('-').split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg.trim_start_matches('-').to_owned(), None),
            };
            let Some(flag) = flags().find(|f| f.name == name && arg.starts_with('-')) else {
                return Err(ArgsError(format!("unknown argument {arg:?}; --help lists the flags")));
            };
            let value = match value {
                Some(value) => value,
                None if flag.default == "false" => "true".to_owned(),
                None => given.next().ok_or_else(|| ArgsError(format!("--{name} needs a value")))?,
            };
            values.insert(flag.name, value);
        }
        Ok(Self(values))
    }

    /// A flag's text.
    ///
    /// # Panics
    /// If the table has no such flag.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("--{name} is in the command's table"))
    }

    /// A number, or anything else that has a text.
    ///
    /// # Errors
    /// A text that is none.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, ArgsError> {
        self.text(name).trim().parse().map_err(|_| self.wrong(name, "a number"))
    }

    /// A switch.
    ///
    /// # Errors
    /// Neither `true` nor `false`.
    pub fn is(&self, name: &str) -> Result<bool, ArgsError> {
        self.text(name).parse().map_err(|_| self.wrong(name, "true or false"))
    }

    /// Several numbers, with commas between them.
    ///
    /// # Errors
    /// A text that is none.
    pub fn list<T: FromStr>(&self, name: &str) -> Result<Vec<T>, ArgsError> {
        let parts = self.text(name).split(',').map(|part| part.trim().parse());
        parts.collect::<Result<_, _>>().map_err(|_| self.wrong(name, "numbers with commas between them"))
    }

    /// A time: `90s`, `1.5m`, `200ms`, `2h`.
    ///
    /// # Errors
    /// A text that is none.
    pub fn time(&self, name: &str) -> Result<Duration, ArgsError> {
        time(self.text(name)).ok_or_else(|| self.wrong(name, "a time such as 200ms, 90s, 1.5m or 2h"))
    }

    /// Several times, with commas between them.
    ///
    /// # Errors
    /// A text that is none.
    pub fn times(&self, name: &str) -> Result<Vec<Duration>, ArgsError> {
        let parts = self.text(name).split(',').map(time);
        parts.collect::<Option<_>>().ok_or_else(|| self.wrong(name, "times with commas between them"))
    }

    /// An error about a flag.
    #[must_use]
    pub fn wrong(&self, name: &str, wanted: &str) -> ArgsError {
        ArgsError(format!("--{name} {:?}: expected {wanted}", self.text(name)))
    }

    /// All of them, for the record.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..unit].trim().parse().ok()?;
    let seconds = match &text[unit..] {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "" if number == 0.0 => 0.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// The help of a command.
#[must_use]
pub fn help(usage: &str, about: &str, table: &[&[Flag]]) -> String {
    let mut out = format!("Usage: {usage}\n\n{about}\n\nFlags:\n");
    for flag in table.iter().copied().flatten() {
        let value = if flag.default == "false" { String::new() } else { format!(" {}", flag.default) };
        let left = format!("--{}{value}", flag.name);
        let _ = writeln!(out, "  {left:<34} {}", flag.help);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[&[Flag]] = &[&[
        Flag { name: "nodes", default: "100", help: "" },
        Flag { name: "for", default: "1m", help: "" },
        Flag { name: "full", default: "false", help: "" },
        Flag { name: "sizes", default: "1,2", help: "" },
    ]];

    fn parse(given: &[&str]) -> Result<Args, ArgsError> {
        Args::parse(TABLE, given.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn flags_are_read_in_both_forms_and_have_defaults() {
        let args = parse(&["--nodes", "7", "--for=90s", "--full"]).unwrap();
        assert_eq!(args.get::<usize>("nodes"), Ok(7));
        assert_eq!(args.time("for"), Ok(Duration::from_secs(90)));
        assert_eq!(args.is("full"), Ok(true));
        assert_eq!(args.list::<u32>("sizes"), Ok(vec![1, 2]));
        assert_eq!(parse(&[]).unwrap().time("for"), Ok(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse(&["--nope"]).unwrap_err().0, "unknown argument \"--nope\"; --help lists the flags");
        assert_eq!(parse(&["nodes"]).unwrap_err().0, "unknown argument \"nodes\"; --help lists the flags");
        assert_eq!(parse(&["--nodes"]).unwrap_err().0, "--nodes needs a value");
        let args = parse(&["--nodes", "many", "--for", "5"]).unwrap();
        assert_eq!(args.get::<u8>("nodes").unwrap_err().0, "--nodes \"many\": expected a number");
        assert!(args.time("for").unwrap_err().0.contains("expected a time"));
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [("0", 0), ("200ms", 200), ("1.5m", 90_000), ("2h", 7_200_000), ("500us", 0)] {
            assert_eq!(time(text).unwrap().as_millis(), ms, "{text}");
        }
        assert_eq!((time("5"), time("-1s"), time("s")), (None, None, None));
    }
}
