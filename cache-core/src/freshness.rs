//! Is it still good? Pure answers about time; `now` and chance are arguments.

use std::time::Duration;

use crate::options::Eager;
use crate::time::Timestamp;

/// What an entry is at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    Stale,
    Expired,
}

/// The two ends of an entry: fresh before `soft_at`, gone from `hard_at` on, stale between them.
pub(crate) fn judge(soft_at: Timestamp, hard_at: Timestamp, now: Timestamp) -> Freshness {
    if now >= hard_at {
        Freshness::Expired
    } else if now >= soft_at {
        Freshness::Stale
    } else {
        Freshness::Fresh
    }
}

/// `ttl`, shortened by up to the share `jitter`; `chance` lies in `[0, 1)`.
pub(crate) fn jittered(ttl: Duration, jitter: f64, chance: f64) -> Duration {
    ttl.mul_f64((1.0 - jitter * chance).clamp(0.0, 1.0))
}

/// The first instant at which a hit may start a refresh; [`Timestamp::MAX`] for never.
///
/// For [`Eager::XFetch`] this is where the probability first exceeds 10⁻¹⁷: below that no hit needs to ask for chance.
pub(crate) fn eager_from(
    eager: Eager,
    loaded_at: Timestamp,
    soft_at: Timestamp,
    delta: Duration,
) -> Timestamp {
    match eager {
        Eager::Off => Timestamp::MAX,
        Eager::After(share) => loaded_at + soft_at.since(loaded_at).mul_f64(share),
        Eager::XFetch(beta) if beta <= 0.0 => Timestamp::MAX,
        Eager::XFetch(beta) => soft_at.before(scaled(delta, beta * 40.0)).max(loaded_at),
    }
}

/// Whether a hit at `now` starts a refresh. `chance` lies in `(0, 1]`.
///
/// XFetch: `age − delta · beta · ln(chance) ≥ ttl`, so that the probability at a time `x` before the end is
/// `exp(−x / (beta · delta))`.
pub(crate) fn starts_refresh(
    eager: Eager,
    from: Timestamp,
    soft_at: Timestamp,
    delta: Duration,
    now: Timestamp,
    chance: f64,
) -> bool {
    match eager {
        _ if now < from => false,
        Eager::Off => false,
        Eager::After(_) => true,
        Eager::XFetch(beta) => {
            soft_at.since(now).as_secs_f64() <= -(effective(delta).as_secs_f64() * beta * chance.ln())
        }
    }
}

/// How long to leave an entry alone after its `failures`-th failed refresh in a row.
pub(crate) fn backoff(failures: u32, limit: Duration) -> Duration {
    Duration::from_millis(100)
        .saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(20)))
        .min(limit)
}

/// The load duration to reckon with, smoothed over loads: a quarter of it is the newest.
pub(crate) fn smoothed(previous: Option<Duration>, measured: Duration) -> Duration {
    previous.map_or(measured, |previous| (previous * 3 + measured) / 4)
}

/// A load that took no time at all would never be refreshed early: it counts as a millisecond.
fn effective(delta: Duration) -> Duration {
    delta.max(Duration::from_millis(1))
}

fn scaled(delta: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(effective(delta).as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn an_entry_is_fresh_then_stale_then_gone() {
        let cases = [
            (0, Freshness::Fresh),
            (99, Freshness::Fresh),
            (100, Freshness::Stale),
            (199, Freshness::Stale),
        ];
        for (now, expected) in cases {
            assert_eq!(judge(at(100), at(200), at(now)), expected, "at {now} ms");
        }
        assert_eq!(judge(at(100), at(200), at(200)), Freshness::Expired);
        assert_eq!(
            judge(at(100), at(100), at(100)),
            Freshness::Expired,
            "without a stale window nothing is stale"
        );
    }

    #[test]
    fn jitter_shortens_within_its_share_and_spreads() {
        let ttl = Duration::from_secs(100);
        let mut rng = SmallRng::seed_from_u64(7);
        let ends: Vec<_> = (0..1_000).map(|_| jittered(ttl, 0.2, rng.random())).collect();
        let (first, last) = (*ends.iter().min().unwrap(), *ends.iter().max().unwrap());
        assert!(first >= Duration::from_secs(80) && last <= ttl);
        assert!(
            last - first >= Duration::from_secs(18),
            "spread only {:?}",
            last - first
        );
    }

    #[test]
    fn xfetch_refreshes_with_the_probability_of_the_paper() {
        let (beta, delta, soft_at) = (1.5, Duration::from_millis(200), at(60_000));
        let eager = Eager::XFetch(beta);
        let from = eager_from(eager, at(0), soft_at, delta);
        let mut rng = SmallRng::seed_from_u64(42);
        for before in [50u64, 150, 300, 600, 1_200] {
            let trials = 40_000;
            let started = (0..trials)
                .filter(|_| {
                    starts_refresh(
                        eager,
                        from,
                        soft_at,
                        delta,
                        at(60_000 - before),
                        1.0 - rng.random::<f64>(),
                    )
                })
                .count();
            let expected = (-(before as f64 / 1_000.0) / (beta * 0.2)).exp();
            let measured = started as f64 / f64::from(trials);
            assert!(
                (measured - expected).abs() < 0.01,
                "{before} ms before: {measured} instead of {expected}"
            );
        }
    }

    #[test]
    fn a_threshold_refreshes_after_its_share_and_off_never() {
        let from = eager_from(Eager::After(0.8), at(0), at(1_000), Duration::ZERO);
        assert!(!starts_refresh(
            Eager::After(0.8),
            from,
            at(1_000),
            Duration::ZERO,
            at(799),
            1.0
        ));
        assert!(starts_refresh(
            Eager::After(0.8),
            from,
            at(1_000),
            Duration::ZERO,
            at(801),
            1.0
        ));
        for never in [Eager::Off, Eager::XFetch(0.0)] {
            let from = eager_from(never, at(0), at(1_000), Duration::from_secs(1));
            assert!(!starts_refresh(
                never,
                from,
                at(1_000),
                Duration::from_secs(1),
                at(999),
                1e-300
            ));
        }
    }

    #[test]
    fn failures_back_off_to_the_limit() {
        let limit = Duration::from_secs(30);
        let waits: Vec<_> = (1..=4).map(|n| backoff(n, limit).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800]);
        assert_eq!(backoff(u32::MAX, limit), limit);
    }
}
