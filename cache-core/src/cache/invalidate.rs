//! Making entries invalid: by key, by tag, by prefix, by pattern, all of them.
//!
//! The *hard* forms (`remove`, `invalidate_tag`, `remove_prefix`, `remove_matching`, `clear`) promise that no value
//! whose load began before is readable after they return. The *soft* forms (`expire`, `invalidate_tag_soft`,
//! `clear_soft`) make values stale: the next reader loads, and if that fails the stale value may still stand in.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::far::Unheard;
use crate::entry::{AnyEntry, EntryId, Version};
use crate::epochs::{Kind, Mark, Standing, Strength, held_until};
use crate::error::{Error, ErrorKind};
use crate::key::{CacheKey, KeyParts, Prefix};
use crate::shared::Fault;
use crate::stats::Count;
use crate::sync::Arc;
use crate::tag::Tag;
use crate::time::Timestamp;

/// A hard invalidation that happens when it is awaited.
///
/// # Cancellation
///
/// Dropped before it was polled, it does nothing; from the first poll on it has happened on this node, and is delivered
/// to the others in the background.
#[must_use = "an invalidation happens when it is awaited"]
#[derive(Debug)]
pub struct Invalidation<'a> {
    cache: &'a Cache,
    target: Result<Target, Error>,
    hold: Duration,
}

#[derive(Debug)]
enum Target {
    Key(CacheKey),
    Tag(Tag),
    Prefix(Prefix),
    Pattern(KeyPattern),
    Everything,
}

impl Invalidation<'_> {
    /// Refuses every store of what is invalidated for `duration` from now, `set` included: for when the truth itself
    /// lags behind, as with a database's replica or a transaction that has yet to commit. Loads meanwhile give their
    /// value to their callers.
    ///
    /// Patterns have no hold-off of their own; for them the call fails.
    pub fn hold(mut self, duration: Duration) -> Self {
        self.hold = duration;
        self
    }
}

impl<'a> IntoFuture for Invalidation<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.cache.invalidate(self.target?, self.hold).await })
    }
}

/// Keys named by their first parts, and any part at some of the places: `quote`, then anything, then `1h`.
///
/// ```
/// use cache_core::KeyPattern;
///
/// let pattern = KeyPattern::new("quote")?.any().part("1h"); // quote:EURUSD:1h, quote:GOOG:1h, quote:GOOG:1h:2024
/// # Ok::<(), cache_core::Error>(())
/// ```
///
/// Parts are compared as they stand in keys. A part that was too long to stand there as itself is not found by
/// patterns: such keys are reached by key, prefix or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct KeyPattern {
    /// Escaped parts; `None` is any.
    parts: Vec<Option<Box<str>>>,
}

impl KeyPattern {
    /// All keys with this prefix; a prefix with `:` names several parts.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a text that cannot be a prefix.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        let escaped = |part: &str| Ok(Some(Prefix::new(part)?.as_str().into()));
        Ok(Self {
            parts: prefix.split(':').map(escaped).collect::<Result<_, Error>>()?,
        })
    }

    /// The next part is this one (or, of a tuple, these).
    pub fn part(mut self, parts: impl KeyParts) -> Self {
        let key = PATTERN.key(parts);
        self.parts
            .extend(key.text().split(':').skip(1).map(|part| Some(part.into())));
        self
    }

    /// The next part is there, whatever it is.
    pub fn any(mut self) -> Self {
        self.parts.push(None);
        self
    }

    /// Whether `key` begins with these parts.
    pub fn matches(&self, key: &CacheKey) -> bool {
        self.matches_text(key.text())
    }

    fn matches_text(&self, key: &str) -> bool {
        let mut parts = key.split(':');
        self.parts.iter().all(|expected| match (expected, parts.next()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(expected), Some(part)) => **expected == *part,
        })
    }
}

impl KeyPattern {
    /// The pattern as the shared tier reads it. Parts have no character that means something in it.
    pub(crate) fn glob(&self, namespace: &str) -> String {
        let mut glob = namespace.to_owned();
        for part in &self.parts {
            glob.push(':');
            glob.push_str(part.as_deref().unwrap_or("*"));
        }
        // The pattern names the first parts; what follows is a part of its own, or nothing.
        glob.push('*');
        glob
    }
}

/// Stands in for the prefix while a pattern's parts are escaped.
const PATTERN: Prefix = Prefix::literal("p");

