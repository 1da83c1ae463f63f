//! Where a command's words go, and in which form.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serf_agent::json;
use serf_agent::text::printable;

use crate::command::Failure;

/// Standard output of a command.
///
/// Writing never fails as seen from a command: once the reader has gone away, or the disk is full, the rest is
/// dropped. Commands that would go on for ever look whether it is [`over`](Self::is_over).
pub(crate) struct Output {
    sink: Box<dyn Write>,
    /// What the terminal can do, if it is one.
    terminal: Option<Terminal>,
    error: Option<io::Error>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal().then(|| Terminal::of(|name| std::env::var_os(name)));
        Self { terminal, sink: Box::new(stdout), error: None }
    }

    /// Text and a line break, at once visible.
    pub(crate) fn line(&mut self, text: impl AsRef<[u8]>) {
        if self.is_over() {
            return;
        }
        let bytes = [text.as_ref(), b"\n"].concat();
        self.error = self.sink.write_all(&bytes).and_then(|()| self.sink.flush()).err();
    }

    /// What the formatters have made, without blanks around it.
    pub(crate) fn result(&mut self, text: &[u8]) {
        self.line(trimmed(text));
    }

    /// A result, as text or as a document.
    pub(crate) fn report(&mut self, format: Format, text: impl AsRef<[u8]>, document: &impl Serialize) {
        match format {
            Format::Text => self.line(text),
            Format::Json => self.line(json::to_string_pretty(document)),
        }
    }

    /// One of several documents: each is a line.
    pub(crate) fn record(&mut self, document: &impl Serialize) {
        self.line(json::to_string_line(document));
    }

    /// Has writing failed, so that nothing more will be read?
    pub(crate) fn is_over(&self) -> bool {
        self.error.is_some()
    }

    /// Why what was written did not arrive. That the reader had enough is no error.
    pub(crate) fn into_error(self) -> Option<io::Error> {
        self.error.filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    /// How text that other nodes have chosen is shown here.
    pub(crate) fn shown(&self) -> Shown {
        if self.terminal.is_some() { Shown::Escaped } else { Shown::Raw }
    }

    /// What the terminal can do. None if it is none: then a program reads, which expects what it has always read.
    pub(crate) fn terminal(&self) -> Option<Terminal> {
        self.terminal
    }
}

/// What a terminal can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Are colours wanted?
    pub(crate) colours: bool,
    /// Can its screen be cleared?
    pub(crate) clears: bool,
}

impl Terminal {
    /// A dumb one can do nothing; and somebody may have refused colours (<https://no-color.org>).
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let clears = variable("TERM").is_some_and(|kind| kind != "dumb" && !kind.is_empty());
        Self { colours: clears && !refused, clears }
    }
}

/// A line on standard error, for the few words that belong there.
pub(crate) fn error_line(text: &str) {
    // Nobody is left to be told if this fails.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Text that other nodes have chosen, as a terminal can be shown it.
pub(crate) fn harmless(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// A remark for people, on standard error if that is a terminal. Scripts compare what is there, and would stumble.
pub(crate) fn remark(text: &str) {
    if io::stderr().is_terminal() {
        error_line(&format!("Note: {text}"));
    }
}

/// How text that other nodes have chosen is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Byte by byte, for programs.
    Raw,
    /// Without control characters, for a terminal that would obey them.
    Escaped,
}

impl Shown {
    pub(crate) fn text(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Raw => Cow::Borrowed(bytes),
            Self::Escaped => Cow::Owned(harmless(bytes).into_bytes()),
        }
    }

    /// The same for text that may have lines and columns.
    pub(crate) fn block(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Raw {
            return Cow::Borrowed(bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        let mut out = String::with_capacity(text.len());
        for piece in text.split_inclusive(['\n', '\t']) {
            let plain = piece.trim_end_matches(['\n', '\t']);
            out += &printable(plain);
            out += &piece[plain.len()..];
        }
        Cow::Owned(out.into_bytes())
    }
}

/// Bytes as text for a document. Each that belongs to no character is U+FFFD, one by one.
pub(crate) fn document_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out += chunk.valid();
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

/// What `-format` can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Format {
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Failure::Message(format!("Encoding error: Invalid output format \"{name}\""))),
        }
    }

    /// Text or JSON, whichever is wanted.
    pub(crate) fn render(self, text: impl FnOnce() -> Vec<u8>, document: impl Serialize) -> Vec<u8> {
        match self {
            Self::Text => text(),
            Self::Json => json::to_string_pretty(&document).into_bytes(),
        }
    }
}

