//! Tables for people: a heading, columns as wide as a terminal shows them, and colours.

use unicode_width::UnicodeWidthStr;

/// How a text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Look {
    /// The parameter of the escape sequence that begins it.
    fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain => return None,
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        })
    }

    /// The text with what makes a terminal show it like this, if it has colours at all.
    pub(crate) fn on(self, text: &str, colours: bool) -> String {
        match self.code() {
            Some(code) if colours && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// One field: a text that a terminal can be shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, look: Look) -> Self {
        Self { text: text.into(), look }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Look::Plain)
    }
}

/// Rows below a heading, all of the same length.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&name| Cell::new(name, Look::Bold)).collect()] }
    }

    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.rows[0].len());
        self.rows.push(row);
    }

    /// The lines, without a break after the last, and without blanks at their ends.
    pub(crate) fn render(&self, colours: bool) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].text.width()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut lines = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut line = String::new();
            // Blanks are owed until something follows them.
            let mut owed = 0;
            for (cell, width) in row.iter().zip(&widths) {
                if !cell.text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', owed));
                    line += &cell.look.on(&cell.text, colours);
                    owed = 0;
                }
                owed += width - cell.text.width() + 2;
            }
            lines.push(line);
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_look() {
        let mut table = Table::new(&["NAME", "STATUS", "TAGS"]);
        table.push(vec!["\u{6771}\u{4eac}".into(), "alive".into(), "a=b".into()]);
        table.push(vec!["e\u{301}a".into(), Cell::new("failed", Look::Red), "".into()]);
        table.push(vec!["".into(), "left".into(), "c=d".into()]);
        assert_eq!(
            table.render(false),
            "NAME  STATUS  TAGS\n\u{6771}\u{4eac}  alive   a=b\ne\u{301}a    failed\n      left    c=d"
        );
    }

    #[test]
    fn colours_take_no_room() {
        let mut table = Table::new(&["A", "B"]);
        table.push(vec![Cell::new("x", Look::Green), Cell::new("", Look::Dim)]);
        table.push(vec![Cell::new("long", Look::Plain), Cell::new("y", Look::Dim)]);
        assert_eq!(
            table.render(true),
            "\x1b[1mA\x1b[0m     \x1b[1mB\x1b[0m\n\x1b[32mx\x1b[0m\nlong  \x1b[2my\x1b[0m"
        );
    }
}
