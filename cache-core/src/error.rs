//! What can go wrong, and how to tell one failure from another.
//!
//! [`Error`] is what the toolkit itself reports: bad configuration, a load that timed out or panicked, a tier that
//! is away. It is opaque, cheap to clone and shared by all waiters of a load. Ask it with predicates
//! ([`Error::is_timeout`], [`Error::is_unavailable`], ..) or by [`Error::kind`]; the list of kinds may grow.
//!
//! [`LoadError`] is what a load returns: the loader's own error in an [`Arc`], or an [`Error`] of the toolkit.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A failure of the toolkit itself; the loader's failures are [`LoadError::Loader`].
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The closed list of reasons behind an [`Error`], growing with the toolkit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, key, tag or option that cannot be accepted; the message names the field and the remedy.
    Invalid,
    /// The loader did not answer within the caller's hard timeout, or was aborted at `max_load`.
    LoadTimeout,
    /// The loader panicked; every waiter of that load gets this.
    LoaderPanicked,
    /// The load was dropped before it ended, for instance because its runtime shut down.
    LoadAborted,
    /// A loader asked for a value that waits, directly or through others, for that very loader.
    Reentrant,
    /// The loader failed a moment ago and `error_ttl` is set: the recorded failure, without another load.
    RecordedFailure,
    /// Too many loads wait already; this one was refused at once.
    Overloaded,
    /// The operation needs a tier that is away, and has no local fallback.
    Unavailable,
    /// An invalidation was applied here and queued, but not acknowledged by the shared tier.
    InvalidationUncertain,
    /// A compare-and-set lost against other writers as often as it may be repeated.
    Contended,
    /// The process-wide cache is installed already, or was already used.
    AlreadyInstalled,
    /// The cache was closed.
    Closed,
}

impl ErrorKind {
    /// The kind in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::LoadTimeout => "load_timeout",
            Self::LoaderPanicked => "loader_panicked",
            Self::LoadAborted => "load_aborted",
            Self::Reentrant => "reentrant",
            Self::RecordedFailure => "recorded_failure",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::InvalidationUncertain => "invalidation_uncertain",
            Self::Contended => "contended",
            Self::AlreadyInstalled => "already_installed",
            Self::Closed => "closed",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            context: context.into(),
            source: None,
        }))
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            context: context.into(),
            source: Some(source.into()),
        }))
    }

    /// What callers get who come within `error_ttl` of a failure that cannot be shared.
    pub(crate) fn recorded_failure() -> Self {
        Self::new(ErrorKind::RecordedFailure, "the load failed a moment ago")
    }

    /// An [`Invalid`](ErrorKind::Invalid) error, for crates that check a configuration of their own. The context names
    /// the setting and the remedy.
    pub fn invalid(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, context)
    }

    /// Which of the known reasons it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// A setting, key, tag or option was refused.
    pub fn is_invalid(&self) -> bool {
        self.kind() == ErrorKind::Invalid
    }

    /// The loader took longer than it may.
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::LoadTimeout
    }

    /// The loader panicked.
    pub fn is_panic(&self) -> bool {
        self.kind() == ErrorKind::LoaderPanicked
    }

    /// A load waits for itself.
    pub fn is_reentrant(&self) -> bool {
        self.kind() == ErrorKind::Reentrant
    }

    /// A needed tier is away.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// An invalidation was not acknowledged by the shared tier; it holds on this node and is queued for the others.
    pub fn is_uncertain(&self) -> bool {
        self.kind() == ErrorKind::InvalidationUncertain
    }
}

impl From<crate::key::KeyError> for Error {
    fn from(error: crate::key::KeyError) -> Self {
        Self::with_source(ErrorKind::Invalid, error.to_string(), error)
    }
}

impl From<crate::tag::TagError> for Error {
    fn from(error: crate::tag::TagError) -> Self {
        Self::with_source(ErrorKind::Invalid, error.to_string(), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("context", &self.0.context);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// Why a load gave no value: the loader's own error, shared by all who waited, or the toolkit's.
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader returned this error.
    Loader(Arc<E>),
    /// The load did not get that far, or not in time.
    Cache(Error),
}

impl<E> LoadError<E> {
    /// The loader's error, if it was the loader that failed.
    pub fn loader(&self) -> Option<&E> {
        match self {
            Self::Loader(error) => Some(error),
            Self::Cache(_) => None,
        }
    }

    /// The toolkit's error, if it was not the loader that failed.
    pub fn cache(&self) -> Option<&Error> {
        match self {
            Self::Loader(_) => None,
            Self::Cache(error) => Some(error),
        }
    }

    /// The loader's error itself, or the toolkit's as one of its type: what a function under [`#[cached]`](macro@crate::cached)
    /// returns.
    ///
    /// ```
    /// # use cache_core::{Cache, CacheKey, Error, time::minutes};
    /// # #[derive(Clone)] struct DbError;
    /// # impl From<Error> for DbError { fn from(_: Error) -> Self { Self } }
    /// # async fn example(cache: &Cache, key: &CacheKey) -> Result<(), DbError> {
    /// let load = |_| async { Ok::<u64, DbError>(7) };
    /// let value = cache.get_or_load(key, minutes(5), load).await.map_err(|error| error.into_error())?;
    /// # let _ = value; Ok(()) }
    /// ```
    pub fn into_error(self) -> E
    where
        E: Clone + From<Error>,
    {
        match self {
            Self::Loader(error) => Arc::unwrap_or_clone(error),
            Self::Cache(error) => error.into(),
        }
    }

    /// The loader took longer than it may.
    pub fn is_timeout(&self) -> bool {
        self.cache().is_some_and(Error::is_timeout)
    }

    /// The loader panicked.
    pub fn is_panic(&self) -> bool {
        self.cache().is_some_and(Error::is_panic)
    }

    /// A load waits for itself.
    pub fn is_reentrant(&self) -> bool {
        self.cache().is_some_and(Error::is_reentrant)
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Loader(error) => Self::Loader(error.clone()),
            Self::Cache(error) => Self::Cache(error.clone()),
        }
    }
}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loader(error) => f.debug_tuple("Loader").field(error).finish(),
            Self::Cache(error) => f.debug_tuple("Cache").field(error).finish(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loader(error) => error.fmt(f),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for LoadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Loader(error) => error.source(),
            Self::Cache(error) => error.source(),
        }
    }
}
