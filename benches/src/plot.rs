//! Plots as SVG, drawn by hand: small, and readable on light and dark pages.

use std::fmt::Write;

use crate::law::Law;
use crate::report::{Budget, Row, number};

/// Bars of the ratios of an area, on a logarithmic axis; a line marks "as the peer", a tick the budget.
pub(crate) fn ratios(area: &str, rows: &[&Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.ratio.filter(|ratio| *ratio > 0.0)?)))
        .collect();
    let budget = |row: &Row| match row.budget {
        Some(Budget::RatioAtMost(bound) | Budget::RatioAtLeast(bound)) => Some(bound),
        _ => None,
    };
    let all = || {
        rows.iter()
            .flat_map(|(row, ratio)| [Some(*ratio), budget(row)])
            .flatten()
    };
    let (low, high) = (all().fold(0.5, f64::min), all().fold(2.0, f64::max));
    let x = |value: f64| LABELS + (value / low).ln() / (high / low).ln() * BARS;
    let height = 50 + rows.len() * 18;
    let mut svg = head(
        LABELS + BARS + 70.0,
        height as f64,
        &format!("{area}: ours / peer"),
    );
    for ((row, ratio), line) in rows.iter().zip(0..) {
        let y = 40 + line * 18;
        let (from, to) = (x(1.0).min(x(*ratio)), x(1.0).max(x(*ratio)));
        let label = escape(&format!(
            "{} / {}",
            row.case,
            row.peer_name.as_deref().unwrap_or_default()
        ));
        let _ = write!(
            svg,
            "<text x='{:.0}' y='{}' text-anchor='end'>{label}</text><rect x='{from:.1}' y='{y}' width='{:.1}' height='12' \
             fill='#4a7fb5'/><text x='{:.1}' y='{}'>{ratio:.2}</text>",
            LABELS - 6.0,
            y + 10,
            (to - from).max(1.0),
            to + 4.0,
            y + 10
        );
        if let Some(bound) = budget(row) {
            let at = x(bound);
            let _ = write!(
                svg,
                "<path d='M{at:.1} {}v16' stroke='#c0392b' stroke-width='2'/>",
                y - 2
            );
        }
    }
    let _ = write!(svg, "<path d='M{:.1} 32V{height}' stroke='#888'/></svg>", x(1.0));
    svg
}

/// The points of a series and the law fitted to them, on logarithmic axes.
pub(crate) fn series(name: &str, by: &str, unit: &str, points: &[(f64, f64)], law: Law) -> String {
    let range = |values: &dyn Fn() -> Vec<f64>| {
        let values = values();
        let (low, high) = (
            values.iter().copied().fold(f64::MAX, f64::min),
            values.iter().copied().fold(f64::MIN_POSITIVE, f64::max),
        );
        (low * 0.8, (high * 1.25).max(low * 4.0))
    };
    let shift = if points.iter().any(|(x, _)| *x == 0.0) {
        1.0
    } else {
        0.0
    };
    let xs = range(&|| points.iter().map(|(x, _)| x + shift).collect());
    let ys = range(&|| points.iter().map(|(_, y)| *y).collect());
    let place = |value: f64, (low, high): (f64, f64)| (value / low).ln() / (high / low).ln();
    let at = |x: f64, y: f64| (60.0 + place(x + shift, xs) * 360.0, 230.0 - place(y, ys) * 190.0);
    let mut svg = head(440.0, 270.0, &format!("{name}, {unit}"));
    svg += "<path d='M60 40V230H420' stroke='#888' fill='none'/>";
    for &(x, y) in points {
        let (px, py) = at(x, y);
        let _ = write!(
            svg,
            "<circle cx='{px:.1}' cy='{py:.1}' r='3.5' fill='#4a7fb5'/><text x='{px:.1}' y='{:.1}' text-anchor='middle'>{}</text>\
             <text x='{px:.1}' y='244' text-anchor='middle'>{}</text>",
            py - 8.0,
            number(y),
            short(x)
        );
    }
    let fitted: Vec<String> = points
        .windows(2)
        .flat_map(|pair| (0..8).map(move |step| pair[0].0 + (pair[1].0 - pair[0].0) * f64::from(step) / 7.0))
        .map(|x| (x, law.at(x)))
        .filter(|(_, y)| *y > ys.0 && *y < ys.1)
        .map(|(x, y)| at(x, y))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = write!(
        svg,
        "<polyline points='{}' fill='none' stroke='#c0392b' stroke-dasharray='4 3'/>\
         <text x='240' y='262' text-anchor='middle'>{}; {}</text></svg>",
        fitted.join(" "),
        escape(by),
        escape(&law.to_string())
    );
    svg
}

fn head(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0} {height:.0}' width='{width:.0}' height='{height:.0}' \
         font-family='sans-serif' font-size='11' fill='#777'><text x='8' y='20' font-size='14'>{}</text>",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => number(value),
    }
}

const LABELS: f64 = 430.0;
const BARS: f64 = 300.0;
