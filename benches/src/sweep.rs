//! The same operation with more and more of something, in interleaved rounds.

use std::time::Duration;

use crate::measure::{Effort, median};
use crate::report::{Report, Row};

/// One size of the sweep: does so many operations, and says how long they took.
pub(crate) struct Step<'a> {
    at: f64,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

/// What is reported of a sweep.
pub(crate) struct Series {
    pub(crate) area: &'static str,
    pub(crate) name: &'static str,
    pub(crate) by: &'static str,
    pub(crate) unit: &'static str,
    /// The figure, from nanoseconds per operation.
    pub(crate) figure: fn(f64) -> f64,
}

impl<'a> Step<'a> {
    pub(crate) fn new(at: f64, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self {
            at,
            run: Box::new(run),
        }
    }

    /// How many operations fill a turn.
    fn calibrate(&mut self, turn: Duration) -> u64 {
        let mut count = 1;
        loop {
            let took = (self.run)(count);
            if took * 4 >= turn || count >= MOST {
                return ((count as f64 * turn.as_secs_f64() / took.as_secs_f64().max(1e-9)) as u64)
                    .clamp(1, MOST);
            }
            count *= 2;
        }
    }
}

/// Lets the steps take turns, and reports each as one point of the series.
pub(crate) fn sweep(mut steps: Vec<Step<'_>>, series: &Series, effort: Effort, report: &mut Report) {
    let counts: Vec<_> = steps.iter_mut().map(|step| step.calibrate(effort.turn)).collect();
    let mut rounds: Vec<Vec<f64>> = steps.iter().map(|_| Vec::new()).collect();
    for round in 0..effort.rounds {
        for turn in 0..steps.len() {
            let at = (round + turn) % steps.len();
            let took = (steps[at].run)(counts[at]);
            rounds[at].push(took.as_nanos() as f64 / counts[at] as f64);
        }
    }
    for (step, rounds) in steps.iter().zip(rounds) {
        add(series, step.at, rounds, report);
    }
}

/// Reports one point from what the rounds took, in nanoseconds: the first quartile, since a busy machine only adds to it, and
/// a law is to be seen through its noise.
pub(crate) fn add(series: &Series, at: f64, mut rounds: Vec<f64>, report: &mut Report) {
    rounds.sort_by(f64::total_cmp);
    let quarter = rounds[rounds.len() / 4];
    let spread = (rounds[rounds.len() * 3 / 4] - quarter) / median(rounds.clone()).max(1e-9);
    let row = Row::new(
        series.area,
        format!("{}, {at} {}", series.name, series.by),
        (series.figure)(quarter),
        series.unit,
    );
    report.add(row.spread(spread).point(series.name, series.by, at));
}

const MOST: u64 = 1 << 22;
