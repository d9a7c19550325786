//! Rows of results, as JSON for machines and as a table for people.

use std::fmt;
use std::io::Write;

use serde::{Deserialize, Serialize};

/// All rows, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One comparison. Without a peer, the row stands for itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) area: String,
    pub(crate) case: String,
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    pub(crate) peer_name: Option<String>,
    pub(crate) ratio: Option<f64>,
    pub(crate) unit: String,
    /// Distance between the quartiles of the ratio (without a peer: of the figure), as a share of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<Budget>,
    /// The row is one point of a series that has a law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) point: Option<Point>,
}

/// Where a row lies in a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) series: String,
    /// What grows, and how much of it there is here.
    pub(crate) by: String,
    pub(crate) at: f64,
}

/// What we promise about a row.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Budget {
    /// Ours is at most so many times the peer's.
    RatioAtMost(f64),
    /// Ours is at least so many times the peer's: for throughput.
    RatioAtLeast(f64),
    /// Ours is at most so much.
    AtMost(f64),
}

impl Row {
    pub(crate) fn new(area: &'static str, case: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Self {
            area: area.to_owned(),
            case: case.into(),
            ours,
            peer: None,
            peer_name: None,
            ratio: None,
            unit: unit.to_owned(),
            spread: None,
            budget: None,
            point: None,
        }
    }

    /// Compares with a peer; the ratio is that of the two numbers.
    pub(crate) fn against(mut self, peer_name: &'static str, peer: f64) -> Self {
        self.peer = Some(peer);
        self.peer_name = Some(peer_name.to_owned());
        self.ratio = (peer != 0.0).then_some(self.ours / peer);
        self
    }

    /// Replaces the ratio by one that was formed round by round, and says how far the rounds differ.
    pub(crate) fn ratio(mut self, ratio: f64, spread: f64) -> Self {
        self.ratio = Some(ratio);
        self.spread = Some(spread);
        self
    }

    /// How far the rounds differ in a figure without a peer.
    pub(crate) fn spread(mut self, spread: f64) -> Self {
        self.spread = Some(spread);
        self
    }

    /// Makes it a point of a series.
    pub(crate) fn point(mut self, series: &str, by: &str, at: f64) -> Self {
        self.point = Some(Point {
            series: series.to_owned(),
            by: by.to_owned(),
            at,
        });
        self
    }

    pub(crate) fn budget(mut self, budget: impl Into<Option<Budget>>) -> Self {
        self.budget = budget.into();
        self
    }
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn extend(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn print(&self, json: bool) {
        // Whoever reads may have read enough.
        let mut out = std::io::stdout();
        let _ = match json {
            true => writeln!(out, "{}", self.json()),
            false => write!(out, "{self}"),
        };
    }

    fn json(&self) -> String {
        serde_json::to_string_pretty(&self.rows).expect("rows are plain numbers and texts")
    }
}

impl Budget {
    pub(crate) fn verdict(self, row: &Row) -> String {
        let (value, bound, met) = match self {
            Self::RatioAtMost(bound) => (row.ratio, bound, row.ratio.is_some_and(|ratio| ratio <= bound)),
            Self::RatioAtLeast(bound) => (row.ratio, bound, row.ratio.is_some_and(|ratio| ratio >= bound)),
            Self::AtMost(bound) => (Some(row.ours), bound, row.ours <= bound),
        };
        match value {
            _ if met => "met".to_owned(),
            Some(value) if bound != 0.0 => format!("missed by {:.0} %", (value / bound - 1.0).abs() * 100.0),
            Some(value) => format!("missed by {value}"),
            None => "no ratio".to_owned(),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(bound) => write!(f, "≤ {bound} ×"),
            Self::RatioAtLeast(bound) => write!(f, "≥ {bound} ×"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![
            [
                "area", "case", "ours", "peer", "", "unit", "ratio", "spread", "budget", "",
            ]
            .map(str::to_owned),
        ];
        lines.extend(self.rows.iter().map(cells));
        let widths: Vec<_> = (0..COLUMNS)
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for line in &lines {
            let mut text = String::new();
            for ((cell, &width), numeric) in line.iter().zip(&widths).zip(NUMERIC) {
                let padding = " ".repeat(width - cell.chars().count());
                text += &if numeric {
                    format!("{padding}{cell}  ")
                } else {
                    format!("{cell}{padding}  ")
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

fn cells(row: &Row) -> [String; COLUMNS] {
    [
        row.area.clone(),
        row.case.clone(),
        number(row.ours),
        row.peer.map(number).unwrap_or_default(),
        row.peer_name.clone().unwrap_or_default(),
        row.unit.clone(),
        row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        row.spread
            .map(|spread| format!("{:.0} %", spread * 100.0))
            .unwrap_or_default(),
        row.budget.map(|budget| budget.to_string()).unwrap_or_default(),
        row.budget.map(|budget| budget.verdict(row)).unwrap_or_default(),
    ]
}

pub(crate) fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

const COLUMNS: usize = 10;
const NUMERIC: [bool; COLUMNS] = [false, false, true, true, false, false, true, true, false, false];