impl Cache {
    /// Removes what is stored under `key`: hard.
    ///
    /// A load of the key that runs now still answers those who wait for it, and stores nothing.
    pub fn remove(&self, key: &CacheKey) -> Invalidation<'_> {
        self.invalidation(Ok(Target::Key(key.clone())))
    }

    /// Invalidates every entry that carries `tag`, in constant time: hard.
    pub fn invalidate_tag(&self, tag: impl AsRef<str>) -> Invalidation<'_> {
        self.invalidation(Tag::new(tag.as_ref()).map(Target::Tag).map_err(Error::from))
    }

    /// Invalidates every key of `prefix`, in constant time: hard.
    ///
    /// A prefix of several parts (`users:session`) is a pattern and takes a walk over the in-process tier.
    pub fn remove_prefix(&self, prefix: &str) -> Invalidation<'_> {
        if prefix.contains(':') {
            return self.invalidation(KeyPattern::new(prefix).map(Target::Pattern));
        }
        self.invalidation(Prefix::new(prefix).map(Target::Prefix).map_err(Error::from))
    }

    pub(crate) fn remove_whole_prefix(&self, prefix: &Prefix) -> Invalidation<'_> {
        self.invalidation(Ok(Target::Prefix(prefix.clone())))
    }

    /// Removes every key that `pattern` matches: hard. Walks over the in-process tier.
    pub fn remove_matching(&self, pattern: KeyPattern) -> Invalidation<'_> {
        self.invalidation(Ok(Target::Pattern(pattern)))
    }

    /// Invalidates everything in this handle's namespace and the ones inside it: hard.
    pub fn clear(&self) -> Invalidation<'_> {
        self.invalidation(Ok(Target::Everything))
    }

    /// Makes the entry under `key` stale: soft.
    ///
    /// # Errors
    ///
    /// [`InvalidationUncertain`](ErrorKind::InvalidationUncertain) if the shared tier did not acknowledge it; none in
    /// memory.
    pub async fn expire(&self, key: &CacheKey) -> Result<(), Error> {
        let id = self.id(key);
        self.expire_here(&id, None);
        self.inner.tally.count(Count::Invalidation);
        let Some(far) = self.far().cloned() else {
            return Ok(());
        };
        self.start_upkeep();
        let unsent = self.invalidate_if_cancelled(&far, vec![id.clone()]);
        let expired = self.expire_far(&far, &id).await;
        unsent.disarm();
        self.expire_here(&id, expired.as_ref().ok().copied());
        expired.map(drop).map_err(|fault| {
            // Gone is a safe way of being stale.
            far.recovery().add_key(self, &id, Duration::ZERO);
            self.uncertain(&fault)
        })
    }

    fn expire_here(&self, id: &EntryId, version: Option<Version>) {
        let now = self.inner.clock.now();
        self.inner
            .epochs
            .mutate_as(id, version, now, Timestamp::ZERO, |epoch| {
                self.inner.flights.detach_entry(id);
                self.inner.failures.forget(id.as_ref());
                let Some(entry) = self.current(id) else { return };
                if entry.meta().negative || entry.meta().hard_at <= entry.meta().soft_at {
                    self.inner.memory.remove(id.as_ref());
                } else {
                    entry.meta().expire(epoch);
                }
            });
    }

    /// Makes every entry that carries `tag` stale, in constant time: soft.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for text that cannot be a tag.
    pub async fn invalidate_tag_soft(&self, tag: impl AsRef<str> + Send) -> Result<(), Error> {
        let tag = Tag::new(tag.as_ref())?;
        let mark = self.inner.epochs.mark(&self.namespace, Kind::Tag, tag.as_str());
        self.move_mark(&mark, Strength::Soft, Duration::ZERO).await
    }

    /// Makes everything in this handle's namespace, and the ones inside it, stale: soft.
    ///
    /// # Errors
    ///
    /// [`InvalidationUncertain`](ErrorKind::InvalidationUncertain) if the shared tier did not acknowledge it; none in
    /// memory.
    pub async fn clear_soft(&self) -> Result<(), Error> {
        self.move_mark(&self.namespace.own, Strength::Soft, Duration::ZERO)
            .await
    }

    /// Gives the memory of entries back that can never be read again; how many there were.
    ///
    /// They are dropped by themselves when they are met, and evicted like others; this is for when that is too slow. In
    /// the shared tier it walks over all keys of this namespace, in small steps, and stops where that does not answer.
    /// What a load that runs now may yet have to compare itself with is left for a later purge.
    ///
    /// # Cancellation
    ///
    /// What was given back by then stays so.
    pub async fn purge(&self) -> usize {
        let here = self.sweep();
        let Some(far) = self.far().cloned() else {
            return here;
        };
        self.start_upkeep();
        let there = self.purge_far(&far).await;
        let there = there.inspect_err(|fault| self.degraded("purge", fault));
        here + there.unwrap_or(0)
    }

    fn invalidation(&self, target: Result<Target, Error>) -> Invalidation<'_> {
        Invalidation {
            cache: self,
            target,
            hold: Duration::ZERO,
        }
    }

    async fn invalidate(&self, target: Target, hold: Duration) -> Result<(), Error> {
        match target {
            Target::Key(key) => self.remove_key(&self.id(&key), hold).await,
            Target::Tag(tag) => {
                let mark = self.inner.epochs.mark(&self.namespace, Kind::Tag, tag.as_str());
                self.move_mark(&mark, Strength::Hard, hold).await
            }
            Target::Prefix(prefix) => {
                let mark = self
                    .inner
                    .epochs
                    .mark(&self.namespace, Kind::Prefix, prefix.as_str());
                self.move_mark(&mark, Strength::Hard, hold).await
            }
            Target::Pattern(_) if !hold.is_zero() => Err(Error::invalid(
                "a pattern has no hold-off; invalidate a tag or a prefix, which have",
            )),
            Target::Pattern(pattern) => self.remove_all(&pattern).await,
            Target::Everything => {
                let cleared = self.move_mark(&self.namespace.own, Strength::Hard, hold).await;
                let dead = |entry: &AnyEntry| entry.meta().standing(&self.inner.epochs) == Standing::Invalid;
                self.inner.memory.retain(|_, entry| !dead(entry));
                self.inner.failures.clear();
                cleared
            }
        }
    }

    /// The epoch moves, the shared tier changes, the epoch moves again: what was read in between is not stored.
    pub(crate) async fn remove_key(&self, id: &EntryId, hold: Duration) -> Result<(), Error> {
        self.forget(id, hold);
        let Some(far) = self.far().cloned() else {
            return Ok(());
        };
        self.start_upkeep();
        let unsent = self.invalidate_if_cancelled(&far, vec![id.clone()]);
        let removed = self.remove_far(&far, id, hold).await;
        unsent.disarm();
        let (version, now) = (removed.as_ref().ok().copied(), self.inner.clock.now());
        self.inner
            .epochs
            .mutate_as(id, version, now, Timestamp::ZERO, |_| self.forget_here(id));
        removed.map(drop).map_err(|fault| {
            far.recovery().add_key(self, id, hold);
            self.uncertain(&fault)
        })
    }

    /// Removes the keys of this namespace that `pattern` matches.
    ///
    /// Which loads in flight would store such a key is not known by name here, so every store of a load that began
    /// before is refused: more than needed, never less.
    async fn remove_all(&self, pattern: &KeyPattern) -> Result<(), Error> {
        self.remove_all_here(pattern);
        self.inner.tally.count(Count::GroupInvalidation);
        let Some(far) = self.far().cloned() else {
            return Ok(());
        };
        self.start_upkeep();
        let unsent = {
            let (cache, far, pattern) = (self.clone(), far.clone(), pattern.clone());
            Unheard::run(move || {
                far.recovery().add_pattern(&cache, &pattern);
                cache.remove_all_here(&pattern);
            })
        };
        let removed = self.remove_pattern_far(&far, pattern).await;
        unsent.disarm();
        self.remove_all_here(pattern);
        removed.map_err(|fault| {
            far.recovery().add_pattern(self, pattern);
            self.uncertain(&fault)
        })
    }

    pub(crate) fn remove_all_here(&self, pattern: &KeyPattern) {
        self.inner.epochs.raise_floor();
        self.inner.flights.detach_all();
        let namespace = self.namespace.id;
        self.inner
            .memory
            .retain(|id, _| id.namespace != namespace || !pattern.matches_text(id.key.text()));
        self.inner.failures.clear();
    }

    async fn move_mark(&self, mark: &Arc<Mark>, strength: Strength, hold: Duration) -> Result<(), Error> {
        let held_until = held_until(self.inner.clock.now(), hold);
        self.inner.epochs.move_mark(mark, strength, held_until);
        self.inner.tally.count(Count::GroupInvalidation);
        let Some(far) = self.far().cloned() else {
            return Ok(());
        };
        self.start_upkeep();
        let unsent = {
            let (cache, far, mark) = (self.clone(), far.clone(), mark.clone());
            Unheard::run(move || {
                far.recovery().add_mark(&cache, &mark, strength, hold);
                cache.inner.epochs.move_mark(&mark, strength, held_until);
            })
        };
        let moved = self.move_far(&far, mark, strength, hold).await;
        unsent.disarm();
        if let Ok(notice) = moved {
            mark.acknowledged(notice);
        }
        self.inner.epochs.move_mark(mark, strength, held_until);
        moved.map(drop).map_err(|fault| {
            far.recovery().add_mark(self, mark, strength, hold);
            self.uncertain(&fault)
        })
    }

    fn uncertain(&self, fault: &Fault) -> Error {
        self.degraded("invalidate", fault);
        Error::new(
            ErrorKind::InvalidationUncertain,
            format!("invalidated on this node and pending for the others: {fault}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_parts_and_user_text_is_never_a_wildcard() {
        #[track_caller]
        fn check(pattern: &KeyPattern, key: &str, expected: bool) {
            assert_eq!(
                pattern.matches(&CacheKey::parse(key).unwrap()),
                expected,
                "{pattern:?} on {key}"
            );
        }
        let hourly = KeyPattern::new("quote").unwrap().any().part("1h");
        check(&hourly, "quote:GOOG:1h", true);
        check(&hourly, "quote:GOOG:1h:2024", true);
        check(&hourly, "quote:GOOG:1hour", false);
        check(&hourly, "quote:GOOG", false);
        check(&hourly, "quotes:GOOG:1h", false);
        let star = KeyPattern::new("quote").unwrap().part("*");
        check(&star, "quote:GOOG", false);
        check(&star, "quote:%2A", true);
        check(
            &KeyPattern::new("users:session").unwrap(),
            "users:session:7",
            true,
        );
        check(
            &KeyPattern::new("users:session").unwrap(),
            "users:profile:7",
            false,
        );
    }
}
