//! Responses that say something about what is stored: 304, 206 for a missing part, and those to HEAD.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::tag::TagSet;
use http::StatusCode;
use http_body::Body;

use crate::BoxError;
use crate::answer;
use crate::forward::arrived;
use crate::outcome::OutcomeKind;
use crate::policy::StoredHead;
use crate::policy::fields::EntityTag;
use crate::policy::parts::combine;
use crate::policy::validation::{Freshened, HeadUpdate, Keep, on_head_response, on_not_modified};
use crate::receive::{Arriving, Verdict, announced_length};
use crate::store::{Candidate, joined};
use crate::stored::StoredResponse;
use crate::transfer::{Pump, Transfer};

impl Arriving<'_> {
    /// 304: the stored response is good again, with the fields of the new one.
    pub(crate) async fn not_modified<B>(mut self) -> Verdict<B> {
        let (cache, inquiry) = (self.cache, self.inquiry);
        let policy = cache.policy();
        let freshened = inquiry.stored.as_ref().and_then(|stored| {
            let head = stored.head(policy)?;
            let freshened = on_not_modified(&inquiry.view(), head, &self.timed(), policy)?;
            Some((stored, head, freshened))
        });
        let Some((stored, old, Freshened { head, keep })) = freshened else {
            return Verdict::AskAgain(self.leader.take());
        };
        let now = cache.wall();
        let tags = self.tags_of(&head, Some(stored.tags())).ok();
        let kept = self.keep(old, &head, keep, stored.body(), tags, now).await;
        self.freshen_others(stored).await;
        let mut outcome = inquiry.outcome(OutcomeKind::Revalidated);
        outcome.forward_status = Some(StatusCode::NOT_MODIFIED.as_u16());
        outcome.ttl = Some(head.freshness().ttl_seconds(now));
        outcome.stored = kept;
        let response = StoredResponse::new(head.clone(), stored.body().clone(), TagSet::EMPTY);
        let answer = answer::from_stored(&inquiry.view(), &response, &head, now);
        Verdict::Answer(cache.finish(answer, outcome, Some(&inquiry.target)))
    }

    /// What else could have been chosen for the request and has the strong validator of the 304 is as good as the one
    /// that was validated (RFC 9111 §4.3.4).
    async fn freshen_others(&self, validated: &Candidate) {
        let (inquiry, policy) = (self.inquiry, self.cache.policy());
        let Some(tag) = EntityTag::of(&self.parts.headers).filter(|tag| !tag.is_weak()) else {
            return;
        };
        for other in inquiry.found.candidates() {
            let Some(head) = other.head(policy).filter(|head| {
                !Candidate::is_same(other, validated)
                    && head.nominated().matches(&inquiry.fields)
                    && head.etag().is_some_and(|own| own.strongly_equals(&tag))
            }) else {
                continue;
            };
            let Some(freshened) = on_not_modified(&inquiry.view(), head, &self.timed(), policy) else {
                continue;
            };
            // Only under its own key: where the new fields would move it, the validated one is already.
            if freshened.keep == Keep::Replace && freshened.head.nominated() == head.nominated() {
                let response =
                    StoredResponse::new(freshened.head, other.body().clone(), other.tags().clone());
                let now = self.cache.wall();
                self.cache.insert(inquiry, response, now, None).await;
            }
        }
    }

    /// 206 for what was missing of a stored part: together they are the whole (RFC 9111 §3.4).
    pub(crate) async fn completed<B>(mut self, part: &StoredResponse, body: B) -> Verdict<B>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (cache, inquiry) = (self.cache, self.inquiry);
        let policy = cache.policy();
        let view = inquiry.view();
        let combined = part.head(policy).and_then(|old| {
            let new = StoredHead::store(&view, &inquiry.target.uri, &self.timed(), policy).ok()?;
            combine(old, &new, policy).filter(|combined| combined.head.part().is_none())
        });
        let Some(combined) = combined else {
            return Verdict::AskAgain(self.leader.take());
        };
        let transfer = Arc::new(Transfer::new(announced_length(&self.parts.headers)));
        let mut pump = Pump::new(body, transfer.clone(), cache.store.config.body_limit);
        drop(tokio::time::timeout(cache.store.config.load_timeout, pump.run()).await);
        let (Some(missing), Ok(tags)) = (transfer.body(), self.tags_of(&combined.head, Some(part.tags())))
        else {
            return Verdict::AskAgain(self.leader.take());
        };
        let (now, body) = (cache.wall(), joined(&combined, part.body(), &missing));
        let leader = self.leader.take();
        if let Some(leader) = &leader {
            leader.share(arrived(combined.head.clone(), body.clone(), self.parts.status));
        }
        let mut outcome = inquiry.outcome(OutcomeKind::Miss);
        outcome.forward_status = Some(self.parts.status.as_u16());
        outcome.ttl = Some(combined.head.freshness().ttl_seconds(now));
        let response = StoredResponse::new(combined.head.clone(), body, tags);
        let answer = answer::from_stored(&view, &response, &combined.head, now);
        outcome.stored = cache.insert(inquiry, response, now, leader).await;
        Verdict::Answer(cache.finish(answer, outcome, Some(&inquiry.target)))
    }

    /// Stores the freshened response, or removes the old one. Whether it is stored.
    async fn keep(
        &mut self,
        old: &StoredHead,
        head: &StoredHead,
        keep: Keep,
        body: &Bytes,
        tags: Option<TagSet>,
        now: SystemTime,
    ) -> bool {
        let (store, target) = (&self.cache.store, &self.inquiry.target);
        let leader = self.leader.take();
        match (keep, tags) {
            (Keep::Replace, Some(tags)) => {
                if old.nominated() != head.nominated() {
                    store.remove(target, old).await;
                }
                if let Some(leader) = &leader {
                    leader.share(arrived(head.clone(), body.clone(), self.parts.status));
                }
                let response = StoredResponse::new(head.clone(), body.clone(), tags);
                self.cache.insert(self.inquiry, response, now, leader).await
            }
            (Keep::Leave(_), _) => false,
            (Keep::Evict(_), _) | (Keep::Replace, None) => {
                store.remove(target, old).await;
                self.leader = leader;
                self.refuse();
                false
            }
        }
    }

    /// A response to HEAD tells about the stored GETs (RFC 9111 §4.3.5).
    pub(crate) async fn update_from_head(&self) {
        let (cache, inquiry) = (self.cache, self.inquiry);
        let view = inquiry.view();
        for stored in inquiry.found.candidates() {
            let Some(head) = stored.head(cache.policy()) else {
                continue;
            };
            if !head.nominated().matches(&inquiry.fields) {
                continue;
            }
            let length = stored.body().len() as u64;
            let updated = match on_head_response(&view, head, length, &self.timed(), cache.policy()) {
                HeadUpdate::Nothing => continue,
                HeadUpdate::Contradicted => {
                    let mut suspect = head.clone();
                    suspect.mark_suspect();
                    suspect
                }
                HeadUpdate::Freshened(freshened) => match freshened.keep {
                    Keep::Replace => freshened.head,
                    Keep::Leave(_) => continue,
                    Keep::Evict(_) => {
                        cache.store.remove(&inquiry.target, head).await;
                        continue;
                    }
                },
            };
            let response = StoredResponse::new(updated, stored.body().clone(), stored.tags().clone());
            let now = cache.wall();
            cache.insert(inquiry, response, now, None).await;
        }
    }
}
