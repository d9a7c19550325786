//! Building responses from what is stored.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::body::CacheBody;
use crate::policy::precondition::{ConditionalAnswer, evaluate, not_modified_headers};
use crate::policy::range::{self, Slice, slice};
use crate::policy::{RequestView, StoredHead};
use crate::stored::StoredResponse;

/// The answer to a request from a stored response: the client's conditions first, then its range
/// (RFC 9110 §13.2.2).
pub(crate) fn from_stored<B>(
    request: &RequestView<'_>,
    response: &StoredResponse,
    head: &StoredHead,
    now: SystemTime,
) -> Response<CacheBody<B>> {
    if evaluate(request, head) == ConditionalAnswer::NotModified {
        return not_modified(head, now);
    }
    let body = response.body();
    let mut headers = response.served_headers(head, now);
    match slice(request, head, body.len() as u64) {
        Slice::Full => build(head.status(), headers, stored_body(request.method, body.clone())),
        Slice::Part { range, offset } => {
            range::set_part_headers(&mut headers, range);
            let part = octets(body, offset, range.length());
            build(
                StatusCode::PARTIAL_CONTENT,
                headers,
                stored_body(request.method, part),
            )
        }
        Slice::NotSatisfiable(length) => {
            let headers = range::not_satisfiable_headers(length);
            build(StatusCode::RANGE_NOT_SATISFIABLE, headers, CacheBody::empty())
        }
    }
}

/// 304 for a stored response.
pub(crate) fn not_modified<B>(head: &StoredHead, now: SystemTime) -> Response<CacheBody<B>> {
    build(
        StatusCode::NOT_MODIFIED,
        not_modified_headers(head, now),
        CacheBody::empty(),
    )
}

/// The whole response with a body that is still arriving; the client's conditions come first.
pub(crate) fn from_arrival<B>(
    request: &RequestView<'_>,
    head: &StoredHead,
    body: CacheBody<B>,
    now: SystemTime,
) -> Response<CacheBody<B>> {
    if evaluate(request, head) == ConditionalAnswer::NotModified {
        return not_modified(head, now);
    }
    build(head.status(), head.served_headers(now), body)
}

/// 504: the client wants an answer only from the store (RFC 9111 §5.2.1.7).
pub(crate) fn gateway_timeout<B>() -> Response<CacheBody<B>> {
    build(StatusCode::GATEWAY_TIMEOUT, HeaderMap::new(), CacheBody::empty())
}

/// 503: the task that asked the inner service is gone, which only a runtime that shuts down brings about.
pub(crate) fn unavailable<B>() -> Response<CacheBody<B>> {
    build(
        StatusCode::SERVICE_UNAVAILABLE,
        HeaderMap::new(),
        CacheBody::empty(),
    )
}

fn build<B>(status: StatusCode, headers: HeaderMap, body: CacheBody<B>) -> Response<CacheBody<B>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// HEAD has the fields of GET and no content (RFC 9110 §9.3.2).
fn stored_body<B>(method: &Method, body: Bytes) -> CacheBody<B> {
    if method == Method::HEAD {
        CacheBody::empty()
    } else {
        CacheBody::stored(body)
    }
}

/// The octets of a slice. The policy only slices within the body; if it did not, less would be sent, never a panic.
fn octets(body: &Bytes, offset: u64, length: u64) -> Bytes {
    let end = body.len() as u64;
    let first = offset.min(end);
    let last = first.saturating_add(length).min(end);
    // Both are at most the body's length, which is a `usize`.
    body.slice(first as usize..last as usize)
}
