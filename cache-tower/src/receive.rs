//! What the origin's response means: for the store, for those who wait, and for the client.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use cache_core::tag::{Tag, TagSet};
use http::{HeaderMap, Response, StatusCode, header, response};
use http_body::Body;
use tokio::sync::oneshot;

use crate::answer;
use crate::body::CacheBody;
use crate::collapse::{Arrival, Leader};
use crate::commit::Commit;
use crate::exchange::{HttpCache, Inquiry};
use crate::inner::ResponseBody;
use crate::outcome::OutcomeKind;
use crate::policy::precondition::{ConditionalAnswer, evaluate};
use crate::policy::status::ForwardCause;
use crate::policy::uri_reference::origin;
use crate::policy::{NotStored, OriginFailure, StoredHead, Timed, groups, invalidation};
use crate::route::CachePolicy;
use crate::tags;
use crate::transfer::{End, Pump, Transfer};

/// A response with the times around it.
pub(crate) struct Received<B> {
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
    pub(crate) response: Response<B>,
}

/// What follows from a response.
pub(crate) enum Verdict<B> {
    Answer(Response<CacheBody<B>>),
    /// A 304 about something else than what was to be validated: ask again, without conditions.
    AskAgain(Option<Leader>),
}

/// Deals with a response of the origin.
pub(crate) async fn receive<B>(
    cache: &Arc<HttpCache>,
    inquiry: &Inquiry,
    received: Received<B>,
    leader: Option<Leader>,
) -> Verdict<B>
where
    B: ResponseBody,
{
    let (parts, body) = received.response.into_parts();
    let mut arriving = Arriving {
        cache,
        inquiry,
        requested: received.requested,
        received: received.received,
        parts,
        leader,
    };
    if inquiry.stored.is_some() {
        if arriving.parts.status == StatusCode::NOT_MODIFIED {
            return Box::pin(arriving.not_modified()).await;
        }
        if let Some(failure) = OriginFailure::of_status(arriving.parts.status)
            && let Some(answer) = cache.stale_instead(inquiry, failure).await
        {
            if let Some(leader) = arriving.leader.take() {
                leader.fail(failure);
            }
            return Verdict::Answer(answer);
        }
    }
    if let Some(part) = &inquiry.part
        && arriving.parts.status == StatusCode::PARTIAL_CONTENT
    {
        return Box::pin(arriving.completed(part, body)).await;
    }
    if inquiry.method == http::Method::HEAD {
        Box::pin(arriving.update_from_head()).await;
    }
    Verdict::Answer(arriving.full(body).await)
}

/// Invalidates what a response to an unsafe request makes untrue (RFC 9111 §4.4, RFC 9875 §3).
pub(crate) async fn invalidate(cache: &HttpCache, inquiry: &Inquiry, status: StatusCode, fields: &HeaderMap) {
    let (method, target) = (&inquiry.method, &inquiry.target.uri);
    let uris = invalidation::invalidated_uris(method, target, status, fields);
    let mut made_untrue: Vec<Tag> = uris.iter().map(|uri| tags::uri_tag(uri)).collect();
    if let Some(origin) = origin(target) {
        let groups = groups::invalidated_groups(method, fields);
        made_untrue.extend(groups.iter().map(|group| tags::cache_group_tag(origin, group)));
    }
    for tag in made_untrue {
        if let Err(error) = cache.store.cache.invalidate_tag(&tag).await {
            tracing::warn!(%error, "an invalidation failed");
        }
    }
}

/// A response whose head has arrived.
pub(crate) struct Arriving<'a> {
    pub(crate) cache: &'a Arc<HttpCache>,
    pub(crate) inquiry: &'a Inquiry,
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
    pub(crate) parts: response::Parts,
    pub(crate) leader: Option<Leader>,
}

/// A response that is to be stored.
struct Storable {
    head: StoredHead,
    tags: TagSet,
    announced: Option<u64>,
}

