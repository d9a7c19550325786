//! One request, from lookup to answer: the stages in order, and the only place where they meet.
//!
//! 1. [`HttpCache::admit`]: bypass what is not ours; find the target.
//! 2. [`HttpCache::hit`]: a fresh response in this process answers at once, without a future of its own.
//! 3. [`exchange`]: the full lookup and the policy's decision.
//! 4. [`forward`]: collapse; the leader asks the origin in a task of its own, so that it goes on without its client.
//! 5. [`receive`](crate::receive): what the origin's response means for the store, the waiters and the client.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{Loaded, StorePermit};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use tokio::sync::oneshot;
use tower_service::Service;

use crate::BoxError;
use crate::answer;
use crate::body::CacheBody;
use crate::collapse::{Alone, Arrival, Flights, Leader, News, Role};
use crate::key::{KeyProblem, Target, hide_ignored_parameters, original_uri};
use crate::outcome::{CacheOutcome, OutcomeKind};
use crate::policy::status::ForwardCause;
use crate::policy::{
    Decision, ForwardReason, HttpCachePolicy, OriginFailure, RequestView, Selection, Serve, StoredHead,
    decide, invalidation, key_uri, parts, precondition, serve_on_failure, validation,
};
use crate::receive;
use crate::store::{Found, Store};
use crate::stored::{StoredResponse, set_status};
use crate::tags;
use crate::telemetry::Telemetry;

/// What all services of one layer share.
#[derive(Debug)]
pub(crate) struct HttpCache {
    pub(crate) store: Store,
    pub(crate) flights: Arc<Flights>,
    pub(crate) telemetry: Telemetry,
}

/// What a request is to the cache.
pub(crate) enum Admission {
    /// It may be answered from the store.
    Lookup(Target),
    /// Its success makes stored responses invalid.
    Unsafe(Target),
    /// It passes by.
    Pass(CacheOutcome),
}

/// What the cache wants to know of a request once it has gone to the origin.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) target: Target,
    pub(crate) method: Method,
    /// The client's own fields.
    pub(crate) fields: HeaderMap,
    /// Taken before the origin is asked.
    pub(crate) permit: StorePermit,
    pub(crate) cause: ForwardCause,
    pub(crate) detail: Option<&'static str>,
    /// The stored response that is being validated.
    pub(crate) stored: Option<Loaded<StoredResponse>>,
    /// The stored part that is being completed.
    pub(crate) part: Option<Loaded<StoredResponse>>,
    /// What else is stored for the target, for HEAD.
    pub(crate) found: Found,
    /// The client's conditions were not forwarded: the cache evaluates them.
    pub(crate) owns_conditions: bool,
}

impl Inquiry {
    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView::new(&self.method, &self.fields)
    }
}

impl HttpCache {
    pub(crate) fn policy(&self) -> &HttpCachePolicy {
        &self.store.config.policy
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.store.cache.clock().wall()
    }

    /// What a request is to the cache, by its head alone.
    pub(crate) fn admit<Q: Body>(&self, request: &Request<Q>) -> Admission {
        let method = request.method();
        let is_unsafe = !invalidation::is_safe(method);
        if !is_unsafe && method != Method::GET && method != Method::HEAD {
            return Admission::Pass(CacheOutcome::bypassed(ForwardCause::Method, "method"));
        }
        let target = || Target::of(request, &self.store.config.key, self.policy());
        if is_unsafe {
            return match target() {
                Ok(target) => Admission::Unsafe(target),
                Err(problem) => bypass(problem.as_str()),
            };
        }
        let has_content = !request.body().is_end_stream();
        let (uri, fields) = (original_uri(request), request.headers());
        if let Some(reason) = key_uri::bypass_reason(method, uri, fields, has_content, self.policy()) {
            return bypass(reason.as_str());
        }
        match target() {
            Ok(target) => Admission::Lookup(target),
            Err(problem @ (KeyProblem::Target(_) | KeyProblem::Part)) => bypass(problem.as_str()),
        }
    }

