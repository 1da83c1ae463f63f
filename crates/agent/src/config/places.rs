//! Where settings come from: which file, line and column, so that errors can tell.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::file::{self, Layer};
use super::settings::Settings;
use crate::json::Position;

/// Where something is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf, Option<Position>),
    /// By a flag.
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::File(path, Some(at)) => write!(f, "{}:{}:{}", path.display(), at.line, at.column),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

impl Layer {
    /// Where a value of this file stands, or an item of one.
    pub(super) fn place(&self, key: &str) -> Place {
        Place::File(self.path.clone(), self.places.get(key).copied())
    }
}

/// Where each key is set that is set to something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places(BTreeMap<String, Vec<Place>>);

impl Places {
    /// Notes what another source sets. What does not add up takes the place of what was there.
    pub(super) fn overlay(&mut self, settings: &Settings, place: impl Fn(&str) -> Place) {
        for (key, _) in file::written(settings) {
            let places = self.0.entry(key.clone()).or_default();
            if !matches!(key.as_str(), "start_join" | "retry_join" | "event_handlers" | "tags") {
                places.clear();
            }
            places.push(place(&key));
        }
    }

    pub(super) fn of(&self, key: &str) -> &[Place] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn last(&self, key: &str) -> Option<&Place> {
        self.of(key).last()
    }

    /// The error with the place of the key in a line of its own, if it is in a file: flags are before everybody's eyes.
    pub(super) fn beside(&self, key: &str, error: &dyn fmt::Display) -> String {
        match self.last(key) {
            Some(place @ Place::File(..)) => format!("{error}\n    ({place}: '{key}')"),
            _ => error.to_string(),
        }
    }
}
