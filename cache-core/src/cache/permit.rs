//! Storing a value whose making began earlier: a [`StorePermit`] remembers the beginning.

use std::fmt;
use std::time::Duration;

use crate::cache::far::{Budget, Far, HeldLease, Holding, Inquiry};
use crate::cache::shape::Shape;
use crate::cache::{Cache, CacheValue, Wire};
use crate::entry::{AnyEntry, EntryId};
use crate::epochs::{Kind, Refusal};
use crate::error::Error;
use crate::key::CacheKey;
use crate::loaded::Stored;
use crate::options::EntryOptions;
use crate::shared::{Ending, Fault, LeaseAnswer, LeaseRequest, Refuse, Token, Verdict};
use crate::stats::Count;
use crate::sync::Arc;
use crate::tag::TagSet;

/// The right to store what is about to be loaded, unless it is invalidated meanwhile.
///
/// [`Cache::set`] stores what is true now. A value whose making takes time (a response that streams in, a file that is
/// being read) may have become untrue before it is complete: take a permit *before* asking for it, and store with the
/// permit. What was invalidated in between, by its key, by one of its tags, its prefix or its namespace, is refused,
/// also when the tag became known only after the load began.
///
/// ```
/// use cache_core::{Cache, CacheKey, EntryOptions, Stored, tag::TagSet, time::minutes};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::builder("files").build()?;
/// let key = CacheKey::build("file", "a.txt")?;
///
/// let permit = cache.store_permit();
/// let (content, volume) = (String::from("old"), "volume:1"); // read slowly
/// cache.invalidate_tag("volume:1").await?; // meanwhile
///
/// let options = EntryOptions::ttl(minutes(5)).tags(TagSet::new([volume])?);
/// assert_eq!(permit.store(&key, content, options).await?, Stored::Superseded);
/// # Ok(()) }
/// ```
///
/// A permit that is kept for long refuses more than it must: the record of what was invalidated is bounded.
#[derive(Clone)]
pub struct StorePermit {
    cache: Cache,
    seen: u64,
}

impl Cache {
    /// Notes the present moment, for storing later what is loaded from now on.
    pub fn store_permit(&self) -> StorePermit {
        StorePermit {
            cache: self.clone(),
            seen: self.inner.epochs.seen(),
        }
    }
}

impl StorePermit {
    /// Stores `value` under `key`, unless the key, a tag of `options`, the prefix or the namespace was invalidated, or
    /// the key was set, since the permit was taken.
    ///
    /// Unlike [`Cache::set`] this is no mutation of the key: loads in flight go on, and of two permits for one key the
    /// later store wins.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for contradicting options.
    pub async fn store<T: CacheValue>(
        &self,
        key: &CacheKey,
        value: T,
        options: impl Into<EntryOptions> + Send,
    ) -> Result<Stored, Error> {
        let options = self.cache.complete(&options.into(), key.prefix());
        let policy = options.resolve()?;
        let id = self.cache.id(key);
        let now = self.cache.inner.clock.now();
        let shape = Shape {
            policy,
            marks: self.cache.marks_of(key, options.tag_set()),
            seen: self.seen,
            now,
            delta: Duration::ZERO,
        };
        let entry = self.cache.shape(&id, Some(value), Wire::serde(), shape);
        let zero = policy.ttl.is_zero();
        let stored = match self.cache.far().cloned() {
            Some(far) if !zero => {
                let wire = Wire::<T>::serde().written_in(policy.codec);
                self.store_through(&far, &id, &entry, wire).await
            }
            _ => self.store_here(&id, &entry),
        };
        Ok(if stored.is_stored() && zero {
            Stored::ZeroTtl
        } else {
            stored
        })
    }

    fn store_here(&self, id: &EntryId, entry: &AnyEntry) -> Stored {
        let now = self.cache.inner.clock.now();
        match self.cache.fill(id, entry, self.seen, now) {
            Ok(true) => Stored::Yes,
            Ok(false) if entry.meta().soft_at <= entry.meta().loaded_at => Stored::ZeroTtl,
            Ok(false) => Stored::TooLarge,
            Err(Refusal::HeldOff) => Stored::HeldOff,
            Err(Refusal::Mutated) => Stored::Superseded,
        }
    }

