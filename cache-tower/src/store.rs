//! Finding and storing responses: what a target's keys hold in the [`Cache`].
//!
//! * under the target's own key, the response without nominated fields;
//! * under the index key, which variants there are;
//! * under one key per variant, the variant.
//!
//! Responses are stored with the permit that was taken before the origin was asked, so that what was invalidated
//! meanwhile is not stored. The index needs no such care: it only says where to look.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use cache_core::key::CacheKey;
use cache_core::{Cache, EntryOptions, Loaded, StorePermit, Stored};
use http::{HeaderMap, HeaderName};

use crate::config::CacheConfig;
use crate::key::{Asked, Keys, Target};
use crate::policy::parts::Combined;
use crate::policy::{HttpCachePolicy, RequestView, Selection, StoredHead, parts, select, vary};
use crate::stored::{StoredResponse, VariantIndex};

/// The responses of one layer in a [`Cache`].
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) cache: Cache,
    pub(crate) config: CacheConfig,
    pub(crate) keys: Keys,
}

/// What is stored for a request.
#[derive(Debug, Default)]
pub(crate) struct Found {
    candidates: Candidates,
    /// Something is stored for the target, if not for these request fields.
    knows_target: bool,
    /// The fields by which the target's responses are known to vary.
    names: Vec<HeaderName>,
}

/// Mostly one: then there is nothing to allocate.
#[derive(Debug, Default)]
struct Candidates {
    first: Option<Candidate>,
    more: Vec<Candidate>,
}

/// A stored response that may answer a request.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    response: Loaded<StoredResponse>,
    /// The head of one that was made stale without being removed.
    made_stale: Option<Arc<StoredHead>>,
}

impl Candidate {
    /// The head, as stale as it is.
    pub(crate) fn head(&self, policy: &HttpCachePolicy) -> Option<&StoredHead> {
        self.made_stale.as_deref().or_else(|| self.response.head(policy))
    }

    /// Whether both are the same response in memory.
    pub(crate) fn is_same(this: &Self, other: &Self) -> bool {
        Loaded::ptr_eq(&this.response, &other.response)
    }
}

impl Deref for Candidate {
    type Target = StoredResponse;

    fn deref(&self) -> &StoredResponse {
        &self.response
    }
}

impl Store {
    pub(crate) fn new(cache: Cache, config: CacheConfig, keys: Keys) -> Self {
        Self { cache, config, keys }
    }

    /// What the in-process tier holds, without waiting; `None` if that needs more than one look.
    #[inline]
    pub(crate) fn find_in_process(&self, asked: &Asked<'_>) -> Option<Loaded<StoredResponse>> {
        let key = self.keys.response_asked(asked);
        let response: Loaded<StoredResponse> = self.cache.get_in_process(key.as_key())?;
        response.is_alone().then_some(response)
    }

    /// What is stored for a request with these fields.
    pub(crate) async fn find(&self, target: &Target, request: &HeaderMap) -> Found {
        let mut found = Found::default();
        let plain = self.get(&self.keys.response(target).finish()).await;
        let is_alone = plain.as_ref().is_some_and(|response| response.is_alone());
        found.take(plain);
        if is_alone {
            return found;
        }
        let Some(index) = self
            .cache
            .get::<VariantIndex>(&self.keys.index(target).finish())
            .await
        else {
            if let Some(response) = &found.candidates.first {
                response.set_alone(true);
            }
            return found;
        };
        for names in index.name_sets() {
            let secondary = vary::secondary_key(names, request);
            found.take(self.get(&self.keys.variant(target, &secondary).finish()).await);
            found.names.extend_from_slice(names);
        }
        found.knows_target |= !index.is_empty();
        found.names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        found.names.dedup();
        found
    }

    async fn get(&self, key: &CacheKey) -> Option<Candidate> {
        let response = self.cache.lookup::<StoredResponse>(key).await.value()?;
        let head = response.head(&self.config.policy)?;
        // Freshness is HTTP's: what the cache calls stale was made so by somebody.
        let made_stale = response
            .outcome()
            .is_stale()
            .then(|| Arc::new(head.made_stale(self.cache.clock().wall())));
        Some(Candidate { response, made_stale })
    }

    /// The key under which requests for the target are collapsed that agree in the fields `names`.
    pub(crate) fn flight(&self, target: &Target, names: &[HeaderName], request: &HeaderMap) -> CacheKey {
        let names = names.iter().chain(&self.config.policy.vary_always);
        self.keys.flight(target, &vary::secondary_key(names, request))
    }

