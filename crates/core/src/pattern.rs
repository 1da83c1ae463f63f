//! Regular expressions in the dialect that Serf's users write: RE2 as Go speaks it, matched in linear time.
//!
//! The engine is the `regex` crate; this file translates what differs between the two dialects: ASCII classes (`\d`,
//! `\w`, `\s`, `\b`), `\<` and `\p{^L}`, literal `[`, `&&` and `--` inside classes, `\Q…\E`, `a{,2}` as plain text,
//! and what the other side refuses (`a**`, counts above 1000, flags it does not know).

use alloc::format;
use alloc::string::{String, ToString};

use regex::bytes::{Regex, RegexBuilder};

/// Longest expression taken, in bytes: far above what anybody writes, far below what would cost.
pub const PATTERN_MAX: usize = 4096;
/// Largest compiled form, in bytes.
const COMPILED_MAX: usize = 1 << 20;
/// Highest count of a repetition, as in RE2.
const REPEAT_MAX: u32 = 1000;

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

impl Pattern {
    /// Compiles an expression that may match anywhere in a text.
    ///
    /// # Errors
    /// The expression is not valid in RE2, or too large.
    pub fn new(expression: &str) -> Result<Self, PatternError> {
        match Self::within(COMPILED_MAX, expression)? {
            Some(pattern) => Ok(pattern),
            None => {
                Err(PatternError(format!("expression needs more than {COMPILED_MAX} bytes when compiled")))
            }
        }
    }

    /// Compiles an expression that a peer sent, which may be neither text nor cheap. None if it takes more than so many
    /// bytes when compiled.
    pub(crate) fn of_peer(compiled_max: usize, expression: &[u8]) -> Result<Option<Self>, PatternError> {
        let text = core::str::from_utf8(expression).map_err(|_| PatternError("invalid UTF-8".into()))?;
        Self::within(compiled_max, text)
    }

    fn within(compiled_max: usize, expression: &str) -> Result<Option<Self>, PatternError> {
        if expression.len() > PATTERN_MAX {
            return Err(PatternError(format!("expression is longer than {PATTERN_MAX} bytes")));
        }
        match RegexBuilder::new(&translate(expression)?).octal(true).size_limit(compiled_max).build() {
            Ok(regex) => Ok(Some(Self(regex))),
            Err(regex::Error::CompiledTooBig(_)) => Ok(None),
            Err(why) => Err(PatternError(one_line(&why.to_string(), expression))),
        }
    }

    /// Compiles an expression that is to match a whole text, wrapped as plain text in `^` and `$`: of `a|b` the first
    /// alternative is bound to the beginning and the second to the end, as users of Serf know it.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn anchored(expression: &str) -> Result<Self, PatternError> {
        Self::new(&format!("^{expression}$"))
    }

    /// Whether it matches somewhere in the text.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

/// The engine draws its errors over several lines; the last one says what is wrong.
fn one_line(error: &str, expression: &str) -> String {
    let last = error.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("invalid expression");
    format!("{}: `{expression}`", last.trim().trim_start_matches("error: "))
}

fn translate(expression: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(expression.len() + 16);
    let mut rest = expression;
    // Whether the last thing written was a repetition, which may not be repeated again.
    let mut repeated = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                rest = escape(after, &mut out, false);
                repeated = false;
                continue;
            }
            '[' => {
                rest = class(after, &mut out);
                repeated = false;
                continue;
            }
            '(' if after.starts_with('?') => {
                check_flags(after, expression)?;
                out.push('(');
                repeated = false;
            }
            '*' | '+' | '?' => {
                if repeated {
                    return Err(PatternError(format!("invalid nested repetition operator: `{c}`")));
                }
                out.push(c);
                repeated = true;
                rest = lazy(after, &mut out);
                continue;
            }
            '{' => match repetition(after)? {
                None => {
                    out.push_str("\\{");
                    repeated = false;
                }
                Some(len) => {
                    if repeated {
                        return Err(PatternError("invalid nested repetition operator: `{`".into()));
                    }
                    out.push('{');
                    out.push_str(&after[..len]);
                    repeated = true;
                    rest = lazy(&after[len..], &mut out);
                    continue;
                }
            },
            '}' => {
                out.push_str("\\}");
                repeated = false;
            }
            c => {
                out.push(c);
                repeated = false;
            }
        }
        rest = after;
    }
    Ok(out)
}

/// A `?` right behind a repetition makes it lazy.
fn lazy<'a>(rest: &'a str, out: &mut String) -> &'a str {
    match rest.strip_prefix('?') {
        Some(rest) => {
            out.push('?');
            rest
        }
        None => rest,
    }
}

