//! Encryption keys: their base64 form, and the file that keeps a keyring over restarts.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use base64ct::{Base64, Encoding};
use thiserror::Error;

use super::tags::{WrongType, unmarshal};
use crate::files;
use crate::json::{self, SyntaxError, Value};
use crate::text::os_error;

/// The bytes of a key, not yet checked for their number. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// Reads the base64 form.
    pub fn from_base64(text: &str) -> Result<Self, Base64Error> {
        decode_base64(text).map(Self)
    }

    /// Writes the base64 form.
    #[must_use]
    pub fn to_base64(&self) -> String {
        Base64::encode_string(&self.0)
    }

    /// The key itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Checks that there is a cipher for keys of this length.
    pub fn check(&self) -> Result<(), KeySizeError> {
        if matches!(self.0.len(), 16 | 24 | 32) { Ok(()) } else { Err(KeySizeError) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// A key of a length no cipher has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("key size must be 16, 24 or 32 bytes")]
pub struct KeySizeError;

/// A text that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("illegal base64 data at input byte {0}")]
pub struct Base64Error(
    /// Where the first thing is that cannot be.
    pub usize,
);

/// Reads padded base64 with line breaks anywhere in it, which is what configurations may hold.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, Base64Error> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut input = text.bytes().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    let mut group: u32 = 0;
    let mut filled: usize = 0;
    while let Some((at, byte)) = input.next() {
        let Some(value) = sextet(byte) else {
            // Padding may stand in for the third and fourth character, and ends the text.
            if byte != b'=' || filled < 2 {
                return Err(Base64Error(at));
            }
            if filled == 2 {
                match input.next() {
                    Some((_, b'=')) => {}
                    Some((next, _)) => return Err(Base64Error(next - 1)),
                    None => return Err(Base64Error(text.len())),
                }
            }
            if let Some((next, _)) = input.next() {
                return Err(Base64Error(next));
            }
            let bytes = (group << (6 * (4 - filled))).to_be_bytes();
            out.extend_from_slice(&bytes[1..filled]);
            return Ok(out);
        };
        group = group << 6 | value;
        filled += 1;
        if filled == 4 {
            out.extend_from_slice(&group.to_be_bytes()[1..]);
            (group, filled) = (0, 0);
        }
    }
    // A group that ends too early is reported at its beginning, counted back without regard to line breaks.
    if filled == 0 { Ok(out) } else { Err(Base64Error(text.len() - filled)) }
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Why the keyring file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringFileError {
    /// There is no such file. It has to be made before the first start.
    #[error("stat {path}: {}", os_error(.source))]
    Missing {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("Failed to read keyring file: {step} {path}: {}", os_error(.source))]
    Read {
        /// The step that failed: `open` or `read`.
        step: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is not JSON.
    #[error("Failed to decode keyring file: {}", unmarshal(.0))]
    Syntax(SyntaxError),
    /// It is not a list of strings.
    #[error("Failed to decode keyring file: {0}")]
    Type(WrongType),
    /// One of its keys is not base64.
    #[error("Failed to decode key from keyring: {0}")]
    Base64(Base64Error),
    /// There is no key in it.
    #[error("Keyring file contains no keys")]
    Empty,
    /// One of its keys has a wrong length.
    #[error("Failed to restore keyring: {0}")]
    KeySize(KeySizeError),
    /// It cannot be made.
    #[error("Failed to write keyring file: open {path}: {}", os_error(.source))]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Is there no file at all? Of one that cannot be looked at this is not known.
pub(super) fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Makes a keyring file with one key (E42). A key that is none is written nowhere: the start fails of it anyway.
pub(super) fn create_keyring(path: &Path, key: &Key) -> Result<(), KeyringFileError> {
    match serf::Key::new(key.as_bytes()) {
        Ok(key) => serf::write_keyring(path, &[key])
            .map_err(|source| KeyringFileError::Write { path: path.display().to_string(), source }),
        Err(_) => Ok(()),
    }
}

/// The keys in a file, the primary one first. There is at least one.
pub fn load_keyring(path: &Path) -> Result<Vec<Key>, KeyringFileError> {
    let shown = || path.display().to_string();
    fs::metadata(path).map_err(|source| KeyringFileError::Missing { path: shown(), source })?;
    let text =
        files::read(path).map_err(|(step, source)| KeyringFileError::Read { step, path: shown(), source })?;
    let root = json::read_only(&text).map_err(KeyringFileError::Syntax)?;
    let items = match root.value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => return Err(KeyringFileError::Type(WrongType::new(&other, "[]string"))),
    };
    let texts = items.into_iter().map(|item| match item.value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(KeyringFileError::Type(WrongType::new(&other, "string"))),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let keys = texts.iter().map(|text| Key::from_base64(text)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(KeyringFileError::Base64)?;
    if keys.is_empty() {
        return Err(KeyringFileError::Empty);
    }
    keys.iter().try_for_each(Key::check).map_err(KeyringFileError::KeySize)?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::testing::Directory;

    #[test]
    fn base64_is_read_and_refused_as_it_always_was() {
        for (text, result) in [
            ("", Ok(&b""[..])),
            ("YQ==", Ok(b"a")),
            ("YWI=", Ok(b"ab")),
            ("YWJj", Ok(b"abc")),
            ("YW\nJj\r\n", Ok(b"abc")),
            ("YQ=\n=", Ok(b"a")),
            // Bits beyond the last byte do not matter.
            ("YR==", Ok(b"a")),
            ("!!", Err(0)),
            ("***", Err(0)),
            ("foo", Err(0)),
            ("YWJjfoo", Err(4)),
            ("abc", Err(0)),
            ("YQ", Err(0)),
            ("YQ=", Err(3)),
            ("YQ=x", Err(2)),
            ("YQ==x", Err(4)),
            ("YWI=x", Err(4)),
            ("=", Err(0)),
            ("Y=", Err(1)),
            ("YWJj-", Err(4)),
            ("YWJjY\u{e9}", Err(5)),
        ] {
            let result = result.map(<[u8]>::to_vec).map_err(Base64Error);
            assert_eq!(decode_base64(text), result, "{text:?}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let key = Key::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==").expect("base64");
        assert_eq!(format!("{key:?}"), "Key(16 bytes)");
        assert_eq!(key.check(), Ok(()));
        assert_eq!(Key(vec![0; 17]).check(), Err(KeySizeError));
    }

    #[test]
    fn a_broken_keyring_is_refused() {
        let directory = Directory::new();
        for (text, message) in [
            (
                "{}",
                "Failed to decode keyring file: json: cannot unmarshal object into Go value of type []string",
            ),
            (
                "[1]",
                "Failed to decode keyring file: json: cannot unmarshal number into Go value of type string",
            ),
            ("", "Failed to decode keyring file: unexpected end of JSON input"),
            ("null", "Keyring file contains no keys"),
            ("[null]", "Failed to restore keyring: key size must be 16, 24 or 32 bytes"),
        ] {
            let path = directory.write("keyring", text);
            assert_eq!(load_keyring(&path).expect_err(text).to_string(), message);
        }
        let missing = load_keyring(Path::new("no.keyring")).expect_err("missing").to_string();
        assert_eq!(missing, "stat no.keyring: no such file or directory");
    }
}