    /// Stores a response, unless it was invalidated since the permit was taken. Whether it is stored.
    pub(crate) async fn insert(
        &self,
        target: &Target,
        permit: &StorePermit,
        response: StoredResponse,
        now: SystemTime,
    ) -> bool {
        let Some(response) = self.with_parts(target, response, now).await else {
            return false;
        };
        let Some(head) = response.head(&self.config.policy) else {
            return false;
        };
        let names: Vec<HeaderName> = head.nominated().names().cloned().collect();
        let ttl = head.retention(now, self.config.keep_stale);
        if self.config.policy.no_vary_search {
            self.note_search(target, permit, head, ttl).await;
        }
        let key = self.key_of(target, head);
        let options = fixed(ttl).tags(response.tags().clone());
        if names.is_empty() {
            self.insert_plain(target, &key, permit, response, options).await
        } else {
            // Noted only when it is there: requests that do not know the fields yet all wait behind one, and those
            // that know them find it.
            if !self.offer(permit, &key, response, options).await {
                return false;
            }
            self.note_variant(target, &names, &key, ttl).await;
            true
        }
    }

    /// Stores with the permit. The shared tier takes it only once this node has heard what was announced before, which
    /// may take longer than one store waits.
    async fn offer(
        &self,
        permit: &StorePermit,
        key: &CacheKey,
        response: StoredResponse,
        options: EntryOptions,
    ) -> bool {
        if !self.cache.is_shared() {
            return stored(permit.store(key, response, options).await);
        }
        let mut next = Some(response);
        for offer in 1..OFFERS {
            let Some(response) = next.take() else { break };
            next = response.again(&self.config.policy);
            let offered = permit.store(key, response, options.clone()).await;
            let missed = matches!(offered, Ok(Stored::Locally));
            let is_worth_it = next
                .as_ref()
                .is_some_and(|next| next.body().len() <= OFFERED_AGAIN);
            if !(missed && is_worth_it) {
                return stored(offered);
            }
            tokio::time::sleep(OFFER_PAUSE * offer).await;
        }
        match next {
            Some(response) => stored(permit.store(key, response, options).await),
            None => false,
        }
    }

    /// A part is joined with what is stored, and does not displace more than it is worth: `None` keeps what there is
    /// (RFC 9111 §3.4).
    async fn with_parts(
        &self,
        target: &Target,
        response: StoredResponse,
        now: SystemTime,
    ) -> Option<StoredResponse> {
        let policy = &self.config.policy;
        let head = response.head(policy)?;
        if head.part().is_none() {
            return Some(response);
        }
        let Some(current) = self.get(&self.key_of(target, head)).await else {
            return Some(response);
        };
        let old = current.head(policy)?;
        if let Some(combined) = parts::combine(old, head, policy) {
            let body = joined(&combined, current.body(), response.body());
            if body.len() as u64 > self.config.body_limit {
                return None;
            }
            return Some(StoredResponse::new(combined.head, body, response.tags().clone()));
        }
        let is_worth_keeping = match old.part() {
            None => old.freshness().is_fresh(now) || parts::share_validator(old, head),
            Some(part) => parts::share_validator(old, head) && part.length() >= response.body().len() as u64,
        };
        (!is_worth_keeping).then_some(response)
    }

    /// A plain response is alone unless variants are known. It is stored before the index is looked at, and a variant
    /// is noted before the plain response is: whichever comes second sees the other.
    async fn insert_plain(
        &self,
        target: &Target,
        key: &CacheKey,
        permit: &StorePermit,
        response: StoredResponse,
        options: EntryOptions,
    ) -> bool {
        response.set_alone(false);
        if !self.offer(permit, key, response, options).await {
            return false;
        }
        let has_variants = self.cache.contains(&self.keys.index(target).finish()).await;
        if let (false, Some(response)) = (has_variants, self.cache.get::<StoredResponse>(key).await) {
            response.set_alone(true);
            // A variant may have been noted in between.
            if self.cache.contains(&self.keys.index(target).finish()).await {
                response.set_alone(false);
            }
        }
        true
    }

    async fn note_variant(&self, target: &Target, names: &[HeaderName], key: &CacheKey, ttl: Duration) {
        let limit = self.config.policy.variants_limit;
        let mut excess = Vec::new();
        // As this node knows: what it does not hold, it does not use.
        let used = |key: &str| {
            let key = CacheKey::parse(key).ok()?;
            Some(self.cache.get_in_process::<StoredResponse>(key.as_key())?.used())
        };
        let noted = self
            .cache
            .update::<VariantIndex, _>(
                &self.keys.index(target).finish(),
                fixed(ttl.max(INDEX_TTL)),
                |index| {
                    let mut index = index.unwrap_or_default();
                    excess = index.note(names, key.text(), limit, used);
                    index
                },
            )
            .await;
        if let Err(error) = noted {
            tracing::debug!(%error, "the index of variants was not updated");
        }
        for key in excess.iter().filter_map(|key| CacheKey::parse(key).ok()) {
            // Removing cannot fail in a way that matters: nothing leads to the variant any more.
            let _ = self.cache.remove(&key).await;
        }
        if let Some(plain) = self
            .cache
            .get::<StoredResponse>(&self.keys.response(target).finish())
            .await
        {
            plain.set_alone(false);
        }
    }

    /// Removes one stored response.
    pub(crate) async fn remove(&self, target: &Target, head: &StoredHead) {
        if let Err(error) = self.cache.remove(&self.key_of(target, head)).await {
            tracing::warn!(%error, "a response that has become private could not be removed");
        }
    }