    /// The answer from this process's own tier, if there is one and nothing else is to be done.
    pub(crate) fn hit<Q, B>(&self, request: &Request<Q>, target: &Target) -> Option<Response<CacheBody<B>>> {
        let response = self.store.find_in_process(target)?;
        let head = response.head(self.policy())?;
        let view = RequestView::new(request.method(), request.headers());
        let selection = if head.nominated().is_empty() {
            Selection::Found(head)
        } else {
            return None;
        };
        let now = self.wall();
        match decide(&view, selection, now, self.policy()) {
            Decision::Serve(serve) if is_plain(&view) && serve.stale.is_none() => {
                Some(self.plain_hit(&response, head, &serve, target))
            }
            Decision::Serve(serve) if !serve.revalidates_in_background() => {
                let answer = answer::from_stored(&view, &response, head, now);
                Some(self.finish(answer, CacheOutcome::served(&serve), Some(target)))
            }
            _ => None,
        }
    }

    /// The whole response, as it is for nearly every hit.
    fn plain_hit<B>(
        &self,
        response: &StoredResponse,
        head: &StoredHead,
        serve: &Serve,
        target: &Target,
    ) -> Response<CacheBody<B>> {
        let outcome = CacheOutcome::served(serve);
        let template = response.hit_template(head, serve, outcome, || self.status(&outcome, Some(target)));
        let mut answer = Response::new(CacheBody::stored(response.body().clone()));
        *answer.status_mut() = head.status();
        *answer.headers_mut() = template.headers.clone();
        *answer.extensions_mut() = template.extensions.clone();
        self.telemetry.record(self.store.cache.name(), &outcome);
        answer
    }

    /// This cache's member of `Cache-Status`.
    fn status(&self, outcome: &CacheOutcome, target: Option<&Target>) -> Option<HeaderValue> {
        let config = &self.store.config;
        let key = target
            .filter(|_| config.status_shows_key)
            .map(|target| self.store.key_text(target));
        outcome.status(config.status_name.as_deref()?, key)
    }

    /// The decision about a request, with the limit on validations that only clients ask for.
    fn decide(&self, view: &RequestView<'_>, selection: Selection<'_>, now: SystemTime) -> Decision {
        let decision = decide(view, selection, now, self.policy());
        let (Decision::Revalidate(reason), Selection::Found(head)) = (decision, selection) else {
            return decision;
        };
        let since = now.duration_since(head.received()).unwrap_or_default();
        if self.policy().limit_forced_validation
            && reason.is_forced_by_request()
            && since < self.store.config.forced_validation_interval
        {
            return decide(&view.without_forced_validation(), selection, now, self.policy());
        }
        decision
    }

    /// Notes the outcome in the response.
    pub(crate) fn finish<B>(
        &self,
        mut response: Response<CacheBody<B>>,
        outcome: CacheOutcome,
        target: Option<&Target>,
    ) -> Response<CacheBody<B>> {
        set_status(response.headers_mut(), self.status(&outcome, target));
        response.extensions_mut().insert(outcome);
        self.telemetry.record(self.store.cache.name(), &outcome);
        response
    }

    /// Serves the stale response that was to be validated, if it is still stored and may stand in for the failure.
    pub(crate) async fn stale_instead<B>(
        &self,
        inquiry: &Inquiry,
        failure: OriginFailure,
    ) -> Option<Response<CacheBody<B>>> {
        let stored = inquiry.stored.as_ref()?;
        // What was invalidated meanwhile is gone, whatever it allows.
        if !self.store.still_holds(&inquiry.target, stored).await {
            return None;
        }
        let (view, head, now) = (inquiry.view(), stored.head(self.policy())?, self.wall());
        let serve = serve_on_failure(&view, head, failure, now, self.policy())?;
        let mut outcome = CacheOutcome::served(&serve);
        outcome.forwarded = Some(inquiry.cause);
        if let OriginFailure::Status(status) = failure {
            outcome.forward_status = Some(status.as_u16());
        }
        let answer = answer::from_stored(&view, stored, head, now);
        Some(self.finish(answer, outcome, Some(&inquiry.target)))
    }
}

/// Whether a request wants the whole response: a GET without conditions and ranges.
fn is_plain(view: &RequestView<'_>) -> bool {
    *view.method == Method::GET && view.wants_all()
}

fn bypass(reason: &'static str) -> Admission {
    Admission::Pass(CacheOutcome::bypassed(ForwardCause::Bypass, reason))
}