/// Rows of fields with `|` between them, as aligned columns with two blanks between.
///
/// A `|` inside of a field separates as well: that is how these listings have always been. The last field of a
/// row is not padded, however long the row.
pub(crate) fn columns(rows: &[Vec<u8>]) -> Vec<u8> {
    let rows: Vec<Vec<&[u8]>> =
        rows.iter().map(|row| row.split(|&byte| byte == b'|').map(trimmed).collect()).collect();
    let mut widths = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, field) in widths.iter_mut().zip(row) {
            *width = (*width).max(characters(field));
        }
    }
    let mut out = Vec::new();
    for row in &rows {
        for (at, (field, width)) in row.iter().zip(&widths).enumerate() {
            out.extend_from_slice(field);
            if at + 1 < row.len() {
                out.resize(out.len() + width - characters(field) + 2, b' ');
            }
        }
        out.push(b'\n');
    }
    out.pop();
    out
}

/// Characters of a text; a byte that belongs to none counts as one.
fn characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

fn trimmed(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(rows: &[&str]) -> String {
        let rows: Vec<_> = rows.iter().map(|row| row.as_bytes().to_vec()).collect();
        String::from_utf8(columns(&rows)).expect("text")
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_field() {
        assert_eq!(aligned(&["a|bb|c", "aaa|b|ccc"]), "a    bb  c\naaa  b   ccc");
        assert_eq!(aligned(&["\u{e9}\u{e9}|x", "abc|y"]), "\u{e9}\u{e9}   x\nabc  y");
        assert_eq!(aligned(&[" a | b |"]), "a  b  ", "blanks of an empty last field stay");
        assert_eq!(aligned(&["a|b", "aa|b=1|2", "c"]), "a   b\naa  b=1  2\nc");
        assert_eq!(aligned(&[]), "");
        assert_eq!(columns(&[b"\xff|x".to_vec(), b"ab|y".to_vec()]), b"\xff   x\nab  y");
    }

    #[test]
    fn colours_may_be_refused() {
        for (variables, colours, clears) in [
            (&[("TERM", "xterm")][..], true, true),
            (&[("TERM", "xterm"), ("NO_COLOR", "")], true, true),
            (&[("TERM", "xterm"), ("NO_COLOR", "1")], false, true),
            (&[("TERM", "dumb")], false, false),
            (&[("TERM", "")], false, false),
            (&[], false, false),
        ] {
            let value = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            assert_eq!(Terminal::of(value), Terminal { colours, clears }, "{variables:?}");
        }
    }

    #[test]
    fn formats_are_refused_in_the_customary_words() {
        let message = "Encoding error: Invalid output format \"boo\"".to_owned();
        assert_eq!(Format::named("boo"), Err(Failure::Message(message)));
    }

    #[test]
    fn documents_show_each_odd_byte() {
        assert_eq!(document_text(b"a\xe2\x82z\xff\xc3\xa9"), "a\u{fffd}\u{fffd}z\u{fffd}\u{e9}");
    }

    #[test]
    fn terminals_get_nothing_to_obey() {
        assert_eq!(&*Shown::Raw.text(b"a\x1b[1m\xff"), b"a\x1b[1m\xff");
        assert_eq!(&*Shown::Escaped.text(b"a\x1b[1m\xff"), "a\\x1b[1m\u{fffd}".as_bytes());
        assert_eq!(&*Shown::Raw.block(b"a\x1b\n\tb\r\n"), b"a\x1b\n\tb\r\n");
        assert_eq!(&*Shown::Escaped.block(b"a\x1b\n\n\tb\r\n"), b"a\\x1b\n\n\tb\\r\n");
    }
}
