//! JSON as the agent's files use it: a reader that remembers where everything stood, and a writer with the
//! escapes the files and outputs have always had.
//!
//! The reader exists because configuration errors should name line, column and the offending key, all of them
//! at once, and because its messages are the ones that operators and their scripts have seen for years. It
//! reads whole small files, not streams.

use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use thiserror::Error;

/// Files nest two levels deep; whoever nests this deep only wants to exhaust the stack.
const DEPTH_MAX: usize = 128;

/// A value and where in the text it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Byte offset of its first character.
    pub offset: usize,
    /// The value.
    pub value: Value,
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number; there is only one kind.
    Number(f64),
    /// A string. What was not UTF-8 in the file is U+FFFD here.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// An object, in the order of the text, doubled keys included.
    Object(Vec<Member>),
}

/// A key of an object with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Byte offset of the key's opening quote.
    pub offset: usize,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Node,
}

impl Value {
    /// What kind of value this is, as a noun with its article.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// There is nothing but white space.
    #[error("EOF")]
    Empty,
    /// The text ends inside a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A character that cannot stand where it does.
    #[error("invalid character {} {context}", quoted_char(*.found))]
    Character {
        /// The first byte of it.
        found: u8,
        /// What was being read.
        context: &'static str,
        /// Byte offset.
        offset: usize,
    },
    /// A number beyond what a double can hold.
    #[error("json: cannot unmarshal number {text} into Go value of type float64")]
    NumberRange {
        /// The number as written.
        text: String,
        /// Byte offset.
        offset: usize,
    },
    /// Lists or objects nested too deep.
    #[error("exceeded max depth")]
    Depth {
        /// Byte offset.
        offset: usize,
    },
}

impl SyntaxError {
    /// Where the trouble is, where that can be told.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        match *self {
            Self::Empty | Self::Truncated => None,
            Self::Character { offset, .. } | Self::NumberRange { offset, .. } | Self::Depth { offset } => {
                Some(offset)
            }
        }
    }
}

/// A place in a text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// Line and column of a byte offset.
    #[must_use]
    pub fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        // Continuation bytes of a character do not count.
        let columns = before[line_start..].iter().filter(|&&b| b & 0xc0 != 0x80).count();
        Self { line: before.iter().filter(|&&b| b == b'\n').count() + 1, column: columns + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Reads the first value of a text; whatever follows it is left alone.
pub fn read_first(text: &[u8]) -> Result<Node, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    if reader.at == text.len() {
        return Err(SyntaxError::Empty);
    }
    reader.value(0)
}

