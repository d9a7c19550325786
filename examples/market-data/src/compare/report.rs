//! The tables, on the screen and in `report.md`.

use std::fmt::Write as _;

/// A row of the comparison with the figures of those who wrote it by hand.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) system: &'static str,
    pub(super) what: String,
    pub(super) theirs: String,
    pub(super) goal: String,
    pub(super) ours: String,
    pub(super) ratio: String,
    pub(super) met: Option<bool>,
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

pub(super) fn rows(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let met = match row.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "not run",
            };
            vec![
                row.system.to_owned(),
                row.what.clone(),
                row.theirs.clone(),
                row.goal.clone(),
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
            what: "signal".to_owned(),
            theirs: "2 s".to_owned(),
            goal: "< 5 ms".to_owned(),
            ours: "6 ms".to_owned(),
            ratio: "333 ×".to_owned(),
            met,
        };
        for (met, told) in [
            (Some(true), "| yes"),
            (Some(false), "| **no**"),
            (None, "| not run"),
        ] {
            assert!(rows(&[row(met)]).contains(told));
        }
    }
}
