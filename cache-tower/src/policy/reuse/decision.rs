//! What can be decided about a request, and why: every refusal has its reason.

use std::time::Duration;

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Answer from the store.
    Serve(Serve),
    /// Ask the origin whether the stored response still holds (§4.3).
    Revalidate(RevalidateReason),
    /// Send the request to the origin; the store has nothing for it.
    Forward(ForwardReason),
    /// `only-if-cached`, and the store cannot answer: 504 (§5.2.1.7).
    GatewayTimeout,
}

/// How a stored response is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serve {
    /// The current age, for the `Age` field.
    pub age: Duration,
    /// Remaining freshness in seconds, negative when stale, for `Cache-Status`.
    pub ttl: i64,
    /// Why a stale response may be served; `None` when it is fresh.
    pub stale: Option<StaleReason>,
}

impl Serve {
    /// Fresh for a second at least, even by a clock that is a little behind.
    pub(crate) fn is_surely_fresh(&self) -> bool {
        // Whole seconds of lifetime and age: a difference of 1 may be a moment.
        self.stale.is_none() && self.ttl > 1
    }

    /// Whether a validation is to be made in the background (RFC 5861 §3).
    pub fn revalidates_in_background(&self) -> bool {
        self.stale == Some(StaleReason::WhileRevalidating)
    }
}

/// Why a stale response may be served (§4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleReason {
    /// The client accepts it with `max-stale` (§5.2.1.2).
    MaxStale,
    /// `stale-while-revalidate` (RFC 5861 §3).
    WhileRevalidating,
    /// `stale-if-error`, of the response or the request (RFC 5861 §4).
    IfError,
    /// The origin cannot be reached (§4.2.4, §4.3.3).
    Unreachable,
    /// It is fresh: only the client had asked for a validation, and the origin failed to make one.
    StillFresh,
}

impl StaleReason {
    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxStale => "max-stale",
            Self::WhileRevalidating => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::Unreachable => "origin-unreachable",
            Self::StillFresh => "origin-failed",
        }
    }
}

/// Why a stored response is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevalidateReason {
    /// It is stale.
    Stale,
    /// It says `no-cache` (§5.2.2.4).
    NoCache,
    /// A HEAD response contradicted it (§4.3.5).
    Suspect,
    /// The request says `no-cache` (§5.2.1.4).
    RequestNoCache,
    /// It is older than the request's `max-age` (§5.2.1.1).
    RequestMaxAge,
    /// It is not fresh for as long as the request's `min-fresh` (§5.2.1.3).
    RequestMinFresh,
}

impl RevalidateReason {
    /// Whether only the client wants the validation; such ones may be rate-limited.
    pub fn is_forced_by_request(self) -> bool {
        matches!(
            self,
            Self::RequestNoCache | Self::RequestMaxAge | Self::RequestMinFresh
        )
    }

    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::NoCache => "no-cache",
            Self::Suspect => "suspect",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
        }
    }
}

/// Why a request goes to the origin although it is not to validate anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardReason {
    /// Nothing is stored for the URI.
    NothingStored,
    /// Nothing is stored for these nominated fields.
    NoVariant,
    /// The method is not answered from the store.
    Method,
    /// `If-Match` and `If-Unmodified-Since` are for the origin (§4.3.2).
    OriginCondition,
    /// The request has credentials, and the stored response does not say that it may be shared (§3.5).
    Credentials,
    /// What is stored is a part that does not cover what is asked for.
    Part,
}

impl ForwardReason {
    /// The reason as a token for `Cache-Status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingStored => "nothing-stored",
            Self::NoVariant => "no-variant",
            Self::Method => "method",
            Self::OriginCondition => "origin-condition",
            Self::Credentials => "credentials",
            Self::Part => "part",
        }
    }
}
