//! What warmers may return: for one item, and for a whole run.

use std::fmt;

use crate::loaded::Loaded;
use crate::outcome::{Outcome, OutcomeKind};

use super::WarmReport;
use super::drive::End;

/// What a call came to, as warmers count it: an [`Outcome`], a [`Loaded`], what the companion `outcome` of a `#[cached]`
/// function returns, or a `Result` of these, whose error counts as failed. Sealed.
pub trait Warmed: sealed::Warmed + Send + 'static {}

/// What a run may end in: nothing, a [`WarmReport`], or a `Result` of these, whose error is shown. Sealed.
pub trait WarmerOutput: sealed::WarmerOutput {}

pub(super) fn end_of(warmed: &impl sealed::Warmed) -> End {
    warmed.end()
}

impl Warmed for Outcome {}
impl<T: Send + Sync + 'static> Warmed for Loaded<T> {}
impl<T: Send + 'static> Warmed for (T, Outcome) {}
impl<T: Warmed> Warmed for Option<T> {}
impl<T: Warmed, E: Send + 'static> Warmed for Result<T, E> {}

impl WarmerOutput for () {}
impl WarmerOutput for WarmReport {}
impl<T: WarmerOutput, E: fmt::Display> WarmerOutput for Result<T, E> {}

pub(super) mod sealed {
    use super::{End, Loaded, Outcome, OutcomeKind, WarmReport, fmt};

    pub trait Warmed {
        fn end(&self) -> End;
    }

    impl Warmed for Outcome {
        fn end(&self) -> End {
            match self.kind {
                OutcomeKind::Loaded => End::Loaded,
                OutcomeKind::Fresh | OutcomeKind::Shared | OutcomeKind::Negative => End::Skipped,
                OutcomeKind::Stale(_) | OutcomeKind::Fallback => End::Failed,
            }
        }
    }

    impl<T> Warmed for Loaded<T> {
        fn end(&self) -> End {
            self.outcome().end()
        }
    }

    impl<T> Warmed for (T, Outcome) {
        fn end(&self) -> End {
            self.1.end()
        }
    }

    /// "No such value" is a value that is known.
    impl<T: Warmed> Warmed for Option<T> {
        fn end(&self) -> End {
            self.as_ref().map_or(End::Skipped, Warmed::end)
        }
    }

    impl<T: Warmed, E> Warmed for Result<T, E> {
        fn end(&self) -> End {
            self.as_ref().map_or(End::Failed, Warmed::end)
        }
    }

    pub trait WarmerOutput {
        fn error(self) -> Option<String>;
    }

    impl WarmerOutput for () {
        fn error(self) -> Option<String> {
            None
        }
    }

    impl WarmerOutput for WarmReport {
        fn error(self) -> Option<String> {
            None
        }
    }

    impl<T: WarmerOutput, E: fmt::Display> WarmerOutput for Result<T, E> {
        fn error(self) -> Option<String> {
            match self {
                Ok(output) => output.error(),
                Err(error) => Some(error.to_string()),
            }
        }
    }
}
