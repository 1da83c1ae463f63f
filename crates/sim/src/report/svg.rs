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

/// The whole picture.
pub(super) fn draw(title: &str, plot: &Plot) -> String {
    let (x, y) = plot.axes();
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
