//! Plots, as small SVG files.

use std::fmt::Write as _;
use std::time::Duration;

use super::measure::{Latencies, show};

/// A line of a plot: its name, and points between 0 and 1 from the lower left corner.
struct Line<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// Which share of the calls took at most how long; times grow tenfold from mark to mark.
pub(super) fn latencies(title: &str, measured: &[(&str, &Latencies)]) -> String {
    let power = |time: &Duration| (time.as_nanos().max(1) as f64).log10();
    let sorted: Vec<Vec<Duration>> = measured.iter().map(|(_, latencies)| latencies.sorted()).collect();
    let powers = || sorted.iter().flatten().map(power);
    let least = powers().fold(f64::MAX, f64::min).min(LONGEST - 1.0).floor();
    let most = powers().fold(least + 1.0, f64::max).min(LONGEST).ceil();
    let place = |time: &Duration| (power(time) - least) / (most - least);
    let lines = measured.iter().zip(&sorted).map(|((name, _), sorted)| {
        let step = (sorted.len() / 500).max(1);
        let count = sorted.len() as f64;
        let points = sorted.iter().enumerate();
        let points = points.filter(|(rank, _)| rank % step == 0 || rank + 1 == sorted.len());
        Line {
            name,
            points: points
                .map(|(rank, time)| (place(time), (rank + 1) as f64 / count))
                .collect(),
        }
    });
    let marks = (least as u32..=most as u32).map(|power| {
        let time = Duration::from_nanos(10_u64.pow(power));
        (place(&time), show(time).replace(".00", "").replace(".0", ""))
    });
    let axes = [
        "share of the calls that took at most so long",
        "time of a call, each mark ten times the one before",
    ];
    plot(
        title,
        axes,
        &lines.collect::<Vec<_>>(),
        &marks.collect::<Vec<_>>(),
    )
}

/// Ratios over time, in equal steps.
pub(super) fn ratios(title: &str, measured: &[(&str, &[f64])], hours: f64) -> String {
    let lines = measured.iter().map(|(name, ratios)| {
        let last = ratios.len().saturating_sub(1).max(1) as f64;
        let points = ratios.iter().enumerate();
        Line {
            name,
            points: points.map(|(step, ratio)| (step as f64 / last, *ratio)).collect(),
        }
    });
    let marks = (0..=4).map(|quarter| {
        let share = f64::from(quarter) / 4.0;
        (share, format!("{:.0} min", 60.0 * hours * share))
    });
    let axes = ["share of the requests that were hits", "time of the log"];
    plot(
        title,
        axes,
        &lines.collect::<Vec<_>>(),
        &marks.collect::<Vec<_>>(),
    )
}

fn plot(title: &str, [up, along]: [&str; 2], lines: &[Line<'_>], marks: &[(f64, String)]) -> String {
    let (x, y) = (
        |at: f64| LEFT + at.clamp(0.0, 1.0) * WIDTH,
        |at: f64| TOP + (1.0 - at) * HEIGHT,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 400\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"720\" height=\"400\" fill=\"#fff\"/><text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\
         <text x=\"{LEFT}\" y=\"42\" fill=\"#555\">{up}</text>\
         <text x=\"{}\" y=\"{}\" fill=\"#555\" text-anchor=\"middle\">{along}</text>\n",
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 38.0
    );
    let mut add = |element: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = svg.write_fmt(element);
    };
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let at = y(share);
        add(format_args!(
            "<path d=\"M{LEFT} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/>"
        ));
        add(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>\n",
            LEFT - 6.0,
            at + 4.0,
            share * 100.0
        ));
    }
    for (at, label) in marks {
        let at = x(*at);
        add(format_args!(
            "<path d=\"M{at:.1} {TOP}v{HEIGHT}\" stroke=\"#eee\"/>"
        ));
        add(format_args!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
            TOP + HEIGHT + 18.0
        ));
    }
    for (number, Line { name, points }) in lines.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|(at, share)| format!("{:.1},{:.1}", x(*at), y(*share)))
            .collect();
        add(format_args!(
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        ));
        let left = LEFT + 170.0 * number as f64;
        add(format_args!(
            "<rect x=\"{left}\" y=\"382\" width=\"12\" height=\"4\" fill=\"{color}\"/>"
        ));
        add(format_args!(
            "<text x=\"{}\" y=\"388\">{name}</text>\n",
            left + 18.0
        ));
    }
    svg + "</svg>\n"
}

const LEFT: f64 = 56.0;
const TOP: f64 = 52.0;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 270.0;
/// 1,000 s, as a power of ten in nanoseconds.
const LONGEST: f64 = 12.0;
const COLORS: [&str; 4] = ["#c0392b", "#1f77b4", "#2e8b57", "#8e44ad"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element is closed, and every point lies within the picture.
    #[track_caller]
    fn check(svg: &str, lines: usize) {
        let opened = svg.matches('<').count() - svg.matches("</").count();
        assert_eq!(
            opened,
            svg.matches("/>").count() + svg.matches("</").count(),
            "{svg}"
        );
        let points: Vec<_> = svg
            .split("points=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(points.len(), lines);
        for point in points
            .iter()
            .flat_map(|points| points.split(' '))
            .filter(|point| !point.is_empty())
        {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (0.0..=720.0).contains(&x) && (0.0..=400.0).contains(&y),
                "{point}"
            );
        }
    }

    #[test]
    fn plots_are_whole_and_within_their_frame() {
        let mut measured = Latencies::default();
        for nanos in [1, 1_000, 1_000_000, 100_000_000_000_000] {
            measured.add(Duration::from_nanos(nanos));
        }
        check(
            &latencies("times", &[("one", &measured), ("none", &Latencies::default())]),
            2,
        );
        check(
            &ratios(
                "ratios",
                &[("one", &[0.0, 0.5, 1.0]), ("single", &[1.0]), ("none", &[])],
                2.0,
            ),
            3,
        );
    }
}
