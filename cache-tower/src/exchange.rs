//! One request, from lookup to answer: the stages in order, and the only place where they meet.
//!
//! 1. [`HttpCache::admit`]: bypass what is not ours; find the target.
//! 2. `HttpCache::hit`: a fresh response in this process answers at once, without a future of its own.
//! 3. [`exchange`]: the full lookup and the policy's decision.
//! 4. [`forward`](crate::forward): collapse; the leader asks the origin in a task of its own, so that it goes on without
//!    its client.
//! 5. [`receive`](crate::receive): what the origin's response means for the store, the waiters and the client.

use std::sync::Arc;
use std::time::SystemTime;

use cache_core::StorePermit;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body;

use crate::answer;
use crate::ask::ask;
use crate::body::CacheBody;
use crate::collapse::{Flights, Leader, Role};
use crate::fleet;
use crate::forward::{forward, join, prepared};
use crate::inner::{Inner, RequestBody, ResponseBody};
use crate::key::{Asked, Target, original_uri};
use crate::outcome::{CacheOutcome, OutcomeKind};
use crate::policy::status::ForwardCause;
use crate::policy::{
    Decision, ForwardReason, HttpCachePolicy, OriginFailure, RequestView, Selection, Serve, StoredHead,
    decide, invalidation, key_uri, serve_on_failure,
};
use crate::query_content::QueryContent;
use crate::store::{Candidate, Found, Store};
use crate::stored::{Hit, StoredResponse, set_status};
use crate::telemetry::Telemetry;

/// What all services of one layer share.
#[derive(Debug)]
pub(crate) struct HttpCache {
    pub(crate) store: Store,
    pub(crate) flights: Arc<Flights>,
    pub(crate) telemetry: Telemetry,
}

/// What a request is to the cache.
pub(crate) enum Admission<B> {
    /// It is answered by a fresh response in this process, as it is stored.
    Hit(Hit),
    /// It is answered by such a response in another form: a part of it, its head, or only that it has not changed.
    Answer(Response<CacheBody<B>>),
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
    pub(crate) stored: Option<Candidate>,
    /// The stored part that is being completed.
    pub(crate) part: Option<Candidate>,
    /// What else is stored for the target, for HEAD.
    pub(crate) found: Found,
    /// The client's conditions were not forwarded: the cache evaluates them.
    pub(crate) owns_conditions: bool,
    /// `false` once it has waited for another request in vain.
    pub(crate) collapsed: Option<bool>,
}

impl Inquiry {
    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView::new(&self.method, &self.fields)
    }

    /// The outcome so far: it went forward.
    pub(crate) fn outcome(&self, kind: OutcomeKind) -> CacheOutcome {
        CacheOutcome {
            collapsed: self.collapsed,
            ..CacheOutcome::forwarded(kind, self.cause, self.detail)
        }
    }
}

impl HttpCache {
    pub(crate) fn policy(&self) -> &HttpCachePolicy {
        &self.store.config.policy
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.store.cache.clock().wall()
    }

    /// What a request is to the cache, by its head and by what this process holds.
    pub(crate) fn admit<Q: Body, B>(&self, request: &Request<Q>) -> Admission<B> {
        let (method, fields, policy) = (request.method(), request.headers(), self.policy());
        let view = RequestView::looking_for(&policy.untrusted_fields, method, fields);
        let asked = || Asked::of(request, &view, &self.store.config.key, policy);
        let is_query = is_query(method) && policy.cache_query_method;
        if !(method == Method::GET || method == Method::HEAD || is_query) {
            if invalidation::is_safe(method) {
                return Admission::Pass(CacheOutcome::bypassed(ForwardCause::Method, "method"));
            }
            return match asked() {
                Ok(asked) => Admission::Unsafe(asked.to_target()),
                Err(problem) => bypass(problem.as_str()),
            };
        }
        let has_content = !request.body().is_end_stream();
        if let Some(reason) = key_uri::reason_to_bypass(&view, original_uri(request), has_content) {
            return bypass(reason.as_str());
        }
        let asked = match asked() {
            Ok(asked) if is_query => match request.extensions().get::<QueryContent>() {
                Some(content) => asked.with_content(content.key(fields)),
                None => return bypass("query-content-unknown"),
            },
            Ok(asked) => asked,
            Err(problem) => return bypass(problem.as_str()),
        };
        self.hit(&view, &asked)
            .unwrap_or_else(|| Admission::Lookup(asked.to_target()))
    }

    /// The answer from this process's own tier, if there is one and nothing else is to be done.
    fn hit<B>(&self, view: &RequestView<'_>, asked: &Asked<'_>) -> Option<Admission<B>> {
        let response = self.store.find_in_process(asked)?;
        let head = response.head(self.policy())?;
        if !head.nominated().is_empty() {
            return None;
        }
        let now = self.store.cache.clock().coarse_wall();
        let decision = decide(view, Selection::Found(head), now, self.policy());
        if let Decision::Serve(serve) = decision
            && serve.is_surely_fresh()
            && is_plain(view)
        {
            return Some(Admission::Hit(self.plain_hit(&response, head, &serve, asked)));
        }
        let now = self.wall();
        match decide(view, Selection::Found(head), now, self.policy()) {
            Decision::Serve(serve) if !serve.revalidates_in_background() => {
                let answer = answer::from_stored(view, &response, head, now);
                let answer = self.finish(answer, CacheOutcome::served(&serve), Some(&asked.to_target()));
                Some(Admission::Answer(answer))
            }
            _ => None,
        }
    }

