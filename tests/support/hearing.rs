//! When a node of a fleet is ready to be tested.

use std::time::Duration;

use cache_core::{Cache, CacheKey};

/// Waits until the node hears the invalidation log, which it does when it hears what it says itself: from then on it
/// forgets nothing that it need not.
///
/// # Panics
/// When it does not hear it within five seconds.
pub async fn hears(cache: &Cache) {
    let nothing = CacheKey::build("nothing", 0).expect("a word and a number make a key");
    let heard = async {
        loop {
            let _ = cache.remove(&nothing).await;
            // Not said twice unless it was missed: a second notice on its way would disturb who counts them.
            for _ in 0..50 {
                if cache.stats().counters.notices > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    assert!(
        heard.is_ok(),
        "the node does not hear the log within {PATIENCE:?}"
    );
}

const PATIENCE: Duration = Duration::from_secs(5);
