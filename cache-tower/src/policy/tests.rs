//! What the tests of the policy share: header sections as lines, and stored responses made from them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::*;

/// When the tests' responses are received: Sun, 06 Nov 1994 08:49:37 GMT.
pub(super) const NOW: u64 = 784_111_777;
pub(super) const URI: &str = "http://example.com/a";

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A header section from `name: value` lines; the value `{-60}` is the date 60 seconds before [`NOW`].
#[track_caller]
pub(super) fn headers(lines: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a line has a colon");
        let value = value.trim();
        let offset = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let value = match offset.map(|offset| offset.parse::<i64>().unwrap()) {
            Some(offset) => http_date::format_http_date(at(NOW.checked_add_signed(offset).unwrap())),
            None => HeaderValue::from_str(value).unwrap(),
        };
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    map
}

pub(super) fn timed_at(status: u16, headers: &HeaderMap, received: u64) -> Timed<'_> {
    let status = StatusCode::from_u16(status).unwrap();
    Timed {
        status,
        headers,
        requested: at(received),
        received: at(received),
    }
}

/// Stores the response to a GET at [`NOW`].
pub(super) fn try_store(
    policy: &HttpCachePolicy,
    method: &str,
    request: &[&str],
    status: u16,
    response: &[&str],
) -> Result<StoredHead, NotStored> {
    let (request, response) = (headers(request), headers(response));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    StoredHead::store(
        &RequestView::new(&method, &request),
        URI,
        &timed_at(status, &response, NOW),
        policy,
    )
}

#[track_caller]
pub(super) fn stored_with(
    policy: &HttpCachePolicy,
    request: &[&str],
    status: u16,
    response: &[&str],
) -> StoredHead {
    try_store(policy, "GET", request, status, response).expect("the response is storable")
}