    /// Whether this very response is still stored: not replaced, removed or invalidated.
    pub(crate) async fn still_holds(&self, target: &Target, response: &Candidate) -> bool {
        let Some(head) = response.head(&self.config.policy) else {
            return false;
        };
        let Some(current) = self.get(&self.key_of(target, head)).await else {
            return false;
        };
        // It may have gone to the shared tier and come back.
        Candidate::is_same(&current, response)
            || current
                .head(&self.config.policy)
                .is_some_and(|current| is_same_exchange(current, head))
    }

    /// Where nodes tell one another that a request in flight cannot be shared.
    pub(crate) fn unshareable(&self, flight: &CacheKey) -> CacheKey {
        self.keys.unshareable(flight)
    }

    fn key_of(&self, target: &Target, head: &StoredHead) -> CacheKey {
        if head.nominated().is_empty() {
            return self.keys.response(target).finish();
        }
        let secondary = head.nominated().secondary_key();
        self.keys.variant(target, &secondary).finish()
    }

    /// The text of the target's key, for operators.
    pub(crate) fn key_text(&self, target: &Target) -> String {
        self.keys.response(target).finish().text().to_owned()
    }
}

impl Found {
    fn take(&mut self, response: Option<Candidate>) {
        let Some(response) = response else { return };
        self.knows_target = true;
        match self.candidates.first {
            None => self.candidates.first = Some(response),
            Some(_) => self.candidates.more.push(response),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.candidates.first.is_none()
    }

    /// The same without the candidates that do not fit.
    pub(crate) fn only(mut self, fits: impl Fn(&Candidate) -> bool) -> Self {
        let all = self
            .candidates
            .first
            .take()
            .into_iter()
            .chain(std::mem::take(&mut self.candidates.more));
        let mut fitting = all.filter(fits);
        self.candidates.first = fitting.next();
        self.candidates.more = fitting.collect();
        self
    }

    /// The stored responses that may fit.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.first.iter().chain(&self.candidates.more)
    }

    /// The response to use for these request fields, and what the policy is to know about it.
    pub(crate) fn select<'a>(
        &'a self,
        request: &RequestView<'_>,
        config: &CacheConfig,
    ) -> (Selection<'a>, Option<&'a Candidate>) {
        let heads = self
            .candidates()
            .filter_map(|response| response.head(&config.policy));
        match select(heads, request) {
            Selection::Found(head) => {
                let is_it = |response: &&Candidate| {
                    response
                        .head(&config.policy)
                        .is_some_and(|own| std::ptr::eq(own, head))
                };
                (Selection::Found(head), self.candidates().find(is_it))
            }
            Selection::Nothing if self.knows_target => (Selection::NoVariant, None),
            other => (other, None),
        }
    }

    /// The fields by which the target's responses are known to vary.
    pub(crate) fn names(&self) -> &[HeaderName] {
        &self.names
    }
}

/// Whether both heads tell of the same response of the origin; times are encoded in milliseconds.
pub(crate) fn is_same_exchange(one: &StoredHead, other: &StoredHead) -> bool {
    let milliseconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(|it| it.as_millis())
    };
    milliseconds(one.received()) == milliseconds(other.received())
        && one.status() == other.status()
        && one.headers() == other.headers()
}

/// HTTP alone decides about freshness: the entry lives exactly as long as it can be of use.
pub(crate) fn fixed(ttl: Duration) -> EntryOptions {
    EntryOptions::ttl(ttl)
        // Room for being made stale without being removed.
        .stale_for(Duration::from_millis(1))
        .jitter(0.0)
        .eager(cache_core::Eager::Off)
}

/// The body of two parts put together.
pub(crate) fn joined(combined: &Combined, old: &Bytes, new: &Bytes) -> Bytes {
    let end = old.len() as u64;
    let (first, last) = (combined.from_old.start.min(end), combined.from_old.end.min(end));
    // Both are at most the body's length, which is a `usize`.
    let old = &old[first.min(last) as usize..last as usize];
    let (one, two) = if combined.new_comes_first {
        (&**new, old)
    } else {
        (old, &**new)
    };
    let mut body = BytesMut::with_capacity(one.len() + two.len());
    body.extend_from_slice(one);
    body.extend_from_slice(two);
    body.freeze()
}

fn stored(result: Result<Stored, cache_core::Error>) -> bool {
    match result {
        Ok(stored) => stored.is_stored(),
        Err(error) => {
            tracing::warn!(%error, "a response could not be stored");
            false
        }
    }
}

/// How often a response is offered to the shared tier.
const OFFERS: u32 = 5;
const OFFER_PAUSE: Duration = Duration::from_millis(50);
/// What is larger was more likely refused for its size.
const OFFERED_AGAIN: usize = 1 << 20;

/// An index outlives its variants: one that is missing only costs a miss.
pub(crate) const INDEX_TTL: Duration = Duration::from_secs(86_400);
