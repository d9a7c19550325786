//! One [`Dedup`] for the whole process, for callers that know nothing of deduplication.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use cache_core::Error;

use super::{CandleId, Dedup, Processed};

static PROCESS_WIDE: RwLock<Option<Arc<Dedup>>> = RwLock::new(None);

/// Makes `dedup` what [`process_once`] uses in this process.
pub fn initialise(dedup: Arc<Dedup>) {
    *PROCESS_WIDE.write().unwrap_or_else(PoisonError::into_inner) = Some(dedup);
}

/// Ends that: from now on everything is processed.
pub fn close() {
    *PROCESS_WIDE.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// For callers that know nothing of deduplication: with one [initialised](initialise) it is [`Dedup::process`], without
/// one the effect simply happens, as it always did.
///
/// # Errors
///
/// The effect's.
pub async fn process_once<T, E>(
    candle: &CandleId,
    effect: impl Future<Output = Result<T, E>>,
) -> Result<Processed<T>, E>
where
    E: From<Error>,
{
    let process_wide = PROCESS_WIDE
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match process_wide {
        Some(dedup) => dedup.process(candle, effect).await,
        None => effect.await.map(Processed::Now),
    }
}