/// The full lookup, the decision, and what it asks for.
pub(crate) async fn exchange<S, Q, B>(
    cache: Arc<HttpCache>,
    mut inner: S,
    request: Request<Q>,
    target: Target,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    if tokio::runtime::Handle::try_current().is_err() {
        // Storing needs tasks, and waiting needs timers.
        let response = inner.call(request).await?.map(CacheBody::passing);
        let outcome = CacheOutcome::bypassed(ForwardCause::Bypass, "no-runtime");
        return Ok(cache.finish(response, outcome, Some(&target)));
    }
    // Before the lookup: what is invalidated from now on is neither served nor stored.
    let permit = cache.store.cache.store_permit();
    let found = cache.store.find(&target, request.headers()).await;
    let now = cache.wall();
    let view = RequestView::new(request.method(), request.headers());
    let (selection, chosen) = found.select(&view, &cache.store.config);
    let mut part = None;
    let (cause, detail, stored) = match cache.decide(&view, selection, now) {
        Decision::Serve(serve) => {
            // The policy serves only what was found.
            if let (Selection::Found(head), Some(response)) = (selection, chosen) {
                let answer = answer::from_stored(&view, response, head, now);
                let answer = cache.finish(answer, CacheOutcome::served(&serve), Some(&target));
                if serve.revalidates_in_background() {
                    let stored = response.clone();
                    revalidate(&cache, inner, request, target, permit, stored, found);
                }
                return Ok(answer);
            }
            (ForwardCause::Miss, None, None)
        }
        Decision::GatewayTimeout => {
            return Ok(cache.finish(answer::gateway_timeout(), CacheOutcome::gateway_timeout(), None));
        }
        Decision::Revalidate(reason) => (reason.into(), Some(reason.as_str()), chosen.cloned()),
        Decision::Forward(reason) => {
            if reason == ForwardReason::Part && !request.headers().contains_key(header::RANGE) {
                part = chosen.cloned();
            }
            (reason.into(), detail_of(reason), None)
        }
    };
    let inquiry = Inquiry {
        target,
        method: request.method().clone(),
        fields: request.headers().clone(),
        permit,
        cause,
        detail,
        stored,
        part,
        found,
        owns_conditions: false,
    };
    forward(cache, inner, request, inquiry).await
}

/// The cause says it already, except where one cause has several reasons.
fn detail_of(reason: ForwardReason) -> Option<&'static str> {
    match reason {
        ForwardReason::Credentials | ForwardReason::OriginCondition => Some(reason.as_str()),
        _ => None,
    }
}

/// Validates a response in the background, unless that is going on or enough else is.
fn revalidate<S, Q, B>(
    cache: &Arc<HttpCache>,
    inner: S,
    request: Request<Q>,
    target: Target,
    permit: StorePermit,
    stored: Loaded<StoredResponse>,
    found: Found,
) where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let inquiry = Inquiry {
        target,
        method: Method::GET,
        fields: request.headers().clone(),
        permit,
        cause: ForwardCause::Stale,
        detail: None,
        stored: Some(stored),
        part: None,
        found,
        owns_conditions: true,
    };
    let key = cache
        .store
        .flight(&inquiry.target, inquiry.found.names(), &inquiry.fields);
    let Role::Leader(leader) = join(cache, &inquiry, &key) else {
        return;
    };
    let task_cache = cache.clone();
    let mut request = prepared(cache, request, &inquiry);
    *request.method_mut() = Method::GET;
    let task = async move {
        // The answer has no client; what matters is what was stored on the way.
        drop(ask(task_cache, inner, request, inquiry, Some(leader)).await);
    };
    if cache.store.cache.spawn_background(task).is_err() {
        tracing::debug!("a validation in the background was left out: too many run, or the cache is closing");
    }
}