impl Arriving<'_> {
    pub(crate) fn timed(&self) -> Timed<'_> {
        Timed {
            status: self.parts.status,
            headers: &self.parts.headers,
            requested: self.requested,
            received: self.received,
        }
    }

    /// A response of its own: store it if that is allowed, and pass it on.
    async fn full<B>(mut self, body: B) -> Response<CacheBody<B>>
    where
        B: ResponseBody,
    {
        match self.storable(&body) {
            Ok(storable) => self.store(storable, body).await,
            Err(reason) => {
                if reason == Refusal::NotStored(NotStored::Private) {
                    self.remove_older().await;
                }
                // An error of the origin says nothing about its next response.
                if reason.is_of_the_target() && !self.parts.status.is_server_error() {
                    self.refuse();
                }
                self.pass(body, reason.as_str())
            }
        }
    }

    fn storable<B: Body>(&mut self, body: &B) -> Result<Storable, Refusal> {
        let config = &self.cache.store.config;
        let route = self.parts.extensions.remove::<CachePolicy>().unwrap_or_default();
        let listed = groups::listed_tags(&self.parts.headers, &config.tag_fields);
        for name in &config.tag_fields {
            self.parts.headers.remove(name);
        }
        if route.is_bypass() {
            return Err(Refusal::Handler);
        }
        let policy: Cow<'_, _> = route.adapt(&config.policy);
        let head = StoredHead::store(
            &self.inquiry.view(),
            &self.inquiry.target.uri,
            &self.timed(),
            &policy,
        )
        .map_err(Refusal::NotStored)?;
        let announced = announced_length(&self.parts.headers).or_else(|| body.size_hint().exact());
        if announced.is_some_and(|length| length > config.body_limit) {
            return Err(Refusal::TooLarge);
        }
        let tags = self.all_tags(&head, &route, &listed).ok_or(Refusal::Tags)?;
        Ok(Storable {
            head,
            tags,
            announced,
        })
    }

    fn all_tags(&self, head: &StoredHead, route: &CachePolicy, listed: &[String]) -> Option<TagSet> {
        let mut extra = route.tags().ok()?;
        for tag in listed {
            extra.push(Tag::new(tag).ok()?);
        }
        self.tags_of(head, Some(&tags::tag_set(extra).ok()?)).ok()
    }

    /// The tags that a response's URI and groups give it, and `more`.
    pub(crate) fn tags_of(
        &self,
        head: &StoredHead,
        more: Option<&TagSet>,
    ) -> Result<TagSet, cache_core::tag::TagError> {
        let uri = &self.inquiry.target.uri;
        let mut tags = tags::implicit_tags(uri);
        let groups = groups::groups(head.headers());
        if let Some(origin) = origin(uri) {
            tags.extend(groups.iter().map(|group| tags::cache_group_tag(origin, group)));
        }
        tags.extend(more.into_iter().flatten().cloned());
        tags::tag_set(tags)
    }

    /// What is stored has become private (RFC 9111 §3 would not store it now).
    async fn remove_older(&self) {
        let (store, inquiry) = (&self.cache.store, self.inquiry);
        for stored in inquiry.found.candidates().chain(&inquiry.stored) {
            if let Some(head) = stored.head(self.cache.policy())
                && head.nominated().matches(&inquiry.fields)
            {
                store.remove(&inquiry.target, head).await;
            }
        }
    }

    pub(crate) fn refuse(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.cache.refuse(leader);
        }
    }

    /// The origin's response, untouched.
    fn pass<B>(self, body: B, detail: &'static str) -> Response<CacheBody<B>> {
        let inquiry = self.inquiry;
        // Of an unsafe method nobody expects that it is stored.
        let is_unsafe = inquiry.cause == ForwardCause::Method;
        let mut outcome = inquiry.outcome(OutcomeKind::Miss);
        outcome.detail = outcome.detail.or((!is_unsafe).then_some(detail));
        let response = Response::from_parts(self.parts, CacheBody::passing(body));
        self.cache.finish(response, outcome, Some(&inquiry.target))
    }

    /// Reads the body into the store while the client reads it too.
    async fn store<B>(mut self, storable: Storable, body: B) -> Response<CacheBody<B>>
    where
        B: ResponseBody,
    {
        let Storable {
            head,
            tags,
            announced,
        } = storable;
        let cache = self.cache;
        let limit = cache.store.config.body_limit;
        if !is_shareable(&head, cache.wall()) {
            self.refuse();
        }
        let transfer = Arc::new(Transfer::new(announced));
        let reader = transfer.reader();
        let (rest_to, rest) = oneshot::channel();
        let mut pump = Pump::new(body, transfer.clone(), limit);
        let arrival = Arc::new(Arrival {
            head: head.clone(),
            transfer: transfer.clone(),
            status: self.parts.status,
        });
        let commit = Commit {
            cache: cache.clone(),
            target: self.inquiry.target.clone(),
            permit: self.inquiry.permit.clone(),
            tags,
            arrival,
            leader: self.leader.take(),
        };
        let body = match pump.run_ahead().await {
            Some(End::Complete) => {
                // In memory it is done at once, and the next request finds it; a shared tier takes its time.
                if !cache.store.cache.is_shared() {
                    Box::pin(commit.complete()).await;
                } else if let Err(task) = cache.store.cache.spawn(Box::pin(commit.complete())) {
                    task.await;
                }
                transfer
                    .body()
                    .map_or_else(|| CacheBody::arriving(reader, None), CacheBody::stored)
            }
            Some(End::Failed(_)) => CacheBody::arriving(reader, None),
            Some(End::HandedOver) => {
                commit.refuse();
                drop(rest_to.send(pump.into_rest()));
                CacheBody::arriving(reader, Some(rest))
            }
            None => {
                // Followers attach to a body of known length; it is within the limit.
                if announced.is_some() {
                    commit.share();
                }
                let task = Box::pin(commit.run(pump, rest_to));
                if let Err(task) = cache.store.cache.spawn(task) {
                    task.await;
                }
                CacheBody::arriving(reader, Some(rest))
            }
        };
        self.answer(&head, body)
    }

    /// The origin's response with a body that is being stored, or 304 if the client holds it already.
    fn answer<B>(self, head: &StoredHead, body: CacheBody<B>) -> Response<CacheBody<B>> {
        let inquiry = self.inquiry;
        let mut outcome = inquiry.outcome(OutcomeKind::Miss);
        outcome.stored = true;
        let now = self.cache.wall();
        outcome.ttl = Some(head.freshness().ttl_seconds(now));
        let view = inquiry.view();
        let response = if inquiry.owns_conditions && evaluate(&view, head) == ConditionalAnswer::NotModified {
            outcome.forward_status = Some(self.parts.status.as_u16());
            answer::not_modified(head, now)
        } else {
            Response::from_parts(self.parts, body)
        };
        self.cache.finish(response, outcome, Some(&inquiry.target))
    }
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// RFC 9111 or the policy.
    NotStored(NotStored),
    /// The handler says so.
    Handler,
    /// The body is larger than the limit.
    TooLarge,
    /// A tag is invalid, or there are too many: the response could not be invalidated as its author expects.
    Tags,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotStored(reason) => reason.as_str(),
            Self::Handler => "handler",
            Self::TooLarge => "body-too-large",
            Self::Tags => "tags",
        }
    }

    /// Whether the next request for the target is likely to meet it too.
    fn is_of_the_target(self) -> bool {
        !matches!(
            self,
            Self::NotStored(NotStored::RequestNoStore | NotStored::Credentials | NotStored::Method)
        )
    }
}

/// Whether others may have it before it is stored: only what they would get from the store at once.
fn is_shareable(head: &StoredHead, now: SystemTime) -> bool {
    head.freshness().is_fresh(now) && !head.control().no_cache && head.part().is_none()
}

pub(crate) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
