//! The engine of every warming: items one after another, a few at once, at a pace, behind live traffic.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cache::Cache;
use crate::cache::tasks::WarmingPlace;
use crate::stats::Count;

use super::{WarmReport, WarmStop};

/// How hard to warm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many at once.
    pub(super) concurrency: usize,
    /// So long between beginnings.
    pub(super) pause: Duration,
    /// Goes on when memory is full.
    pub(super) beyond_memory: bool,
}

impl Limits {
    pub(super) fn gentle() -> Self {
        Self {
            concurrency: CONCURRENCY,
            pause: Duration::ZERO,
            beyond_memory: false,
        }
    }

    /// Why nothing more should be begun.
    fn stop(&self, cache: &Cache) -> Option<WarmStop> {
        if cache.inner.tasks.is_closing() {
            Some(WarmStop::Closing)
        } else if !self.beyond_memory && !cache.inner.memory.has_room() {
            Some(WarmStop::MemoryFull)
        } else {
            None
        }
    }
}

/// What one item came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Loaded,
    Skipped,
    Failed,
}

/// Takes `items` one after another through `one`, and tells `note` what has become of them so far, after each.
pub(super) async fn drive<S, Fut>(
    cache: &Cache,
    limits: Limits,
    items: S,
    mut one: impl FnMut(S::Item) -> Fut,
    mut note: impl FnMut(&WarmReport),
) -> WarmReport
where
    S: Stream,
    Fut: Future<Output = End> + Send + 'static,
{
    let mut items = pin!(items);
    let mut report = WarmReport {
        expected: items.size_hint().1.map(|most| most as u64),
        ..WarmReport::default()
    };
    let mut pace = Pace::of(limits.pause);
    let mut courtesy = Courtesy::default();
    let mut under_way = JoinSet::new();
    let has_runtime = Handle::try_current().is_ok();
    loop {
        let next = poll_fn(|context| items.as_mut().poll_next(context));
        let item = tokio::select! {
            biased;
            Some(end) = under_way.join_next(), if !under_way.is_empty() => {
                report.note(cache, end.unwrap_or(End::Failed));
                note(&report);
                continue;
            }
            item = next, if under_way.len() < limits.concurrency => item,
        };
        let Some(item) = item else { break };
        if let Some(stop) = limits.stop(cache) {
            report.stopped = Some(stop);
            report.left = 1 + items.size_hint().0 as u64;
            break;
        }
        pace.next().await;
        let place = courtesy.wait(cache).await;
        let work = one(item);
        let work = async move {
            let end = work.await;
            drop(place);
            end
        };
        if has_runtime {
            under_way.spawn(work);
        } else {
            report.note(cache, work.await);
            note(&report);
        }
    }
    while let Some(end) = under_way.join_next().await {
        report.note(cache, end.unwrap_or(End::Failed));
        note(&report);
    }
    report
}

impl WarmReport {
    fn note(&mut self, cache: &Cache, end: End) {
        let (number, count) = match end {
            End::Loaded => (&mut self.loaded, Count::WarmedLoaded),
            End::Skipped => (&mut self.skipped, Count::WarmedSkipped),
            End::Failed => (&mut self.failed, Count::WarmedFailed),
        };
        *number += 1;
        cache.inner.tally.count(count);
    }
}

/// A list as a stream that is never waited for.
pub(super) struct Listed<I>(pub(super) I);

// Nothing in it is ever pinned.
impl<I> Unpin for Listed<I> {}

impl<I: Iterator> Stream for Listed<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// Stands back: behind loads that somebody waits for, and while the shared tier is in trouble, since what is loaded then
/// is loaded by every node, and is lost with it.
#[derive(Default)]
struct Courtesy {
    waited: Duration,
}

impl Courtesy {
    async fn wait(&mut self, cache: &Cache) -> WarmingPlace {
        let in_trouble = || cache.far().is_some_and(|far| far.is_refused());
        while self.waited < PATIENCE && in_trouble() && Handle::try_current().is_ok() {
            tokio::time::sleep(LOOK_AGAIN).await;
            self.waited += LOOK_AGAIN;
        }
        cache.inner.tasks.behind_live_loads().await
    }
}

/// How long a run waits for the shared tier in all; then it goes on for its node alone.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Keeps a distance between items; none without a runtime to keep the time.
struct Pace(Option<Interval>);

impl Pace {
    fn of(pause: Duration) -> Self {
        Self((!pause.is_zero() && Handle::try_current().is_ok()).then(|| {
            let mut ticks = interval(pause);
            // A slow origin is not made up for by a burst.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        }))
    }

    async fn next(&mut self) {
        if let Some(ticks) = &mut self.0 {
            ticks.tick().await;
        }
    }
}

/// Few beside live traffic, and hardly noticed by an origin.
const CONCURRENCY: usize = 5;
