//! What was measured: rows against the figures by hand, sections with their tables, plots; on the screen and in `report.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// A row of the comparison with the figures of those who wrote it by hand.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) system: &'static str,
    pub(super) what: &'static str,
    pub(super) theirs: &'static str,
    pub(super) goal: &'static str,
    pub(super) ours: String,
    pub(super) ratio: String,
    pub(super) met: Met,
}

/// Whether a goal was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Yes,
    No,
    /// What it needs was not there.
    NotRun,
    /// A time, or a share, while Redis is killed again and again.
    NotJudged,
}

/// Everything that was measured so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    sections: Vec<String>,
    plots: Vec<(&'static str, String)>,
    is_disturbed: bool,
}

impl Report {
    /// For a run in which Redis is killed again and again: then nobody promises figures, only that all goes on and is right.
    pub(super) fn new(is_disturbed: bool) -> Self {
        Self {
            is_disturbed,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// A row that could not be measured, and why.
    pub(super) fn not_run(
        &mut self,
        system: &'static str,
        what: &'static str,
        goal: &'static str,
        why: &str,
    ) {
        self.add(Row {
            system,
            what,
            theirs: "-",
            goal,
            ours: why.to_owned(),
            ratio: "-".to_owned(),
            met: Met::NotRun,
        });
    }

    /// A figure that holds while all is well.
    pub(super) fn figure(&self, holds: bool) -> Met {
        match (self.is_disturbed, holds) {
            (true, _) => Met::NotJudged,
            (false, true) => Met::Yes,
            (false, false) => Met::No,
        }
    }

    /// What holds whatever becomes of Redis.
    pub(super) fn promise(&self, holds: bool) -> Met {
        if holds { Met::Yes } else { Met::No }
    }

    pub(super) fn section(&mut self, text: String) {
        self.sections.push(text);
    }

    pub(super) fn plot(&mut self, name: &'static str, svg: String) {
        self.plots.push((name, svg));
    }

    /// The goals that were missed.
    pub(super) fn missed(&self) -> Vec<&'static str> {
        let missed = self.rows.iter().filter(|row| row.met == Met::No);
        missed.map(|row| row.what).collect()
    }

    /// The whole report, in Markdown.
    pub(super) fn text(&self, preamble: &str) -> String {
        let mut text = format!("# Comparison\n\n{preamble}\n\n{}", rows(&self.rows));
        text += "\nThe figures by hand are those that the teams reported of their own services, where they had one; the \
                 ratio is between what was measured side by side here, where there is something beside it.\n";
        for section in &self.sections {
            text += "\n";
            text += section;
        }
        text
    }

    /// Writes `report.md` and the plots.
    pub(super) fn write(&self, folder: &Path, text: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("report.md"), text)?;
        self.plots
            .iter()
            .try_for_each(|(name, plot)| std::fs::write(folder.join(name), plot))
    }
}

/// How many times faster.
pub(super) fn times(before: Duration, now: Duration) -> String {
    format!("{:.0} ×", before.as_secs_f64() / now.as_secs_f64().max(1e-9))
}

/// A table in Markdown, its columns as wide as their contents.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let mut text = line(&mut head.iter().copied());
    let _ = writeln!(
        text,
        "|{}",
        widths
            .iter()
            .map(|width| format!("{}|", "-".repeat(width + 2)))
            .collect::<String>()
    );
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

fn rows(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let met = match row.met {
                Met::Yes => "yes",
                Met::No => "**no**",
                Met::NotRun => "not run",
                Met::NotJudged => "not judged",
            };
            vec![
                row.system.to_owned(),
                row.what.to_owned(),
                row.theirs.to_owned(),
                row.goal.to_owned(),
                row.ours.clone(),
                row.ratio.clone(),
                met.to_owned(),
            ]
        })
        .collect();
    table(&["", "figure", "by hand", "goal", "here", "ratio", "met"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["µ".to_owned(), "long".to_owned()],
            vec!["bb".to_owned(), String::new()],
        ];
        let expected = "| a  | b    |\n|----|------|\n| µ  | long |\n| bb |      |\n";
        assert_eq!(table(&["a", "b"], &rows), expected);
    }

    #[test]
    fn a_goal_that_is_missed_is_told() {
        let row = |met| Row {
            system: "B",
            what: "signal",
            theirs: "2 s",
            goal: "< 5 ms",
            ours: "6 ms".to_owned(),
            ratio: "333 ×".to_owned(),
            met,
        };
        for (met, told) in [
            (Met::Yes, "| yes"),
            (Met::No, "| **no**"),
            (Met::NotRun, "| not run"),
            (Met::NotJudged, "| not judged"),
        ] {
            assert!(rows(&[row(met)]).contains(told));
        }
    }

    #[test]
    fn while_redis_is_killed_promises_are_judged_and_figures_are_not() {
        let (calm, disturbed) = (Report::new(false), Report::new(true));
        assert_eq!((calm.figure(true), calm.figure(false)), (Met::Yes, Met::No));
        assert_eq!(
            (disturbed.figure(true), disturbed.figure(false)),
            (Met::NotJudged, Met::NotJudged)
        );
        assert_eq!(
            (disturbed.promise(true), disturbed.promise(false)),
            (Met::Yes, Met::No)
        );
    }
}
