//! Lines over numbers as an SVG picture: axes with round ticks, linear or logarithmic, and a legend.

use std::fmt::Write;

use super::{Plot, number};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
/// Told apart by those who do not see colours alike, too (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = usable.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return Self { low: 1.0, high: 10.0, log };
        }
        if log {
            let (low, mut high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
            if low >= high {
                high = low * 10.0;
            }
            return Self { low, high, log };
        }
        let low = low.min(0.0);
        Self { low, high: if high > low { high } else { low + 1.0 }, log }
    }

    /// From 0 to 1.
    fn place(&self, v: f64) -> Option<f64> {
        if !v.is_finite() || (self.log && v <= 0.0) {
            return None;
        }
        Some(if self.log {
            (v / self.low).log10() / (self.high / self.low).log10()
        } else {
            (v - self.low) / (self.high - self.low)
        })
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|d| self.low * 10_f64.powi(d)).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|i| i as f64 * step).take_while(|v| *v <= self.high * 1.000_001).collect()
    }
}

/// The whole picture.
pub(super) fn draw(title: &str, plot: &Plot) -> String {
    let points = || plot.lines.iter().flat_map(|(_, points)| points.iter().copied());
    let x = Axis::new(points().map(|p| p.0), plot.log.0);
    let y = Axis::new(points().map(|p| p.1), plot.log.1);
    let (w, h) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let at = |p: (f64, f64)| Some((LEFT + w * x.place(p.0)?, TOP + h * (1.0 - y.place(p.1)?)));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>\n",
        escape(title)
    );
    for tick in x.ticks() {
        let Some(place) = x.place(tick) else { continue };
        let px = LEFT + w * place;
        let _ = writeln!(
            out,
            "<path d=\"M{px:.1} {TOP}V{:.1}\" stroke=\"#ddd\"/><text x=\"{px:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            TOP + h,
            TOP + h + 18.0,
            number(tick)
        );
    }
    for tick in y.ticks() {
        let Some(place) = y.place(tick) else { continue };
        let py = TOP + h * (1.0 - place);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {py:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            LEFT + w,
            LEFT - 8.0,
            py + 4.0,
            number(tick)
        );
    }
    let _ = writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"#444\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
         <text x=\"18\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {:.1})\">{}</text>",
        LEFT + w / 2.0,
        HEIGHT - 16.0,
        escape(plot.x),
        TOP + h / 2.0,
        TOP + h / 2.0,
        escape(plot.y)
    );
    for (i, (name, points)) in plot.lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let dash = if i < COLOURS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
        let places: Vec<(f64, f64)> = points.iter().filter_map(|p| at(*p)).collect();
        let path: Vec<String> = places.iter().map(|(px, py)| format!("{px:.1},{py:.1}")).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            path.join(" ")
        );
        if places.len() <= 40 {
            for (px, py) in places {
                let _ = writeln!(out, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
        let (lx, ly) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 20.0 * i as f64);
        let _ = writeln!(
            out,
            "<path d=\"M{lx} {ly}h22\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/><text x=\"{:.1}\" \
             y=\"{:.1}\">{}</text>",
            lx + 28.0,
            ly + 4.0,
            escape(name)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
