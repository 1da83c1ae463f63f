//! What an experiment found: a table for people, JSON for programs, and a plot.

mod axis;
mod svg;
mod text;

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use self::axis::Axis;
pub use self::text::Signs;
use crate::args::{Args, ArgsError, Flag};

/// The flags that say where a report goes.
pub const FLAGS: &[Flag] = &[
    Flag {
        name: "json",
        default: "",
        help: "write the result as JSON to this file, or to standard output for -",
    },
    Flag { name: "svg", default: "", help: "write a plot to this file" },
];

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The experiment's name.
    pub name: &'static str,
    /// The columns' names, with units.
    pub columns: Vec<String>,
    /// The rows: numbers, texts, or null where there is nothing.
    pub rows: Vec<Vec<Value>>,
    /// What else is to be said, a line each.
    pub notes: Vec<String>,
    /// The plot.
    pub plot: Plot,
}

/// Lines over numbers.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// What is on the horizontal axis.
    pub x: &'static str,
    /// What is on the vertical axis.
    pub y: &'static str,
    /// Whether equal distances are equal factors.
    pub log: (bool, bool),
    /// Each line's name and points.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Plot {
    /// Adds a point to the line of this name.
    pub fn point(&mut self, line: &str, x: f64, y: f64) {
        match self.lines.iter_mut().find(|(name, _)| name == line) {
            Some((_, points)) => points.push((x, y)),
            None => self.lines.push((line.to_owned(), vec![(x, y)])),
        }
    }

    /// As a picture, an SVG file.
    #[must_use]
    pub fn svg(&self, title: &str) -> String {
        svg::draw(title, self)
    }

    /// As text with so many columns and rows, axes and their names not counted.
    #[must_use]
    pub fn text(&self, columns: usize, rows: usize, signs: Signs) -> String {
        text::draw(self, columns, rows, signs)
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.lines.iter().flat_map(|(_, points)| points.iter().copied());
        (Axis::new(points().map(|p| p.0), self.log.0), Axis::new(points().map(|p| p.1), self.log.1))
    }
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(name: &'static str, columns: &[&str]) -> Self {
        Self { name, columns: columns.iter().map(|c| (*c).to_owned()).collect(), ..Self::default() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Value>) {
        self.rows.push(cells);
    }

    /// As a table in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let text = |cell: &Value| match cell {
            Value::Null => "–".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or_default()),
            Value::Number(n) => thousands(&n.to_string()),
            other => other.to_string(),
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(text).collect()).collect();
        let width = |i: usize| {
            let cells = rows.iter().filter_map(|row| row.get(i)).chain([&self.columns[i]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut out = String::new();
        let mut line = |cells: &[String]| {
            for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                let _ = if i == 0 { write!(out, "| {cell}{pad} ") } else { write!(out, "| {pad}{cell} ") };
            }
            out.push_str("|\n");
        };
        line(&self.columns);
        let rule = |(i, w): (usize, &usize)| {
            if i == 0 { "-".repeat(*w) } else { format!("{}:", "-".repeat(w.saturating_sub(1))) }
        };
        line(&widths.iter().enumerate().map(rule).collect::<Vec<_>>());
        rows.iter().for_each(|row| line(row));
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        out
    }

    /// As JSON, with the flags it was made with.
    #[must_use]
    pub fn json(&self, args: &Args) -> Value {
        let rows = self.rows.iter().map(|row| {
            let cells = self.columns.iter().cloned().zip(row.iter().cloned());
            Value::Object(cells.collect::<Map<_, _>>())
        });
        let flags: Map<_, _> = args.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({ "experiment": self.name, "flags": flags, "rows": rows.collect::<Vec<_>>(), "notes": self.notes })
    }

    /// Prints the table, and writes the files that are asked for.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn publish(&self, args: &Args) -> Result<(), ArgsError> {
        let write = |flag: &str, text: String| match args.text(flag) {
            "" => Ok(()),
            "-" => {
                println!("{text}");
                Ok(())
            }
            path => std::fs::write(Path::new(path), text)
                .map_err(|why| ArgsError(format!("--{flag} {path}: {why}"))),
        };
        if args.text("json") != "-" {
            println!("{}", self.table());
        }
        write("json", format!("{:#}", self.json(args)))?;
        write("svg", self.plot.svg(self.name))
    }
}

/// Three digits that mean something, and no more.
pub(crate) fn number(n: f64) -> String {
    match n.abs() {
        0.0 => "0".to_owned(),
        a if a >= 100.0 => thousands(&format!("{n:.0}")),
        a if a >= 10.0 => format!("{n:.1}"),
        a if a >= 0.1 => format!("{n:.2}"),
        _ => format!("{n:.4}"),
    }
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut out = sign.to_owned();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_table_json_and_a_plot() {
        let mut report = Report::new("demo", &["nodes", "seconds"]);
        report.row(vec![json!(1000), json!(1.234)]);
        report.row(vec![json!(10), Value::Null]);
        report.plot.point("a", 1.0, 2.0);
        report.plot.point("a", 10.0, 20.0);
        report.plot.log = (true, true);
        assert_eq!(
            report.table(),
            "| nodes | seconds |\n| ----- | ------: |\n| 1,000 |    1.23 |\n| 10    |       – |\n"
        );
        let args = Args::parse(&[FLAGS], []).unwrap();
        assert_eq!(report.json(&args)["rows"][0]["nodes"], 1000);
        let svg = report.plot.svg("demo");
        assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_plot_is_readable_as_text() {
        let mut plot = Plot { x: "seconds", y: "%", log: (true, false), lines: Vec::new() };
        for (x, y) in [(0.1, 0.0), (1.0, 50.0), (10.0, 100.0)] {
            plot.point("a", x, y);
        }
        plot.point("b", 1.0, 100.0);
        let lines = [
            "%",
            "100 +          o         *",
            "    |",
            " 80 +",
            "    |",
            " 60 +",
            "    |          *",
            " 40 +",
            "    |",
            " 20 +",
            "    |",
            "  0 +*",
            "    +---------------------",
            "    0.1        1        10  seconds",
            "     * a   o b\n",
        ];
        assert_eq!(plot.text(21, 11, Signs::Ascii), lines.join("\n"));
        assert!(!plot.text(21, 5, Signs::Unicode).is_ascii());
        // Nothing to draw is no reason to fail.
        assert!(Plot::default().text(0, 0, Signs::Ascii).contains('+'));
    }

    #[test]
    fn numbers_are_short() {
        for (n, text) in
            [(0.0, "0"), (0.01234, "0.0123"), (1.2345, "1.23"), (12.345, "12.3"), (-1234567.0, "-1,234,567")]
        {
            assert_eq!(number(n), text);
        }
    }
}
