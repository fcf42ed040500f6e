//! Plots as SVG: bars from nothing on, with the least and the most of the rounds, and lines over a logarithmic axis.

use std::fmt::Write as _;

use super::figures::Spread;
use super::report::number;

/// Pixels: the whole, the labels on its left, what is left free on its right.
const WIDTH: f64 = 860.0;
const LABELS: f64 = 330.0;
const RIGHT: f64 = 90.0;
/// Pixels of one bar with its gap.
const ROW: f64 = 20.0;
/// Pixels of a line plot's height, and around it.
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 50.0;
/// Told apart by people who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

/// A bar.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    /// Bars of one group have one colour.
    pub(crate) group: usize,
    pub(crate) spread: Spread,
}

/// A line: its name and its points.
pub(crate) type Line = (String, Vec<(f64, f64)>);

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn begun(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"14\">{}</text>\n",
        escaped(title)
    )
}

fn colour(group: usize) -> &'static str {
    COLOURS.get(group % COLOURS.len()).copied().unwrap_or("black")
}

/// Bars below each other.
pub(crate) fn bars(title: &str, all: &[Bar]) -> String {
    let most = all.iter().map(|bar| bar.spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| (value / most).max(0.0) * (WIDTH - LABELS - RIGHT);
    let mut text = begun(34.0 + ROW * all.len() as f64, title);
    for (n, Bar { label, group, spread }) in all.iter().enumerate() {
        let top = 28.0 + ROW * n as f64;
        let (middle, width) = (top + ROW / 2.0, at(spread.median));
        let (from, to) = (LABELS + at(spread.least), LABELS + at(spread.most));
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
             <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"black\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LABELS - 6.0,
            middle + 4.0,
            escaped(label),
            top + 3.0,
            ROW - 6.0,
            colour(*group),
            to + 6.0,
            middle + 4.0,
            number(spread.median),
        );
    }
    text + "</svg>\n"
}

/// Lines; left to right is logarithmic, bottom to top begins at nothing.
pub(crate) fn lines(title: &str, across: &str, all: &[Line]) -> String {
    let points = || all.iter().flat_map(|(_, points)| points);
    let (least, most) =
        points().fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let top = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    let span = (most.ln() - least.ln()).max(f64::MIN_POSITIVE);
    let (wide, high) = (WIDTH - LABELS - MARGIN, HEIGHT - 2.0 * MARGIN);
    let x = |value: f64| MARGIN + (value.ln() - least.ln()) / span * wide;
    let y = |value: f64| HEIGHT - MARGIN - value / top * high;
    let mut text = begun(HEIGHT, title);
    let (left, bottom) = (MARGIN, HEIGHT - MARGIN);
    let _ = writeln!(
        text,
        "<path d=\"M{left} {MARGIN}V{bottom}H{:.1}\" fill=\"none\" stroke=\"black\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{}</text><text x=\"4\" y=\"{:.1}\">{}</text><text x=\"4\" y=\"{bottom}\">0</text>",
        left + wide,
        left + wide / 2.0,
        HEIGHT - 12.0,
        escaped(across),
        MARGIN + 4.0,
        number(top),
    );
    let mut ticks: Vec<f64> = points().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(tick),
            bottom + 18.0,
            number(tick)
        );
    }
    for (n, (name, points)) in all.iter().enumerate() {
        let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1} {:.1}", x(*a), y(*b))).collect();
        let (colour, row) = (colour(n), MARGIN + 18.0 * n as f64);
        let _ = writeln!(
            text,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{row:.1}\" fill=\"{colour}\">{}</text>",
            path.join("L"),
            left + wide + 12.0,
            escaped(name),
        );
        for (a, b) in points {
            let _ =
                writeln!(text, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*a), y(*b));
        }
    }
    text + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(svg: &str) -> Vec<f64> {
        let bars = svg.split("<rect ").filter(|part| part.starts_with("x="));
        bars.filter_map(|bar| bar.split("width=\"").nth(1)?.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn a_bar_is_as_long_as_its_median() {
        let bar = |label: &str, median: f64| Bar {
            label: label.to_owned(),
            group: 0,
            spread: Spread { least: median, median, most: median },
        };
        let svg = bars("a < b", &[bar("one", 10.0), bar("two", 5.0)]);
        assert!(svg.contains("a &lt; b"));
        let widths = widths(&svg);
        assert!((widths[0] - 2.0 * widths[1]).abs() < 0.2, "{widths:?}");
    }

    #[test]
    fn a_line_is_drawn_from_its_first_point_to_its_last() {
        let svg = lines("growth", "records", &[("hub".to_owned(), vec![(10.0, 1.0), (1000.0, 2.0)])]);
        assert!(svg.contains("M50.0 150.0L480.0 50.0") || svg.contains("M50.0 150.0L"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
