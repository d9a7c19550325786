//! A request on its way to the origin, with the others that want the same.
//!
//! One of them leads, in a task of its own, so that the load goes on when its client leaves; the others wait for news of
//! its response, for a bounded time. Who shares gets what it would get from the store; everybody else goes alone.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tokio::sync::oneshot;

use crate::answer;
use crate::ask::ask;
use crate::body::CacheBody;
use crate::collapse::{Alone, Arrival, Leader, News, Role};
use crate::exchange::{HttpCache, Inquiry, is_query};
use crate::fleet::{self, Turn};
use crate::inner::{Inner, RequestBody, ResponseBody};
use crate::key::hide_ignored_parameters;
use crate::outcome::{CacheOutcome, OutcomeKind};
use crate::policy::{
    Decision, HttpCachePolicy, RequestView, Selection, Serve, StoredHead, decide, parts, precondition,
    validation,
};
use crate::store::Found;
use crate::tags;

/// Sends a request to the origin, with the others that want the same.
pub(crate) async fn forward<S, Q, B>(
    cache: Arc<HttpCache>,
    inner: S,
    request: Request<Q>,
    mut inquiry: Inquiry,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
{
    if !is_collapsible(&inquiry.view(), cache.policy()) {
        inquiry.owns_conditions = inquiry.stored.is_some();
        let request = prepared(&cache, request, &inquiry);
        return Box::pin(ask(cache, inner, request, inquiry, None)).await;
    }
    let mut names = inquiry.found.names().to_vec();
    let mut alone = Alone::NotShared;
    // Once for what is known beforehand, once more for the fields that the first response turned out to vary by.
    for _ in 0..2 {
        let key = cache.store.flight(&inquiry.target, &names, &inquiry.fields);
        match join(&cache, &inquiry, &key) {
            Role::Leader(leader) => {
                inquiry.owns_conditions = true;
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
    if matches!(alone, Alone::NotShared | Alone::WaitTimedOut) {
        inquiry.collapsed = Some(false);
    }
    if alone != Alone::Unshareable {
        inquiry.detail = inquiry.detail.or(Some(alone.as_str()));
    }
    inquiry.owns_conditions = inquiry.stored.is_some() || alone != Alone::Unshareable;
    // It may have waited: only what is invalidated before the origin is asked may be forgotten.
    inquiry.permit = cache.store.cache.store_permit();
    let request = prepared(&cache, request, &inquiry);
    Box::pin(ask(cache, inner, request, inquiry, None)).await
}

pub(crate) fn join(cache: &HttpCache, inquiry: &Inquiry, key: &cache_core::key::CacheKey) -> Role {
    let tags = tags::tag_set([tags::uri_tag(&inquiry.target.uri)]).unwrap_or_default();
    let config = &cache.store.config;
    let now = cache.store.cache.clock().now();
    cache
        .flights
        .join(key, &inquiry.permit, &tags, config.max_waiters, now)
}

/// Only requests whose response could be stored for others wait for one another.
fn is_collapsible(view: &RequestView<'_>, policy: &HttpCachePolicy) -> bool {
    (*view.method == Method::GET || is_query(view.method))
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
pub(crate) fn prepared<Q>(cache: &HttpCache, mut request: Request<Q>, inquiry: &Inquiry) -> Request<Q> {
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
    let outcome = collapsed(inquiry, arrival.status, answer.status(), ttl);
    Some(cache.finish(answer, outcome, Some(&inquiry.target)))
}

/// The outcome of a request that shares another's response, which the origin gave with status `came`.
fn collapsed(inquiry: &Inquiry, came: StatusCode, sent: StatusCode, ttl: i64) -> CacheOutcome {
    CacheOutcome {
        collapsed: Some(true),
        ttl: Some(ttl),
        forward_status: (came != sent).then(|| came.as_u16()),
        ..CacheOutcome::forwarded(OutcomeKind::Collapsed, inquiry.cause, None)
    }
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
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
{
    let (send, receive) = oneshot::channel();
    let owner = cache.store.cache.clone();
    let task = Box::pin(async move {
        let answer = caught(ask_for_all(cache, inner, request, inquiry, leader)).await;
        // Nobody there any more: a body that is being stored is stored all the same.
        drop(send.send(answer));
    });
    if let Err(task) = owner.spawn(task) {
        task.await;
    }
    match receive.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Ok(answer::unavailable()),
    }
}

/// Asks the origin unless another node does: then it shares what that one has stored.
async fn ask_for_all<S, Q, B>(
    cache: Arc<HttpCache>,
    inner: S,
    request: Request<Q>,
    mut inquiry: Inquiry,
    mut leader: Leader,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
{
    let leader = match fleet::turn(&cache, &mut inquiry, leader.key()).await {
        Turn::Ours(lease) => {
            leader.hold(lease);
            Some(leader)
        }
        Turn::Stored(found) => match shared_by_another_node(&cache, &inquiry, &found) {
            Some((arrival, answer)) => {
                leader.share(arrival);
                return Ok(answer);
            }
            None => Some(leader),
        },
        Turn::Unshareable => {
            cache.refuse(leader);
            None
        }
    };
    let request = prepared(&cache, request, &inquiry);
    ask(cache, inner, request, inquiry, leader).await
}

/// What another node has stored, for this request and for those that wait for it.
fn shared_by_another_node<B>(
    cache: &HttpCache,
    inquiry: &Inquiry,
    found: &Found,
) -> Option<(Arc<Arrival>, Response<CacheBody<B>>)> {
    let (response, head, ttl) = fleet::usable(cache, inquiry, found)?;
    let view = inquiry.view().without_forced_validation();
    let answer = answer::from_stored(&view, response, head, cache.wall());
    let outcome = collapsed(inquiry, head.status(), answer.status(), ttl);
    let arrival = arrived(head.clone(), response.body().clone(), head.status());
    Some((arrival, cache.finish(answer, outcome, Some(&inquiry.target))))
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

/// The body of a stored response, for those who take over a transfer that has ended.
pub(crate) fn arrived(head: StoredHead, body: Bytes, status: StatusCode) -> Arc<Arrival> {
    Arc::new(Arrival {
        head,
        transfer: Arc::new(crate::transfer::Transfer::complete(body)),
        status,
    })
}
