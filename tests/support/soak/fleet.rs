//! Nodes of a fleet, and what they cache.

use std::time::Duration;

use cache_core::time::minutes;
use cache_core::{Cache, CacheBuilder, CacheKey, EntryOptions, Redis, TagSet};

use crate::hearing::hears;

/// A node that has begun to hear the log: from then on it forgets nothing that it need not.
///
/// # Panics
/// When it does not hear it in time.
pub async fn hearing_node(url: &str, configure: impl FnOnce(CacheBuilder) -> CacheBuilder) -> Cache {
    let builder = Cache::builder("fleet").redis(Redis::from_url(url).unwrap());
    let cache = configure(builder).build().unwrap();
    hears(&cache).await;
    cache
}

/// The `n`-th key.
pub fn key(n: u64) -> CacheKey {
    CacheKey::build("item", n).unwrap()
}

/// Five minutes, with a tag.
pub fn tagged(tag: &str) -> EntryOptions {
    EntryOptions::ttl(minutes(5)).tags(TagSet::new([tag]).unwrap())
}

/// Waits until nothing that a node said is still on its way; how much is, when the time is up.
pub(super) async fn undelivered(nodes: &[Cache], within: Duration) -> u64 {
    let mut left = 0;
    for node in nodes {
        left += node.flush_pending(within).await as u64;
    }
    left
}