/// Sends a request to the origin, with the others that want the same.
async fn forward<S, Q, B>(
    cache: Arc<HttpCache>,
    inner: S,
    request: Request<Q>,
    mut inquiry: Inquiry,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    if !is_collapsible(&inquiry.view(), cache.policy()) {
        inquiry.owns_conditions = inquiry.stored.is_some();
        let request = prepared(&cache, request, &inquiry);
        return ask(cache, inner, request, inquiry, None).await;
    }
    let mut names = inquiry.found.names().to_vec();
    let mut alone = Alone::NotShared;
    // Once for what is known beforehand, once more for the fields that the first response turned out to vary by.
    for _ in 0..2 {
        let key = cache.store.flight(&inquiry.target, &names, &inquiry.fields);
        match join(&cache, &inquiry, &key) {
            Role::Leader(leader) => {
                inquiry.owns_conditions = true;
                let request = prepared(&cache, request, &inquiry);
                return lead(cache, inner, request, inquiry, leader).await;
            }
            Role::Alone(reason) => {
                alone = reason;
                break;
            }
            Role::Waiter(waiter) => match waiter.news(cache.store.config.wait_timeout).await {
                Some(News::Arrived(arrival)) => {
                    if let Some(answer) = shared(&cache, &inquiry, &arrival) {
                        return Ok(answer);
                    }
                    if arrival.head.nominated().matches(&inquiry.fields) {
                        break;
                    }
                    names = arrival.head.nominated().names().cloned().collect();
                }
                Some(News::Failed(failure)) => {
                    if let Some(answer) = cache.stale_instead(&inquiry, failure).await {
                        return Ok(answer);
                    }
                    break;
                }
                Some(News::Refused | News::Pending) => break,
                None => {
                    alone = Alone::WaitTimedOut;
                    break;
                }
            },
        }
    }
    inquiry.detail = inquiry.detail.or(Some(alone.as_str()));
    inquiry.owns_conditions = inquiry.stored.is_some() || alone != Alone::Unshareable;
    // It may have waited: only what is invalidated before the origin is asked may be forgotten.
    inquiry.permit = cache.store.cache.store_permit();
    let request = prepared(&cache, request, &inquiry);
    ask(cache, inner, request, inquiry, None).await
}

fn join(cache: &HttpCache, inquiry: &Inquiry, key: &cache_core::key::CacheKey) -> Role {
    let tags = tags::tag_set([tags::uri_tag(&inquiry.target.uri)]).unwrap_or_default();
    let config = &cache.store.config;
    let now = cache.store.cache.clock().now();
    cache
        .flights
        .join(key, &inquiry.permit, &tags, config.max_waiters, now)
}

/// Only requests whose response could be stored for others wait for one another.
fn is_collapsible(view: &RequestView<'_>, policy: &HttpCachePolicy) -> bool {
    *view.method == Method::GET
        && !view.control.no_store
        && !policy.has_credentials(view.headers)
        && OWN_FIELDS.iter().all(|name| !view.headers.contains_key(name))
}

/// Fields that ask for an answer of one's own.
const OWN_FIELDS: [http::HeaderName; 4] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
];

/// The request as the origin is to see it.
fn prepared<Q>(cache: &HttpCache, mut request: Request<Q>, inquiry: &Inquiry) -> Request<Q> {
    hide_ignored_parameters(&mut request, &cache.store.config.key);
    if let Some(head) = inquiry
        .stored
        .as_ref()
        .and_then(|stored| stored.head(cache.policy()))
    {
        *request.headers_mut() = validation::conditional_request(&inquiry.fields, head);
    } else if let Some(headers) = completing(cache, inquiry) {
        *request.headers_mut() = headers;
    } else if inquiry.owns_conditions {
        precondition::remove_conditions(request.headers_mut());
    }
    request
}

/// The fields that ask for what is missing of a stored part.
fn completing(cache: &HttpCache, inquiry: &Inquiry) -> Option<HeaderMap> {
    let head = inquiry.part.as_ref()?.head(cache.policy())?;
    parts::completing_request(&inquiry.fields, head)
}

/// The response to another request, if it answers this one as it would from the store.
fn shared<B>(cache: &HttpCache, inquiry: &Inquiry, arrival: &Arrival) -> Option<Response<CacheBody<B>>> {
    let head = &arrival.head;
    if !head.nominated().matches(&inquiry.fields) {
        return None;
    }
    // What the client asked for before the response existed is met by a response that came after it asked.
    let view = inquiry.view().without_forced_validation();
    let now = cache.wall();
    let Decision::Serve(Serve { ttl, stale: None, .. }) =
        decide(&view, Selection::Found(head), now, cache.policy())
    else {
        return None;
    };
    let body = CacheBody::arriving(arrival.transfer.reader(), None);
    let answer = answer::from_arrival(&view, head, body, now);
    let outcome = CacheOutcome {
        collapsed: true,
        ttl: Some(ttl),
        ..CacheOutcome::forwarded(OutcomeKind::Collapsed, inquiry.cause, None)
    };
    Some(cache.finish(answer, outcome, Some(&inquiry.target)))
}

