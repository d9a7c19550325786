//! [`ChaosStore`]: faults by chance, repeatable by seed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::shared::{Fault, FaultKind, Shared, SharedTier};
use crate::sync::{Arc, Mutex, lock};
use crate::testing::intercept::{Asked, Decision, Intercepted, Interceptor, Operation, Pass, deadline};
use crate::time::Clock;

/// A shared tier that fails, loses answers and is slow by chance, in front of any other.
///
/// The same seed gives the same faults: what becomes of the n-th operation of a kind through the k-th cache that was
/// built with it depends on nothing else, whatever the order in which they meet. Print the seed of a failed run, and run
/// it again (with the same build: the generator may change with the version of the toolkit).
///
/// ```
/// use cache_core::testing::{ChaosStore, ManualClock, ScriptedStore};
/// use cache_core::{Cache, CacheKey, time::minutes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let seed = 7;
/// let store = ChaosStore::around(ScriptedStore::new(clock.clone()), seed).failing(0.3).losing_answers(0.1);
/// let cache = Cache::builder("shop").clock(clock).shared(store).build()?;
/// for n in 0..100_u32 {
///     let key = CacheKey::build("price", n)?;
///     let price = cache.get_or_load(&key, minutes(5), move |_| async move { Ok::<_, std::io::Error>(n) }).await?;
///     assert_eq!(*price, n, "no fault of the shared tier fails a call; seed {seed}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ChaosStore {
    behind: Arc<dyn SharedTier>,
    settings: Settings,
    nodes: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Settings {
    seed: u64,
    failing: f64,
    losing: f64,
    delaying: f64,
    delay: Range<Duration>,
}

impl ChaosStore {
    /// Nothing goes wrong yet.
    pub fn around(tier: impl SharedTier, seed: u64) -> Self {
        Self {
            behind: Arc::new(tier),
            settings: Settings {
                seed,
                failing: 0.0,
                losing: 0.0,
                delaying: 0.0,
                delay: Duration::ZERO..Duration::ZERO,
            },
            nodes: Arc::default(),
        }
    }

    /// This share of operations fails and is not carried out. Default: 0.
    ///
    /// Shares are cut to lie between 0 and 1.
    #[must_use]
    pub fn failing(mut self, share: f64) -> Self {
        self.settings.failing = within_bounds(share);
        self
    }

    /// This share of operations is carried out, and the answer gets lost. Default: 0.
    #[must_use]
    pub fn losing_answers(mut self, share: f64) -> Self {
        self.settings.losing = within_bounds(share);
        self
    }

    /// This share of operations is held up by something out of `delay`, on the runtime's clock. Those that it takes
    /// beyond their budget time out. Default: 0.
    #[must_use]
    pub fn delaying(mut self, share: f64, delay: Range<Duration>) -> Self {
        self.settings.delaying = within_bounds(share);
        self.settings.delay = delay;
        self
    }
}

impl SharedTier for ChaosStore {
    fn open(&self, root: &str, clock: Arc<dyn Clock>) -> Arc<dyn Shared> {
        Arc::new(Intercepted {
            behind: self.behind.open(root, clock),
            interceptor: Arc::new(Chaos {
                settings: self.settings.clone(),
                node: self.nodes.fetch_add(1, Ordering::Relaxed),
                asked: Mutex::default(),
            }),
        })
    }

    fn budget(&self) -> Duration {
        self.behind.budget()
    }
}

/// One cache's chances.
#[derive(Debug)]
struct Chaos {
    settings: Settings,
    node: u64,
    asked: Mutex<HashMap<Operation, u64>>,
}

/// What chance says about one operation.
#[derive(Debug, PartialEq)]
struct Fate {
    delay: Option<Duration>,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    Well,
    Failed(FaultKind),
    AnswerLost,
}

impl Chaos {
    fn fate_of_next(&self, operation: Operation) -> Fate {
        let number = {
            let mut asked = lock(&self.asked);
            let number = asked.entry(operation).or_default();
            *number += 1;
            *number
        };
        self.fate(operation, number)
    }