/// Reads a text that must be one value and nothing else.
pub fn read_only(text: &[u8]) -> Result<Node, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    let node = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The error for the character at hand, or for its absence.
    fn unexpected(&self, context: &'static str) -> SyntaxError {
        match self.peek() {
            Some(found) => SyntaxError::Character { found, context, offset: self.at },
            None => SyntaxError::Truncated,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let offset = self.at;
        let value = match self.peek() {
            Some(b'{') => self.object(depth + 1)?,
            Some(b'[') => self.array(depth + 1)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => self.word(&TRUE, Value::Bool(true))?,
            Some(b'f') => self.word(&FALSE, Value::Bool(false))?,
            Some(b'n') => self.word(&NULL, Value::Null)?,
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        Ok(Node { offset, value })
    }

    fn object(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        self.enter(depth)?;
        let mut members = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            let offset = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.skip_space();
            members.push(Member { offset, key, value: self.value(depth)? });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
            self.skip_space();
        }
    }

    /// Steps over an opening bracket.
    fn enter(&mut self, depth: usize) -> Result<(), SyntaxError> {
        if depth > DEPTH_MAX {
            return Err(SyntaxError::Depth { offset: self.at });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn word(&mut self, letters: &[(u8, &'static str)], value: Value) -> Result<Value, SyntaxError> {
        for &(letter, context) in letters {
            if self.peek() != Some(letter) {
                return Err(self.unexpected(context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<f64, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        let text = String::from_utf8_lossy(&self.text[start..self.at]);
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(SyntaxError::NumberRange { text: text.into_owned(), offset: start }),
        }
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, context: &'static str) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(String::from_utf8_lossy(&out).into_owned());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte @ 0x20..) => {
                    self.at += 1;
                    out.push(byte);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, SyntaxError> {
        let character = match self.peek() {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(character)
    }

    /// The digits after `\u`, and a second such escape if the first was half a character.
    fn unicode_escape(&mut self) -> Result<char, SyntaxError> {
        let first = self.four_digits()?;
        if let 0xd800..0xdc00 = first
            && self.text[self.at..].starts_with(b"\\u")
        {
            let after_first = self.at;
            self.at += 2;
            let second = self.four_digits()?;
            if let 0xdc00..0xe000 = second {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // Not a pair: the second stands for itself.
            self.at = after_first;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32, SyntaxError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let digit = digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

const TRUE: [(u8, &str); 4] = [
    (b't', "looking for beginning of value"),
    (b'r', "in literal true (expecting 'r')"),
    (b'u', "in literal true (expecting 'u')"),
    (b'e', "in literal true (expecting 'e')"),
];
const FALSE: [(u8, &str); 5] = [
    (b'f', "looking for beginning of value"),
    (b'a', "in literal false (expecting 'a')"),
    (b'l', "in literal false (expecting 'l')"),
    (b's', "in literal false (expecting 's')"),
    (b'e', "in literal false (expecting 'e')"),
];
const NULL: [(u8, &str); 4] = [
    (b'n', "looking for beginning of value"),
    (b'u', "in literal null (expecting 'u')"),
    (b'l', "in literal null (expecting 'l')"),
    (b'l', "in literal null (expecting 'l')"),
];

/// A character in single quotes, with an escape where it would not print.
fn quoted_char(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => r#"'"'"#.to_owned(),
        0x7f => r"'\x7f'".to_owned(),
        0x80..0xa0 => format!("'\\u{byte:04x}'"),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        11 => r"'\v'".to_owned(),
        12 => r"'\f'".to_owned(),
        b'\n' | b'\r' | b'\t' | b'\\' => format!("'{}'", byte.escape_ascii()),
        0..0x20 => format!("'\\x{byte:02x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// The value as indented JSON, two blanks a level and without a final newline.
///
/// `<`, `>`, `&` and the two Unicode line separators are escaped, as they are in every file and output that this writer
/// takes over; and so is U+FFFD, which there stands for what is no UTF-8.
#[must_use]
pub fn to_string_pretty(value: &impl Serialize) -> String {
    written(value, PrettyFormatter::new())
}

/// The value as JSON on a single line, with the same escapes and without a final newline.
#[must_use]
pub fn to_string_line(value: &impl Serialize) -> String {
    written(value, CompactFormatter)
}

fn written(value: &impl Serialize, layout: impl Formatter) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Escaping(layout));
    value.serialize(&mut serializer).expect("maps with string keys always serialize into memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// A layout, with more characters escaped inside of strings.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}', '\u{fffd}']) {
            out.write_all(&rest.as_bytes()[..at])?;
            let character = rest[at..].chars().next().unwrap_or_default();
            write!(out, "\\u{:04x}", u32::from(character))?;
            rest = &rest[at + character.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn first(text: &str) -> Result<Value, String> {
        read_first(text.as_bytes()).map(|node| node.value).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_values_of_every_kind() {
        for (text, value) in [
            ("null", Value::Null),
            (" true x", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("-12.5e1,", Value::Number(-125.0)),
            ("0", Value::Number(0.0)),
            (r#""a\n\u00e9\ud83d\ude00\/""#, Value::String("a\n\u{e9}\u{1f600}/".into())),
            (r#""\ud800x\udc00\ud800\u0041""#, Value::String("\u{fffd}x\u{fffd}\u{fffd}A".into())),
            ("[ ]", Value::Array(vec![])),
            ("{ }", Value::Object(vec![])),
        ] {
            assert_eq!(first(text), Ok(value), "{text}");
        }
        assert_eq!(read_first(b"\"\xff\"").map(|n| n.value), Ok(Value::String("\u{fffd}".into())));
    }

    #[test]
    fn remembers_where_things_stood() {
        let text = b"{\n \"a\": [1,\n  2], \"\xc3\xa9\": 3}";
        let Ok(Node { value: Value::Object(members), .. }) = read_first(text) else { panic!("an object") };
        let Value::Array(items) = &members[0].value.value else { panic!("a list") };
        assert_eq!(Position::of(text, members[0].offset), Position { line: 2, column: 2 });
        assert_eq!(Position::of(text, items[1].offset), Position { line: 3, column: 3 });
        assert_eq!(Position::of(text, members[1].value.offset), Position { line: 3, column: 12 });
    }

    #[test]
    fn says_what_is_wrong_in_the_customary_words() {
        for (text, message) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("{", "unexpected EOF"),
            ("\"abc", "unexpected EOF"),
            ("{\"bind\": }", "invalid character '}' looking for beginning of value"),
            ("{ // hi\n}", "invalid character '/' looking for beginning of object key string"),
            ("{bind: 1}", "invalid character 'b' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("[01]", "invalid character '1' after array element"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("not json", "invalid character 'o' in literal null (expecting 'u')"),
            ("tru'", "invalid character '\\'' in literal true (expecting 'e')"),
            ("\u{feff}{}", "invalid character '\u{ef}' looking for beginning of value"),
            ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
        ] {
            assert_eq!(first(text), Err(message.to_owned()), "{text:?}");
        }
        assert_eq!(first(&"[".repeat(100_000)), Err("exceeded max depth".to_owned()));
        let trailing = read_only(b"[] x").expect_err("something follows");
        assert_eq!(trailing.to_string(), "invalid character 'x' after top-level value");
        assert_eq!(read_only(b""), Err(SyntaxError::Truncated));
        assert!(read_only(b" {} \n").is_ok());
    }

    #[test]
    fn writes_with_the_customary_escapes() {
        let mut map = BTreeMap::from([("k", "a<b>&\u{2028}\u{fffd}\"\\\n\u{1}\u{e9}")]);
        assert_eq!(
            to_string_pretty(&map),
            "{\n  \"k\": \"a\\u003cb\\u003e\\u0026\\u2028\\ufffd\\\"\\\\\\n\\u0001\u{e9}\"\n}"
        );
        map.clear();
        assert_eq!(to_string_pretty(&map), "{}");
        assert_eq!(to_string_pretty(&["x", "y"]), "[\n  \"x\",\n  \"y\"\n]");
        assert_eq!(to_string_pretty(&None::<()>), "null");
    }
}
