//! Whose turn it is: over a fleet, one node runs a scheduled warmer at a time, and one per interval.

use std::time::Duration;

use crate::cache::Cache;
use crate::cache::hold::Reach;
use crate::cache::leases::LeaseKind;
use crate::cache::lock::LockGuard;
use crate::error::ErrorKind;

use super::{Schedule, WarmCause};

/// The right to run, or not.
pub(super) enum Turn {
    /// Nobody else runs, as far as this node can know.
    Mine(Option<LockGuard>),
    /// Another node runs it, or has done so in this interval.
    Elsewhere,
}

impl Turn {
    /// At start a node waits for its turn, since what the others load is then found in the shared tier. At the interval it
    /// leaves the run to whoever comes first. On demand, without a shared tier, or while that is away, it just runs.
    pub(super) async fn take(cache: &Cache, name: &str, schedule: &Schedule, cause: WarmCause) -> Self {
        if !cache.is_shared() || schedule.is_for_each_node() {
            return Self::Mine(None);
        }
        let lock = format!("{RUNS}{name}");
        match (cause, schedule.interval()) {
            (WarmCause::Demand, _) => Self::Mine(None),
            (WarmCause::Interval, Some(every)) => match mark(cache, name, every).await {
                Ok(true) => match cache.try_lock(&lock, LEASE).await {
                    Ok(Some(guard)) => Self::Mine(Some(guard)),
                    Ok(None) => Self::Elsewhere,
                    Err(_) => Self::Mine(None),
                },
                Ok(false) => Self::Elsewhere,
                Err(_) => Self::Mine(None),
            },
            _ => match cache.lock(&lock, LEASE, schedule.limit()).await {
                Ok(guard) => Self::Mine(Some(guard)),
                Err(error) if error.kind() == ErrorKind::Contended => Self::Elsewhere,
                Err(_) => Self::Mine(None),
            },
        }
    }

    /// Keeps the turn for as long as it is polled; a node that dies gives it up with its lease.
    pub(super) async fn keep(&self) {
        match self {
            Self::Mine(Some(guard)) => loop {
                tokio::time::sleep(LEASE / 3).await;
                guard.renew(LEASE).await;
            },
            Self::Mine(None) | Self::Elsewhere => std::future::pending().await,
        }
    }
}

/// Notes that this interval's run is taken; whether it was free. The note ends a little before the interval does, so that
/// the same node finds the next one free.
async fn mark(cache: &Cache, name: &str, every: Duration) -> Result<bool, crate::Error> {
    let name = cache.lease(LeaseKind::Claim, &format!("{TAKEN}{name}"));
    let hold = cache
        .take_lease(name, "every", every.mul_f64(0.9), Reach::Fleet)
        .await?;
    Ok(hold.is_ok_and(|hold| {
        hold.leave_to_its_end();
        true
    }))
}

/// Names that no [key](crate::CacheKey) has, and no lock is likely to.
const RUNS: &str = "%warmer:";
const TAKEN: &str = "%warmed:";

/// How long after its node died a run is anybody's.
const LEASE: Duration = Duration::from_secs(15);
