//! Small helpers for the words shown to people: quoting, errors of the operating system, nearest spellings.

use std::io;

/// The bytes in double quotes, with escapes for everything that would not print.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{b}' => out.push_str("\\v"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                ..' ' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
                // Blanks other than the plain one, soft hyphens, byte order marks: unseen, so spelt out.
                _ if character != ' ' && unseen(character) => out.push_str(&escaped(character)),
                _ => out.push(character),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// The text with control and other invisible characters spelt out, for a terminal that shall not obey them.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ..' ' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ if character.is_control() || reorders(character) => out.push_str(&escaped(character)),
            _ => out.push(character),
        }
    }
    out
}

fn escaped(character: char) -> String {
    match u32::from(character) {
        code @ 0x10000.. => format!("\\U{code:08x}"),
        code => format!("\\u{code:04x}"),
    }
}

fn unseen(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || reorders(character)
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
        || matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{fffe}' | '\u{ffff}')
}

/// Characters that make a terminal show text in another order than it has.
fn reorders(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error of the operating system the way system programmers write it: in lower case and without its number. Those of
/// sockets are called alike whatever C library the program was linked with.
#[must_use]
pub fn os_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => return "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => return "cannot assign requested address".to_owned(),
        io::ErrorKind::NetworkUnreachable => return "network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => return "no route to host".to_owned(),
        _ => {}
    }
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(initial) => initial.to_lowercase().chain(characters).collect(),
        None => text.to_owned(),
    }
}

/// The candidate that a misspelt word most likely meant, if any is near enough.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // One slip for every three characters, so that short words do not match everything.
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|&(slips, _)| slips <= limit)
        .min_by_key(|&(slips, _)| slips)
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be inserted, dropped, replaced or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before_last = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let replaced = last[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_does_not_print() {
        for (bytes, text) in [
            (&b""[..], r#""""#),
            (b"plain text", r#""plain text""#),
            (b"a\"b\\c\n\t\x00\x7f\x1b", r#""a\"b\\c\n\t\x00\x7f\x1b""#),
            ("\u{e9}\u{4e16}\u{1f600}".as_bytes(), "\"\u{e9}\u{4e16}\u{1f600}\""),
            ("\u{85}\u{2028}\u{feff}".as_bytes(), r#""\u0085\u2028\ufeff""#),
            (b"\xff\xfe", r#""\xff\xfe""#),
        ] {
            assert_eq!(quote(bytes), text);
        }
    }

    #[test]
    fn makes_remote_text_harmless_for_a_terminal() {
        assert_eq!(printable("n1\u{1b}[31m\t\u{9b}\u{202e}\u{e9} x"), r"n1\x1b[31m\t\u009b\u202eé x");
    }

    #[test]
    fn words_of_the_operating_system() {
        let missing = std::fs::read("/nonexistent/file").expect_err("no such file");
        assert_eq!(os_error(&missing), "no such file or directory");
        assert_eq!(os_error(&io::Error::other("Odd thing")), "odd thing");
        // Without a number the text is Rust's own, which differs from glibc's as musl's does.
        for (kind, text) in [
            (io::ErrorKind::AddrInUse, "address already in use"),
            (io::ErrorKind::AddrNotAvailable, "cannot assign requested address"),
            (io::ErrorKind::NetworkUnreachable, "network is unreachable"),
            (io::ErrorKind::HostUnreachable, "no route to host"),
        ] {
            assert_eq!(os_error(&kind.into()), text);
        }
    }

    #[test]
    fn finds_the_word_that_was_meant() {
        let keys = ["bind", "node_name", "retry_join", "start_join", "tags"];
        for (word, meant) in [
            ("node_nmae", Some("node_name")),
            ("nodename", Some("node_name")),
            ("Retry-Join", Some("retry_join")),
            ("tag", Some("tags")),
            ("bnid", Some("bind")),
            ("zz", None),
            ("no_such_key", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
