//! Contenders, and races between them.

use std::future::Future;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Length of one contender's turn in a round.
    pub(crate) turn: Duration,
    /// Operations that are timed one by one.
    pub(crate) timed: u64,
    /// Repetitions of what takes a tenth of a second by itself.
    pub(crate) slow_rounds: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 31,
        turn: Duration::from_millis(30),
        timed: 400_000,
        slow_rounds: 9,
    };
    /// Whether it is a look rather than a result.
    pub(crate) fn is_quick(self) -> bool {
        self.rounds < Self::FULL.rounds
    }

    pub(crate) const QUICK: Self = Self {
        rounds: 9,
        turn: Duration::from_millis(15),
        timed: 100_000,
        slow_rounds: 3,
    };
}

/// Something that can be done many times.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    run: Box<Run<'a>>,
}

/// Does so many operations; with a list, times each of them.
type Run<'a> = dyn FnMut(u64, Option<&mut Vec<Duration>>) + Send + 'a;

impl<'a> Contender<'a> {
    /// A contender whose `n`-th operation is `step(n)`.
    pub(crate) fn new<F>(name: &'static str, step: impl Fn(usize) -> F + Send + 'a) -> Self
    where
        F: Future,
    {
        let runtime = single_threaded();
        let mut next = 0;
        let run = move |count: u64, times: Option<&mut Vec<Duration>>| {
            runtime.block_on(async {
                match times {
                    None => {
                        for _ in 0..count {
                            next += 1;
                            black_box(step(next).await);
                        }
                    }
                    Some(times) => {
                        for _ in 0..count {
                            next += 1;
                            let start = now();
                            black_box(step(next).await);
                            times.push(start.elapsed());
                        }
                    }
                }
            });
        };
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// Does `count` operations.
    pub(crate) fn run(&mut self, count: u64) {
        (self.run)(count, None);
    }

    /// Allocations per operation, on this thread.
    #[cfg(feature = "allocations")]
    pub(crate) fn allocations(&mut self) -> f64 {
        let count = 10_000;
        self.run(count);
        let info = allocation_counter::measure(|| self.run(count));
        // What the executor allocates for the whole run disappears in the rounding.
        (info.count_total as f64 / count as f64 * 100.0).round() / 100.0
    }

    /// The time that 99 % of operations stay below, in nanoseconds, each timed by itself.
    pub(crate) fn p99(&mut self, count: u64) -> f64 {
        self.run(count / 10);
        let mut times = Vec::with_capacity(count as usize);
        (self.run)(count, Some(&mut times));
        let rank = times.len() * 99 / 100;
        let (_, p99, _) = times.select_nth_unstable(rank);
        p99.as_nanos() as f64
    }

    /// How many operations fill a turn.
    fn calibrate(&mut self, turn: Duration) -> u64 {
        let mut count = 256;
        loop {
            let start = now();
            self.run(count);
            let took = start.elapsed();
            if took * 4 >= turn {
                return ((count as f64 * turn.as_secs_f64() / took.as_secs_f64()) as u64).max(1);
            }
            count *= 2;
        }
    }
}

/// What came out of a race: nanoseconds per operation, by contender and round.
#[derive(Debug)]
pub(crate) struct Race {
    results: Vec<(&'static str, Vec<f64>)>,
}

impl Race {
    /// Lets the contenders take turns, each round beginning with another one.
    pub(crate) fn run(contenders: &mut [Contender<'_>], effort: Effort) -> Self {
        let counts: Vec<_> = contenders
            .iter_mut()
            .map(|contender| contender.calibrate(effort.turn))
            .collect();
        let mut race = Self::between(contenders.iter().map(|contender| contender.name));
        for round in 0..effort.rounds {
            for turn in 0..contenders.len() {
                let at = (round + turn) % contenders.len();
                // The turn before has left other data in the processor's caches.
                contenders[at].run(counts[at] / 3);
                let took = processor_time(|| contenders[at].run(counts[at]));
                race.note(at, took, counts[at]);
            }
        }
        race
    }

    /// As [`run`](Self::run), with two threads on the same cache: `left` and `right` are the same contenders twice.
    pub(crate) fn run_paired(
        left: &mut [Contender<'_>],
        right: &mut [Contender<'_>],
        effort: Effort,
    ) -> Self {
        let counts: Vec<_> = left
            .iter_mut()
            .map(|contender| contender.calibrate(effort.turn))
            .collect();
        let mut race = Self::between(left.iter().map(|contender| contender.name));
        for round in 0..effort.rounds {
            for turn in 0..left.len() {
                let at = (round + turn) % left.len();
                let took = together(&mut left[at], &mut right[at], counts[at]);
                race.note(at, took, 2 * counts[at]);
            }
        }
        race
    }

    /// A race without results yet, for whoever measures in another way.
    pub(crate) fn between(names: impl Iterator<Item = &'static str>) -> Self {
        Self {
            results: names.map(|name| (name, Vec::new())).collect(),
        }
    }

    pub(crate) fn note(&mut self, at: usize, took: Duration, count: u64) {
        self.results[at].1.push(took.as_nanos() as f64 / count as f64);
    }

    pub(crate) fn median(&self, name: &str) -> f64 {
        median(self.rounds(name).to_vec())
    }

    /// The median over the rounds of what `a` took in a round compared to `b`.
    pub(crate) fn ratio(&self, a: &str, b: &str) -> f64 {
        median(self.ratios(a, b))
    }

    /// The distance between the quartiles of the ratio, as a share of it.
    pub(crate) fn spread(&self, a: &str, b: &str) -> f64 {
        let mut ratios = self.ratios(a, b);
        ratios.sort_by(f64::total_cmp);
        (ratios[ratios.len() * 3 / 4] - ratios[ratios.len() / 4]) / median(ratios)
    }

    fn ratios(&self, a: &str, b: &str) -> Vec<f64> {
        let (a, b) = (self.rounds(a), self.rounds(b));
        a.iter().zip(b).map(|(a, b)| a / b).collect()
    }

    fn rounds(&self, name: &str) -> &[f64] {
        let found = self.results.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| panic!("`{name}` took part in no race"), |(_, rounds)| rounds)
    }
}

/// Runs both at the same time; how long the slower one computed.
fn together(left: &mut Contender<'_>, right: &mut Contender<'_>, count: u64) -> Duration {
    let barrier = Barrier::new(2);
    let timed = |contender: &mut Contender<'_>| {
        contender.run(count / 3);
        barrier.wait();
        processor_time(|| contender.run(count))
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| timed(right));
        let own = timed(left);
        own.max(other.join().expect("a contender does not panic"))
    })
}

/// The time that this thread computes for `work`. What other programs take from it in between does not count.
pub(crate) fn processor_time(work: impl FnOnce()) -> Duration {
    let clock = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let start = clock();
    work();
    clock().saturating_sub(start)
}

/// Measurements, for asking what share of them is below which value.
#[derive(Debug, Default)]
pub(crate) struct Percentiles {
    values: Vec<f64>,
}

impl Percentiles {
    pub(crate) fn add(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value that the given share does not exceed; zero if nothing was measured.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// The usual ones, with their names.
    pub(crate) fn of_all(&self) -> [(&'static str, f64); 5] {
        [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("max", 1.0),
        ]
        .map(|(name, share)| (name, self.at(share)))
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    *median
}

/// The machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the machine's time, not a cache's"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn single_threaded() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the machine has what a runtime needs")
}

pub(crate) fn multi_threaded() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the machine has what a runtime needs")
}
