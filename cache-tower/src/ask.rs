//! Asking the origin, and dealing with what it says.

use std::sync::Arc;

use http::{Request, Response};

use crate::answer;
use crate::body::CacheBody;
use crate::collapse::Leader;
use crate::exchange::{HttpCache, Inquiry};
use crate::inner::{Inner, RequestBody, ResponseBody};
use crate::key::{Target, hide_ignored_parameters};
use crate::outcome::CacheOutcome;
use crate::policy::status::ForwardCause;
use crate::policy::{OriginFailure, precondition};
use crate::receive;
use crate::store::Found;
use crate::tags;

/// Asks the origin and deals with what it says; once more without conditions, if it speaks about something else.
pub(crate) async fn ask<S, Q, B>(
    cache: Arc<HttpCache>,
    mut inner: S,
    request: Request<Q>,
    mut inquiry: Inquiry,
    leader: Option<Leader>,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
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

/// The answer to a request that passes by.
pub(crate) async fn pass<B, E>(
    cache: Arc<HttpCache>,
    response: impl Future<Output = Result<Response<B>, E>>,
    outcome: CacheOutcome,
) -> Result<Response<CacheBody<B>>, E> {
    let mut response = response.await?;
    response.extensions_mut().remove::<crate::CachePolicy>();
    Ok(cache.finish(response.map(CacheBody::passing), outcome, None))
}

/// Forwards an unsafe request, and invalidates what its success makes untrue (RFC 9111 §4.4).
pub(crate) async fn change<S, Q, B>(
    cache: Arc<HttpCache>,
    mut inner: S,
    mut request: Request<Q>,
    target: Target,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Inner<Q, B>,
    Q: RequestBody,
    B: ResponseBody,
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
        collapsed: None,
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
