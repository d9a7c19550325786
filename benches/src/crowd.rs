//! Many callers at once, and the wall time that they take together: for what waits for a server.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::measure::{Effort, Race, now};

/// Something that many callers can do at the same time.
pub(crate) struct Crowd<'r> {
    pub(crate) name: &'static str,
    run: Box<Run<'r>>,
}

/// Lets so many callers do so many operations each.
type Run<'r> = dyn Fn(usize, u64) -> Duration + 'r;

impl<'r> Crowd<'r> {
    /// A contender whose `n`-th operation is `step(n)`.
    pub(crate) fn new<S, F>(name: &'static str, runtime: &'r Runtime, step: S) -> Self
    where
        S: Fn(usize) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let step = Arc::new(step);
        let run = move |callers: usize, each: u64| {
            let step = step.clone();
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                let start = now();
                for caller in 0..callers {
                    let step = step.clone();
                    tasks.spawn(async move {
                        for n in 0..each as usize {
                            black_box(step(caller * CALLER_STRIDE + n).await);
                        }
                    });
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.expect("a contender does not panic");
                }
                start.elapsed()
            })
        };
        Self {
            name,
            run: Box::new(run),
        }
    }

    pub(crate) fn run(&self, callers: usize, each: u64) -> Duration {
        (self.run)(callers, each)
    }

    /// How many operations of each caller fill a turn.
    fn calibrate(&self, callers: usize, turn: Duration) -> u64 {
        let mut each = 1;
        loop {
            let took = (self.run)(callers, each);
            if took * 4 >= turn {
                return ((each as f64 * turn.as_secs_f64() / took.as_secs_f64()) as u64).max(1);
            }
            each *= 2;
        }
    }
}

/// Lets the contenders take turns with so many callers, each round beginning with another one.
pub(crate) fn race(contenders: &[Crowd<'_>], callers: usize, effort: Effort) -> Race {
    let counts: Vec<_> = contenders
        .iter()
        .map(|contender| contender.calibrate(callers, effort.turn))
        .collect();
    let mut race = Race::between(contenders.iter().map(|contender| contender.name));
    for round in 0..effort.rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            // A connection that was idle, and a processor that ran something else, take a moment.
            (contenders[at].run)(callers, counts[at].div_ceil(5));
            let took = (contenders[at].run)(callers, counts[at]);
            race.note(at, took, counts[at] * callers as u64);
        }
    }
    race
}

/// Callers begin at different keys: the prime keeps them apart for any number of keys.
const CALLER_STRIDE: usize = 7_919;
