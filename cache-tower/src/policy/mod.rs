//! RFC 9111 as pure functions over [`http`] types: no I/O, no clock, no store.
//!
//! Time is always an argument. A response is parsed once, when it is stored ([`StoredHead::store`]); what a lookup then
//! needs, [`select`], [`decide`] and the age, allocates nothing for a plain GET.
//!
//! | Section | File |
//! |---|---|
//! | RFC 9111 §2, RFC 9110 §7.1: the target URI as a key | [`key_uri`] |
//! | RFC 9111 §3, §3.5: may it be stored | `storable` |
//! | §3.1: which fields | [`hop_by_hop`] |
//! | §3.2, §4.3: validation and freshening | [`validation`] |
//! | §3.3, §3.4: parts | [`parts`] |
//! | RFC 9110 §14: ranges | [`range`] |
//! | §4, §4.2.4, RFC 5861 §3: may it be reused | [`reuse`] |
//! | §4.3.3, RFC 5861 §4: and when the origin fails | `failure` |
//! | §4.1: which of several | [`vary`] |
//! | §4.2: lifetime and age | [`freshness`] |
//! | §4.3.2, RFC 9110 §13: the client's conditions | [`precondition`] |
//! | §4.4: invalidation | [`invalidation`] |
//! | §5.1, §5.3: Age, Date, Expires, validators | [`fields`] |
//! | RFC 9110 §5.6.7: dates | [`http_date`] |
//! | §5.2, §5.4: Cache-Control, Pragma | [`cache_control`] |
//! | RFC 3986 §5: references in Location | [`uri_reference`] |
//! | RFC 9211: Cache-Status | [`status`] |
//! | RFC 9213: targeted fields | [`targeted`] |
//! | RFC 9651: structured fields | [`structured`] |
//! | RFC 9875: cache groups | [`groups`] |
//! | No-Vary-Search (draft) | [`no_vary_search`] |
//! | parameters that a key leaves out, by configuration | [`query`] |
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use cache_tower::policy::{Decision, HttpCachePolicy, RequestView, StoredHead, Timed, decide, select};
//! use http::{HeaderMap, Method, StatusCode};
//!
//! let (policy, now) = (HttpCachePolicy::safe(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
//! let fields = HeaderMap::new();
//! let request = RequestView::new(&Method::GET, &fields);
//! let mut headers = HeaderMap::new();
//! headers.insert("cache-control", "max-age=60".parse().unwrap());
//! let response = Timed { status: StatusCode::OK, headers: &headers, requested: now, received: now };
//!
//! let stored = StoredHead::store(&request, "http://example.com/", &response, &policy).unwrap();
//! let later = now + Duration::from_secs(10);
//! match decide(&request, select([&stored], &request), later, &policy) {
//!     Decision::Serve(serve) => assert_eq!(serve.age.as_secs(), 10),
//!     other => panic!("{other:?}"),
//! }
//! ```

pub mod cache_control;
mod failure;
pub mod fields;
pub mod freshness;
pub mod groups;
pub mod hop_by_hop;
pub mod http_date;
pub mod invalidation;
pub mod key_uri;
pub mod no_vary_search;
pub mod parts;
pub mod precondition;
mod profile;
pub mod query;
pub mod range;
mod request;
pub mod reuse;
pub mod status;
mod storable;
mod stored_head;
pub mod structured;
pub mod targeted;
mod untrusted;
pub mod uri_reference;
pub mod validation;
pub mod vary;

pub use self::failure::{OriginFailure, serve_on_failure};
pub use self::freshness::Timed;
pub use self::profile::{AssignedLifetime, Heuristic, HttpCachePolicy, Statuses};
pub use self::request::RequestView;
pub use self::reuse::{Decision, ForwardReason, RevalidateReason, Serve, StaleReason, decide};
pub use self::storable::NotStored;
pub use self::stored_head::{InvalidRecord, StoredHead, StoredHeadRecord};
pub use self::untrusted::FieldSet;
pub use self::vary::{Selection, VaryProblem, select};

#[cfg(test)]
mod tests;