    async fn store_through<T: Send + Sync + 'static>(
        &self,
        far: &Arc<Far>,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) -> Stored {
        self.cache.start_upkeep();
        let shared = match self.offer(far, id, entry, wire).await {
            Ok(verdict) => verdict,
            Err(fault) => {
                self.cache.degraded("store", &fault);
                Verdict::Nothing
            }
        };
        let stored = match shared {
            Verdict::Applied => Stored::Yes,
            Verdict::Nothing | Verdict::OutOfMemory => Stored::Locally,
            Verdict::HeldOff(_) => Stored::HeldOff,
            _ => Stored::Superseded,
        };
        if !stored.is_stored() {
            self.cache.inner.tally.count(Count::StoreRefused);
            return stored;
        }
        match self.store_here(id, entry) {
            Stored::Yes => stored,
            refused => refused,
        }
    }

    /// Offers the entry to the shared tier, which has no record of when this permit was taken, as it has of leases. But
    /// the log has, and so:
    ///
    /// 1. the key is leased and the marks are read, and after that the end of the log;
    /// 2. once this node has heard everything up to there, it knows of all that happened before the lease, and refuses
    ///    if any of it came after the permit;
    /// 3. the server refuses what happened after the lease: by the key's version, and readers do by the marks'.
    async fn offer<T: Send + Sync + 'static>(
        &self,
        far: &Arc<Far>,
        id: &EntryId,
        entry: &AnyEntry,
        wire: Wire<T>,
    ) -> Result<Verdict, Fault> {
        let cache = &self.cache;
        let marks = &entry.meta().marks;
        if let Some(refusal) = self.refusal(id, entry) {
            return Ok(refusal);
        }
        if far.recovery().doubts(id, marks) || !far.hearing().is_heard_or_beginning() {
            return Ok(Verdict::Nothing);
        }
        let key = cache.far_key(id.key());
        let Inquiry {
            budget, mut views, ..
        } = cache.inquiry(far);
        let (viewed, lease) = tokio::join!(
            cache.view_marks(far, marks.iter(), &mut views, &budget),
            self.briefly_lease(far, &key, &budget)
        );
        // Whoever loads the key has something newer.
        let Some(lease) = lease? else {
            return Ok(Verdict::Nothing);
        };
        viewed?;
        let within = budget.left(cache.clock())?;
        let end = far.port().log_end(within).await?;
        let patience = budget.left(cache.clock())?.min(LOG_PATIENCE);
        if tokio::time::timeout(patience, far.hearing().until(end))
            .await
            .is_err()
        {
            return Ok(Verdict::Nothing);
        }
        if let Some(refusal) = self.refusal(id, entry) {
            return Ok(refusal);
        }
        let Some(payload) = cache.payload(far, id, entry, wire, &views) else {
            return Ok(Verdict::Nothing);
        };
        Ok(lease.commit(Some(payload), None, Ending::Done).await?.verdict)
    }

    /// The key's lock, for as long as storing takes; `None` if somebody else keeps it.
    async fn briefly_lease(
        &self,
        far: &Arc<Far>,
        key: &str,
        budget: &Budget,
    ) -> Result<Option<HeldLease>, Fault> {
        let cache = &self.cache;
        for _ in 0..LEASE_TRIES {
            let request = LeaseRequest {
                key,
                refuse: Refuse::Any,
                token: Token::random(),
                ttl: budget.left(cache.clock())?,
                consult_errors: false,
                take_over: None,
            };
            let unanswered = cache.give_back_unheard(far, Holding::Load(key.to_owned()), request.token);
            let answer = far.port().lease(request, request.ttl).await;
            unanswered.hear(&answer);
            if let LeaseAnswer::Lease(lease) = answer? {
                return Ok(Some(HeldLease::new(cache, far, key.to_owned(), lease)));
            }
            tokio::time::sleep(LEASE_PAUSE).await;
        }
        Ok(None)
    }

    /// What this node knows to have happened since the permit was taken.
    fn refusal(&self, id: &EntryId, entry: &AnyEntry) -> Option<Verdict> {
        let now = self.cache.inner.clock.now();
        let allowed = self
            .cache
            .may_store(entry, now)
            .and_then(|()| self.cache.inner.epochs.permits(id, self.seen, None, now));
        allowed.err().map(|refusal| match refusal {
            Refusal::HeldOff => Verdict::HeldOff(Duration::ZERO),
            Refusal::Mutated => Verdict::Superseded(None),
        })
    }

    /// Whether none of `tags`, and not the whole namespace, was invalidated since the permit was taken.
    ///
    /// For results that are shared with others before they are stored.
    pub fn is_current(&self, tags: &TagSet) -> bool {
        let epochs = &self.cache.inner.epochs;
        let moved = |mark: &crate::epochs::Mark| mark.was_moved_since(self.seen);
        !self.cache.namespace.marks.iter().any(|mark| moved(mark))
            && !tags
                .iter()
                .any(|tag| moved(&epochs.mark(&self.cache.namespace, Kind::Tag, tag.as_str())))
    }
}

