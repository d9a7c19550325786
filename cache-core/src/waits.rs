//! Who waits for whom: the graph in which a load that waits for itself would be a cycle.
//!
//! A load that asks for another value waits for that value's flight. If the wait would lead back to the load itself,
//! directly, through other keys, other caches or other tasks, nobody could ever finish; such a wait is refused.
//! Only loads within loads come here, so one lock for the process is enough.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::LazyLock;

use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, lock};

tokio::task_local! {
    /// The flight whose loader runs here.
    static CURRENT: u64;
}

/// Which flights each flight waits for.
static WAITS: LazyLock<Mutex<HashMap<u64, Vec<u64>>>> = LazyLock::new(Mutex::default);

/// Runs a loader as the work of `flight`.
pub(crate) async fn within<F: Future>(flight: u64, loader: F) -> F::Output {
    CURRENT.scope(flight, loader).await
}

/// The flight whose loader this code is part of.
pub(crate) fn current() -> Option<u64> {
    CURRENT.try_with(|flight| *flight).ok()
}

/// Notes that the current load, if this is part of one, waits for `flight`, until the edge is dropped.
///
/// # Errors
///
/// [`ErrorKind::Reentrant`] if `flight` waits, however indirectly, for the current load.
pub(crate) fn wait_for(flight: u64) -> Result<Option<Edge>, Error> {
    let Some(from) = current() else { return Ok(None) };
    let mut waits = lock(&WAITS);
    if leads_to(&waits, flight, from) {
        return Err(Error::new(
            ErrorKind::Reentrant,
            "the loader asks for a value that waits for this very loader; load it without the cache, or split the key",
        ));
    }
    waits.entry(from).or_default().push(flight);
    Ok(Some(Edge { from, to: flight }))
}

/// Notes, until the edge is dropped, that `flight` is landed by the load of `loader`: who waits for the one waits for
/// the other.
pub(crate) fn landed_by(flight: u64, loader: u64) -> Edge {
    lock(&WAITS).entry(flight).or_default().push(loader);
    Edge {
        from: flight,
        to: loader,
    }
}

/// One wait in the graph.
#[derive(Debug)]
pub(crate) struct Edge {
    from: u64,
    to: u64,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let mut waits = lock(&WAITS);
        let Some(edges) = waits.get_mut(&self.from) else {
            return;
        };
        if let Some(at) = edges.iter().position(|to| *to == self.to) {
            edges.swap_remove(at);
        }
        if edges.is_empty() {
            waits.remove(&self.from);
        }
    }
}

fn leads_to(waits: &HashMap<u64, Vec<u64>>, from: u64, to: u64) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(flight) = open.pop() {
        if flight == to {
            return true;
        }
        if seen.insert(flight) {
            open.extend(waits.get(&flight).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn a_wait_that_closes_a_cycle_is_refused_and_others_are_not() {
        block_on(async {
            let (a, b, c) = (u64::MAX - 1, u64::MAX - 2, u64::MAX - 3);
            assert!(
                wait_for(a).unwrap().is_none(),
                "outside of any load nothing is noted"
            );
            let _ab = within(a, async { wait_for(b).unwrap() }).await;
            let bc = within(b, async { wait_for(c).unwrap() }).await;
            let refused = within(c, async { wait_for(a) }).await;
            assert!(refused.is_err_and(|error| error.is_reentrant()));
            let itself = within(a, async { wait_for(a) }).await;
            assert!(itself.is_err_and(|error| error.is_reentrant()));
            drop(bc);
            assert!(
                within(c, async { wait_for(a) }).await.is_ok(),
                "the wait that closed the cycle is over"
            );
        });
    }
}
