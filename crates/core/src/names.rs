//! Which names are valid, where somebody cares (spec `serf.md` §12.2). By default any bytes are.

/// The longest valid name, in bytes.
pub const NAME_MAX: usize = 128;

/// What is wrong with a node's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has other characters than letters, digits, dashes and dots.
    #[error("Node name contains invalid characters; allowed are A-Z, a-z, 0-9, '-' and '.'")]
    Characters,
    /// It is too long.
    #[error("Node name is {0} characters. Valid length is between 1 and 128 characters")]
    Length(usize),
}

/// Whether a name is valid. The empty one is, as with the reference.
///
/// # Errors
/// What is wrong with it.
pub fn validate(name: &[u8]) -> Result<(), NameError> {
    if !name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
        Err(NameError::Characters)
    } else if name.len() > NAME_MAX {
        Err(NameError::Length(name.len()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_checked_for_characters_then_length() {
        let long = "a".repeat(129);
        for (name, text) in [
            ("!BadChars&^*", "invalid characters"),
            ("with space", "invalid characters"),
            ("under_score", "invalid characters"),
            ("ünicode", "invalid characters"),
            ("new\nline", "invalid characters"),
            (long.as_str(), "Valid length is between 1 and 128"),
        ] {
            let error = validate(name.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(text), "{name}: {error}");
        }
    }

    #[test]
    fn letters_digits_dashes_and_dots_are_valid_and_so_is_nothing() {
        for name in ["", "a", "Web-1.example.com", &"a".repeat(128)] {
            assert_eq!(validate(name.as_bytes()), Ok(()));
        }
    }
}