impl fmt::Debug for StorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorePermit").finish_non_exhaustive()
    }
}

/// How long to wait for what has been announced: it usually is here before it is asked about.
const LOG_PATIENCE: Duration = Duration::from_millis(50);
/// Two who store at the same time get in each other's way for a few round trips.
const LEASE_TRIES: usize = 4;
const LEASE_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::minutes;

    fn setting() -> (Cache, CacheKey, EntryOptions) {
        let cache = Cache::builder("c").build().unwrap();
        let tags = TagSet::new(["t"]).unwrap();
        let key = CacheKey::build("k", 1).unwrap();
        (cache, key, EntryOptions::ttl(minutes(5)).tags(tags))
    }

    #[tokio::test]
    async fn what_nobody_invalidated_is_stored() {
        let (cache, key, options) = setting();
        let permit = cache.store_permit();
        cache.invalidate_tag("other").await.unwrap();
        assert_eq!(permit.store(&key, 1, options).await.unwrap(), Stored::Yes);
        assert_eq!(cache.get::<i32>(&key).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_invalidation_since_the_permit_refuses_the_store() {
        for how in ["key", "set", "tag", "prefix", "clear"] {
            let (cache, key, options) = setting();
            let permit = cache.store_permit();
            match how {
                "key" => cache.remove(&key).await.unwrap(),
                "set" => assert!(cache.set(&key, 2, minutes(1)).await.unwrap().is_stored()),
                "tag" => cache.invalidate_tag("t").await.unwrap(),
                "prefix" => cache.remove_prefix("k").await.unwrap(),
                _ => cache.clear().await.unwrap(),
            }
            let stored = permit.store(&key, 1, options.clone()).await.unwrap();
            assert_eq!(stored, Stored::Superseded, "after {how}");
            let later = cache.store_permit();
            assert_eq!(
                later.store(&key, 1, options).await.unwrap(),
                Stored::Yes,
                "after {how}"
            );
        }
    }

    #[tokio::test]
    async fn a_permit_knows_whether_its_tags_are_current() {
        let (cache, _, options) = setting();
        let permit = cache.store_permit();
        assert!(permit.is_current(options.tag_set()));
        cache.invalidate_tag("other").await.unwrap();
        assert!(permit.is_current(options.tag_set()));
        cache.invalidate_tag("t").await.unwrap();
        assert!(!permit.is_current(options.tag_set()));
        assert!(cache.store_permit().is_current(options.tag_set()));
        let before_clear = cache.store_permit();
        cache.clear().await.unwrap();
        assert!(!before_clear.is_current(&TagSet::EMPTY));
    }
}
