//! How late the machine is by itself: what a busy one adds to every wait, whoever waits.

use std::sync::Arc;
use std::time::Duration;

use super::histogram::Histogram;
use crate::clock::Stopwatch;

/// Measured all the time by a task that only sleeps. On an idle machine it is a millisecond; with more work than processors,
/// hundreds.
#[derive(Debug, Default)]
pub struct Lateness(pub(super) Histogram);

impl Lateness {
    /// Goes on until it is aborted.
    pub(super) async fn measure(self: Arc<Self>) {
        loop {
            let asked = Stopwatch::start();
            tokio::time::sleep(PAUSE).await;
            self.0.note(asked.elapsed().saturating_sub(PAUSE));
        }
    }
}

const PAUSE: Duration = Duration::from_millis(5);