/// The length of `2}`, `2,}` or `2,3}` at the start of the text; None if there is no such thing, which is then plain text.
fn repetition(text: &str) -> Result<Option<usize>, PatternError> {
    let Some(end) = text.find('}') else { return Ok(None) };
    let (low, high) = text[..end].split_once(',').unwrap_or((&text[..end], "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(low) || !(high.is_empty() || digits(high)) {
        return Ok(None);
    }
    for n in [low, high] {
        if !n.is_empty() && n.parse::<u32>().map_or(true, |n| n > REPEAT_MAX) {
            return Err(PatternError(format!("invalid repeat count: `{{{}}}`", &text[..end])));
        }
    }
    Ok(Some(end + 1))
}

/// Groups may set the flags `i m s U`, and be named; what else the engine knows is no RE2.
fn check_flags(after: &str, expression: &str) -> Result<(), PatternError> {
    let flags = &after[1..];
    if flags.starts_with("P<") || flags.starts_with('<') {
        return Ok(());
    }
    let end = flags.find([':', ')']).unwrap_or(flags.len());
    if flags[..end].chars().all(|c| "imsU-".contains(c)) {
        Ok(())
    } else {
        Err(PatternError(format!("invalid or unsupported Perl syntax: `{expression}`")))
    }
}

/// What follows a backslash.
fn escape<'a>(rest: &'a str, out: &mut String, in_class: bool) -> &'a str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[c.len_utf8()..];
    let (plain, inside) = match c {
        'd' => ("[0-9]", "0-9"),
        'D' => ("[^0-9]", "[^0-9]"),
        'w' => ("[0-9A-Za-z_]", "0-9A-Za-z_"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        's' => ("[\\t\\n\\f\\r ]", "\\t\\n\\f\\r "),
        'S' => ("[^\\t\\n\\f\\r ]", "[^\\t\\n\\f\\r ]"),
        'b' if !in_class => ("(?-u:\\b)", ""),
        'B' if !in_class => ("(?-u:\\B)", ""),
        'Q' if !in_class => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            return after;
        }
        'E' if !in_class => return after,
        // The engine takes them for the ends of words.
        '<' => ("<", "<"),
        '>' => (">", ">"),
        'p' | 'P' if after.starts_with("{^") => {
            out.push_str(if c == 'p' { "\\P{" } else { "\\p{" });
            let end = after.find('}').map_or(after.len(), |end| end + 1);
            out.push_str(&after[2..end]);
            return &after[end..];
        }
        'x' | 'p' | 'P' if after.starts_with('{') => {
            let end = after.find('}').map_or(after.len(), |end| end + 1);
            out.push('\\');
            out.push(c);
            out.push_str(&after[..end]);
            return &after[end..];
        }
        c => {
            out.push('\\');
            out.push(c);
            return after;
        }
    };
    out.push_str(if in_class { inside } else { plain });
    after
}

/// What follows an opening bracket, to the closing one.
fn class<'a>(mut rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return after;
            }
            ']' => out.push_str("\\]"),
            '[' if after.starts_with(':') => match after.find(":]") {
                Some(end) => {
                    out.push_str(&rest[..end + 3]);
                    rest = &after[end + 2..];
                    first = false;
                    continue;
                }
                None => out.push_str("\\["),
            },
            '[' => out.push_str("\\["),
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // A dash at either end is a dash; `--` has a meaning of its own to the engine.
            '-' if first || after.starts_with(']') => out.push_str("\\-"),
            '\\' => {
                rest = escape(after, out, true);
                first = false;
                continue;
            }
            c => out.push(c),
        }
        first = false;
        rest = after;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(expression: &str, text: &str) -> bool {
        Pattern::new(expression).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn expressions_mean_what_they_mean_in_re2() {
        for (expression, text, want) in [
            ("w.b", "my web", true),
            (r"^\d+$", "123", true),
            (r"^\d$", "٣", false),
            (r"^\w+$", "é", false),
            (r"[\d]x", "5x", true),
            (r"[^\w]", "_", false),
            (r"[\D]", "5", false),
            (r"\bfoo\b", "a foo b", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b", "axb", false),
            ("[[a]", "[", true),
            ("[a&&b]", "&", true),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            ("[a-]", "-", true),
            ("[[:alpha:]]+", "abc", true),
            ("a{,2}", "a{,2}", true),
            ("a{2}", "aa", true),
            ("x{2,}?", "xx", true),
            (r"\pL", "é", true),
            ("(?i)S1", "s1", true),
            ("(?P<n>a)b", "ab", true),
            (r"\x{e9}", "é", true),
            (r"\101", "A", true),
            (r"\<a\>", "<a>", true),
            (r"[\<]", "<", true),
            (r"\p{^L}", "é", false),
            (r"[\P{^L}]", "é", true),
            ("", "anything", true),
        ] {
            assert_eq!(is_match(expression, text), want, "{expression} in {text}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for expression in ["(", "[a", "a**", "a+*", "a{2}{3}", "a{1001}", "(?x)a", "(?=a)", r"\", "*"] {
            assert!(Pattern::new(expression).is_err(), "{expression}");
        }
        assert!(Pattern::new(&"a".repeat(PATTERN_MAX + 1)).is_err());
        let error = Pattern::new("(").unwrap_err().to_string();
        assert!(error.starts_with("error parsing regexp: ") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn anchors_bind_to_the_ends_of_an_alternation() {
        let p = Pattern::anchored("ali|zz").unwrap();
        assert!(p.matches(b"alive") && p.matches(b"fizz") && !p.matches(b"zzz!"));
        assert!(!Pattern::anchored("s1").unwrap().matches(b"s10"));
        assert!(Pattern::anchored("").unwrap().matches(b""));
    }
}
