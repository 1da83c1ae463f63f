//! Lines over numbers as text, for a terminal.

use super::{Plot, number};

/// The signs of which a plot is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// Those of every terminal, printer and log.
    Ascii,
    /// Finer ones.
    Unicode,
}

/// What stands for the frame, and for the lines in their order.
struct Set {
    side: char,
    tick: char,
    corner: char,
    base: char,
    marks: [char; 4],
}

const ASCII: Set = Set { side: '|', tick: '+', corner: '+', base: '-', marks: ['*', 'o', 'x', '#'] };
const UNICODE: Set = Set {
    side: '\u{2502}',
    tick: '\u{2524}',
    corner: '\u{2514}',
    base: '\u{2500}',
    marks: ['\u{2022}', '\u{25e6}', '\u{d7}', '\u{25aa}'],
};

/// The plot in so many columns and rows of marks, with its axes and their names around it.
pub(super) fn draw(plot: &Plot, width: usize, height: usize, signs: Signs) -> String {
    let set = if signs == Signs::Ascii { ASCII } else { UNICODE };
    let (width, height) = (width.max(10), height.max(3));
    let (x, y) = plot.axes();
    let cell = |place: f64, cells: usize| (place * (cells - 1) as f64).round() as usize;
    let mut rows = vec![vec![' '; width]; height];
    for (i, (_, points)) in plot.lines.iter().enumerate() {
        for point in points {
            let Some((px, py)) = x.place(point.0).zip(y.place(point.1)) else { continue };
            rows[height - 1 - cell(py, height)][cell(px, width)] = set.marks[i % set.marks.len()];
        }
    }
    let mut left = vec![String::new(); height];
    for tick in y.ticks() {
        if let Some(place) = y.place(tick) {
            left[height - 1 - cell(place, height)] = brief(tick);
        }
    }
    let margin = left.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let mut out = format!("{}\n", plot.y);
    for (text, row) in left.iter().zip(rows) {
        let side = if text.is_empty() { set.side } else { set.tick };
        let line: String = row.into_iter().collect();
        out += format!("{text:>margin$} {side}{line}").trim_end();
        out.push('\n');
    }
    let base: String = std::iter::repeat_n(set.base, width).collect();
    out += &format!("{:margin$} {}{base}\n", "", set.corner);
    // Each number below its place, unless it would run into the one before or out of the frame.
    let mut below = String::new();
    for tick in x.ticks() {
        let (Some(place), text) = (x.place(tick), brief(tick)) else { continue };
        let at = (margin + 2 + cell(place, width)).saturating_sub(text.len() / 2);
        if below.is_empty() || at > below.len() {
            below += &format!("{:1$}{text}", "", at - below.len());
        }
    }
    out += &format!("{below}  {}\n", plot.x);
    let legend = plot.lines.iter().enumerate();
    let legend: Vec<String> =
        legend.map(|(i, (name, _))| format!("{} {name}", set.marks[i % set.marks.len()])).collect();
    out + &format!("{:1$}{2}\n", "", margin + 2, legend.join("   "))
}

/// Without zeros at the end.
fn brief(n: f64) -> String {
    let text = number(n);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
