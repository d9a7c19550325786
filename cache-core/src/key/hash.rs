//! The hash of a key inside this process: seeded at random, computed once per key.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// Hashes a key text with the seed of this process.
///
/// The result never leaves the process: another process, and the next start, hash differently. Whoever
/// can choose keys but not see hashes cannot aim at one bucket of a map.
#[inline]
pub(crate) fn hash_text(text: &[u8]) -> u64 {
    let seed = &*SEED;
    let mut hasher = FoldHasher::with_seed(seed.own, &seed.shared);
    hasher.write(text);
    hasher.finish()
}

struct Seed {
    own: u64,
    shared: SharedSeed,
}

/// Drawn through the standard library's `RandomState`, which asks the operating system.
static SEED: LazyLock<Seed> = LazyLock::new(|| Seed {
    own: RandomState::new().hash_one("key hash: per hasher"),
    shared: SharedSeed::from_u64(RandomState::new().hash_one("key hash: shared")),
});