    fn fate(&self, operation: Operation, number: u64) -> Fate {
        let Settings {
            seed,
            failing,
            losing,
            delaying,
            ref delay,
        } = self.settings;
        let place = [self.node, operation as u64, number];
        let mut random = SmallRng::seed_from_u64(place.into_iter().fold(seed, mixed));
        let is_delayed = random.random_bool(delaying) && !delay.is_empty();
        let delay = is_delayed.then(|| random.random_range(delay.clone()));
        let end = if random.random_bool(failing) {
            End::Failed(FAULTS[random.random_range(0..FAULTS.len())])
        } else if random.random_bool(losing) {
            End::AnswerLost
        } else {
            End::Well
        };
        Fate { delay, end }
    }
}

impl Interceptor for Chaos {
    fn decide(&self, asked: Asked, within: Duration) -> Decision<'_> {
        let Fate { delay, end } = self.fate_of_next(asked.operation);
        Box::pin(async move {
            let delay = delay.unwrap_or_default();
            if !delay.is_zero() && deadline(within, tokio::time::sleep(delay)).await.is_none() {
                return Err(Fault::new(FaultKind::Timeout, "by chance").after_sending());
            }
            let lost = Fault::new(FaultKind::Disconnected, "by chance").after_sending();
            match end {
                End::Failed(kind) => Err(Fault::new(kind, "by chance")),
                End::AnswerLost => Ok(Pass {
                    left: within.saturating_sub(delay),
                    lost: Some(lost),
                }),
                End::Well => Ok(Pass {
                    left: within.saturating_sub(delay),
                    lost: None,
                }),
            }
        })
    }
}

/// What servers in trouble say.
const FAULTS: [FaultKind; 6] = [
    FaultKind::Connect,
    FaultKind::Disconnected,
    FaultKind::Timeout,
    FaultKind::Loading,
    FaultKind::ReadOnly,
    FaultKind::OutOfMemory,
];

/// Spreads a number over the seed (SplitMix64's last step).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn within_bounds(share: f64) -> f64 {
    // Not a number is nothing.
    if share.is_nan() {
        0.0
    } else {
        share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chaos(seed: u64, node: u64) -> Chaos {
        Chaos {
            settings: Settings {
                seed,
                failing: 0.2,
                losing: 0.1,
                delaying: 0.5,
                delay: Duration::ZERO..Duration::from_millis(10),
            },
            node,
            asked: Mutex::default(),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_whatever_came_between() {
        let (one, two) = (chaos(1, 0), chaos(1, 0));
        for _ in 0..100 {
            two.fate_of_next(Operation::Commit);
            assert_eq!(
                one.fate_of_next(Operation::Read),
                two.fate_of_next(Operation::Read)
            );
        }
        let fates = |chaos: &Chaos| {
            (0..50)
                .map(|n| chaos.fate(Operation::Read, n))
                .collect::<Vec<_>>()
        };
        assert_ne!(fates(&chaos(1, 0)), fates(&chaos(2, 0)), "another seed");
        assert_ne!(fates(&chaos(1, 0)), fates(&chaos(1, 1)), "another node");
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let chaos = chaos(3, 0);
        let fates: Vec<Fate> = (0..10_000).map(|n| chaos.fate(Operation::Lease, n)).collect();
        let share = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count() as f64 / 10_000.0;
        let failed = share(|fate| matches!(fate.end, End::Failed(_)));
        let lost = share(|fate| fate.end == End::AnswerLost);
        let delayed = share(|fate| fate.delay.is_some());
        assert!((failed - 0.2).abs() < 0.02, "{failed}");
        assert!((lost - 0.08).abs() < 0.02, "{lost}");
        assert!((delayed - 0.5).abs() < 0.02, "{delayed}");
    }

    #[test]
    fn absurd_shares_are_cut() {
        assert_eq!([-1.0, 2.0, f64::NAN].map(within_bounds), [0.0, 1.0, 0.0]);
    }
}