    /// The whole response, as it is for nearly every hit.
    fn plain_hit(
        &self,
        response: &StoredResponse,
        head: &StoredHead,
        serve: &Serve,
        asked: &Asked<'_>,
    ) -> Hit {
        let outcome = CacheOutcome::served(serve);
        let template = response.hit_template(head, serve, outcome, || {
            self.status(&outcome, Some(&asked.to_target()))
        });
        self.telemetry.record(self.store.cache.name(), &outcome);
        Hit {
            template,
            body: response.body().clone(),
        }
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

    /// Who waits for this leader, here and on other nodes, does so in vain, and so will the next ones for a while.
    pub(crate) fn refuse(&self, mut leader: Leader) {
        let duration = self.store.config.unshareable_for;
        if let Some(lease) = leader.take_lease() {
            fleet::tell_unshareable(&self.store, leader.key(), duration, lease);
        }
        leader.refuse(self.store.cache.clock().now(), duration);
    }

    /// Stores a response; `leader` leads until it is stored. In memory it is done when this returns, and the next request
    /// finds it. A shared tier takes its time, for which nobody waits. Whether it is stored, or will be if it may.
    pub(crate) async fn insert(
        self: &Arc<Self>,
        inquiry: &Inquiry,
        response: StoredResponse,
        now: SystemTime,
        leader: Option<Leader>,
    ) -> bool {
        let (target, permit) = (&inquiry.target, &inquiry.permit);
        if !self.store.cache.is_shared() {
            let stored = Box::pin(self.store.insert(target, permit, response, now)).await;
            drop(leader);
            return stored;
        }
        let (cache, target, permit) = (self.clone(), target.clone(), permit.clone());
        let storing = Box::pin(async move {
            cache.store.insert(&target, &permit, response, now).await;
            drop(leader);
        });
        if let Err(storing) = self.store.cache.spawn(storing) {
            storing.await;
        }
        true
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
        outcome.collapsed = inquiry.collapsed;
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

pub(crate) fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

fn bypass<B>(reason: &'static str) -> Admission<B> {
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
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
{
    if tokio::runtime::Handle::try_current().is_err() {
        // Storing needs tasks, and waiting needs timers.
        let response = inner.call(request).await?.map(CacheBody::passing);
        let outcome = CacheOutcome::bypassed(ForwardCause::Bypass, "no-runtime");
        return Ok(cache.finish(response, outcome, Some(&target)));
    }
    // Before the lookup: what is invalidated from now on is neither served nor stored.
    let permit = cache.store.cache.store_permit();
    let mut found = cache.store.find(&target, request.headers()).await;
    let now = cache.wall();
    let view = RequestView::new(request.method(), request.headers());
    if found.is_empty() && cache.policy().no_vary_search {
        // Only to be served as it is: validating it would be about another URI.
        let equivalent = Box::pin(cache.store.find_equivalent(&target, request.headers())).await;
        let (selection, _) = equivalent.select(&view, &cache.store.config);
        if matches!(
            cache.decide(&view, selection, now),
            Decision::Serve(Serve { stale: None, .. })
        ) {
            found = equivalent;
        }
    }
    let (selection, chosen) = found.select(&view, &cache.store.config);
    let mut part = None;
    let (cause, detail, stored) = match cache.decide(&view, selection, now) {
        Decision::Serve(serve) => {
            // The policy serves only what was found.
            if let (Selection::Found(head), Some(response)) = (selection, chosen) {
                response.touch(cache.store.cache.clock().now());
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
        // A QUERY cannot be repeated, so it is not made conditional: its content has been read.
        Decision::Revalidate(reason) if is_query(request.method()) => {
            (reason.into(), Some(reason.as_str()), None)
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
        collapsed: None,
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
    stored: Candidate,
    found: Found,
) where
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
{
    let is_query = is_query(request.method());
    let method = if is_query {
        request.method().clone()
    } else {
        Method::GET
    };
    let inquiry = Inquiry {
        target,
        method: method.clone(),
        fields: request.headers().clone(),
        permit,
        cause: ForwardCause::Stale,
        detail: None,
        stored: (!is_query).then_some(stored),
        part: None,
        found,
        owns_conditions: true,
        collapsed: None,
    };
    let key = cache
        .store
        .flight(&inquiry.target, inquiry.found.names(), &inquiry.fields);
    if cache.flights.is_paused(&key, cache.store.cache.clock().now()) {
        return;
    }
    let Role::Leader(mut leader) = join(cache, &inquiry, &key) else {
        return;
    };
    let task_cache = cache.clone();
    let mut request = prepared(cache, request, &inquiry);
    *request.method_mut() = method;
    let task = Box::pin(async move {
        let Some(lease) = fleet::try_turn(&task_cache, &key).await else {
            // Another node does it.
            return;
        };
        leader.hold(lease);
        // The answer has no client; what matters is what was stored on the way.
        let answer = ask(task_cache.clone(), inner, request, inquiry, Some(leader)).await;
        if answer.is_ok_and(|answer| !is_failure(&answer)) {
            task_cache.flights.resume(&key);
        } else {
            task_cache
                .flights
                .pause(&key, task_cache.store.cache.clock().now());
        }
    });
    if cache.store.cache.spawn_background(task).is_err() {
        tracing::debug!("a validation in the background was left out: too many run, or the cache is closing");
    }
}

/// Whether a validation came to nothing: the origin failed, or the stored response stood in for it.
fn is_failure<B>(answer: &Response<CacheBody<B>>) -> bool {
    let outcome = answer.extensions().get::<CacheOutcome>();
    outcome.is_some_and(|outcome| outcome.kind == OutcomeKind::Stale)
        || OriginFailure::of_status(answer.status()).is_some()
}