/// Asks the origin in a task, so that the load goes on when its client leaves.
async fn lead<S, Q, B>(
    cache: Arc<HttpCache>,
    inner: S,
    request: Request<Q>,
    inquiry: Inquiry,
    leader: Leader,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (send, receive) = oneshot::channel();
    let owner = cache.store.cache.clone();
    let task = async move {
        let answer = caught(ask(cache, inner, request, inquiry, Some(leader))).await;
        // Nobody there any more: a body that is being stored is stored all the same.
        drop(send.send(answer));
    };
    if let Err(task) = owner.spawn(task) {
        task.await;
    }
    match receive.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Ok(answer::unavailable()),
    }
}

/// The output of a future, or its panic, for the client to whom it belongs.
async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        // The future is not touched again after a panic, so a state broken by it is never seen.
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

/// Asks the origin and deals with what it says; once more without conditions, if it speaks about something else.
async fn ask<S, Q, B>(
    cache: Arc<HttpCache>,
    mut inner: S,
    request: Request<Q>,
    mut inquiry: Inquiry,
    leader: Option<Leader>,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let is_special = inquiry.stored.is_some() || inquiry.part.is_some();
    let again = is_special.then(|| repeatable(&request, &inquiry));
    let requested = cache.wall();
    let response = match inner.call(request).await {
        Ok(response) => response,
        Err(error) => {
            let failure = OriginFailure::Unreachable;
            if let Some(leader) = leader {
                leader.fail(failure);
            }
            return cache.stale_instead(&inquiry, failure).await.ok_or(error);
        }
    };
    let received = receive::Received {
        requested,
        received: cache.wall(),
        response,
    };
    match receive::receive(&cache, &inquiry, received, leader).await {
        receive::Verdict::Answer(answer) => Ok(answer),
        receive::Verdict::AskAgain(leader) => {
            inquiry.stored = None;
            inquiry.part = None;
            inquiry.owns_conditions = true;
            let request = again.unwrap_or_default();
            std::future::poll_fn(|context| inner.poll_ready(context)).await?;
            let requested = cache.wall();
            let response = inner.call(request).await?;
            let received = receive::Received {
                requested,
                received: cache.wall(),
                response,
            };
            match receive::receive(&cache, &inquiry, received, leader).await {
                receive::Verdict::Answer(answer) => Ok(answer),
                // Nothing is being validated any more, so nothing can contradict it.
                receive::Verdict::AskAgain(_) => Ok(answer::unavailable()),
            }
        }
    }
}

/// The client's request without conditions, with a body of its own: only requests without content come here.
fn repeatable<Q: Default>(request: &Request<Q>, inquiry: &Inquiry) -> Request<Q> {
    let mut again = Request::new(Q::default());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = inquiry.fields.clone();
    precondition::remove_conditions(again.headers_mut());
    *again.extensions_mut() = request.extensions().clone();
    again
}

/// Forwards an unsafe request, and invalidates what its success makes untrue (RFC 9111 §4.4).
pub(crate) async fn change<S, Q, B>(
    cache: Arc<HttpCache>,
    mut inner: S,
    mut request: Request<Q>,
    target: Target,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + Default + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut inquiry = Inquiry {
        target,
        method: request.method().clone(),
        fields: request.headers().clone(),
        permit: cache.store.cache.store_permit(),
        cause: ForwardCause::Method,
        detail: None,
        stored: None,
        part: None,
        found: Found::default(),
        owns_conditions: false,
    };
    hide_ignored_parameters(&mut request, &cache.store.config.key);
    let requested = cache.wall();
    let response = inner.call(request).await?;
    let own = tags::tag_set([tags::uri_tag(&inquiry.target.uri)]).unwrap_or_default();
    let is_current = inquiry.permit.is_current(&own);
    receive::invalidate(&cache, &inquiry, response.status(), response.headers()).await;
    if is_current {
        // Our own invalidation is no reason not to store what came with it.
        inquiry.permit = cache.store.cache.store_permit();
    }
    let received = receive::Received {
        requested,
        received: cache.wall(),
        response,
    };
    match receive::receive(&cache, &inquiry, received, None).await {
        receive::Verdict::Answer(answer) => Ok(answer),
        receive::Verdict::AskAgain(_) => Ok(answer::unavailable()),
    }
}

/// The body of a stored response, for those who take over a transfer that has ended.
pub(crate) fn arrived(head: StoredHead, body: Bytes) -> Arc<Arrival> {
    Arc::new(Arrival {
        head,
        transfer: Arc::new(crate::transfer::Transfer::complete(body)),
    })
}
