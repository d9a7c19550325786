//! What a cache does for itself while it is in use: drop dead entries, pass counters on, hear what other nodes change
//! and deliver what the shared tier did not acknowledge.
//!
//! One task, started by the first load on the runtime of that load, ended by `close` or with the cache's last handle.
//! A cache that is only built, or only hit, starts none; if the runtime shuts down, the next load starts it anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::cache::far::{WeakCache, listen};
use crate::cache::{Cache, Inner};
use crate::epochs::Standing;
use crate::stats::Count;

/// Whether the task of a cache runs.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    runs: AtomicBool,
}

impl Cache {
    /// Starts the task unless it runs.
    pub(crate) fn start_upkeep(&self) {
        // Every read comes here: one look is all that it pays while upkeep runs.
        if self.inner.upkeep.runs.load(Ordering::Relaxed)
            || self.inner.tasks.is_closing()
            || self.inner.upkeep.runs.swap(true, Ordering::Relaxed)
        {
            return;
        }
        self.start_warmers();
        let running = Running(WeakCache::of(self));
        let closing = self.inner.tasks.closing();
        // Refused without a runtime; then `running` is dropped, and the next load tries again.
        let _ = self.inner.tasks.spawn_apart(async move {
            let work = async {
                tokio::select! {
                    () = running.keep_up() => {}
                    () = running.listen() => {}
                }
            };
            closing.run_until_cancelled(work).await;
        });
    }

    /// Drops what can never be read again; how many entries that was.
    pub(crate) fn sweep(&self) -> usize {
        self.inner.sweep()
    }
}

impl Inner {
    fn sweep(&self) -> usize {
        let before = self.memory.len();
        let now = self.clock.now();
        self.memory.retain(|_, entry| {
            let dead = if now >= entry.meta().hard_at {
                Count::DroppedExpired
            } else if entry.meta().standing(&self.epochs) == Standing::Invalid {
                Count::DroppedInvalidated
            } else {
                return true;
            };
            self.tally.count(dead);
            false
        });
        before.saturating_sub(self.memory.len())
    }
}

/// The task's hold on its cache: weak, so that it does not keep the cache alive.
struct Running(WeakCache);

impl Running {
    async fn keep_up(&self) {
        let mut ticks = 0_u64;
        let mut recoveries = self
            .0
            .upgrade()
            .and_then(|cache| Some(cache.far()?.port().recoveries()));
        loop {
            let is_back = tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => false,
                () = next_recovery(&mut recoveries) => true,
            };
            let Some(cache) = self.0.upgrade() else { return };
            if !is_back {
                ticks += 1;
                cache.publish_metrics();
                if ticks.is_multiple_of(SWEEP_EVERY) {
                    cache.sweep();
                }
            }
            if is_back && let Some(far) = cache.far() {
                cache.look_again_at_what_was_loaded_alone(far);
            }
            cache.recover_if_possible().await;
        }
    }

    /// Applies what other nodes change; without a shared tier there is nothing to hear, and this never ends.
    async fn listen(&self) {
        let log = self
            .0
            .upgrade()
            .and_then(|cache| Some(cache.far()?.port().follow_log()));
        match log {
            Some(log) => listen(&self.0, log).await,
            None => std::future::pending().await,
        }
    }
}

/// A server of the shared tier answers again: what it did not acknowledge need not wait for the next second.
async fn next_recovery(recoveries: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = recoveries
        && changes.changed().await.is_ok()
    {
        return;
    }
    // There is no shared tier, or it was closed.
    std::future::pending::<()>().await;
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(cache) = self.0.upgrade() {
            if let Some(far) = cache.far() {
                far.stop_hearing();
            }
            cache.inner.upkeep.runs.store(false, Ordering::Relaxed);
        }
    }
}

/// Seconds between sweeps. Dead entries are also dropped when they are met and evicted like others; sweeping only
/// gives memory back sooner.
const SWEEP_EVERY: u64 = 30;
