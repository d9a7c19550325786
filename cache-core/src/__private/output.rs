//! The shapes of results: what of them is the value, what the error, and what "there is none".

use crate::outcome::Outcome;

/// `T`: always a value.
#[derive(Debug)]
pub enum Plain {}
/// `Option<T>`: `None` is kept as "no such value".
#[derive(Debug)]
pub enum Maybe {}
/// `Result<T, E>`: `Err` is not kept.
#[derive(Debug)]
pub enum Fallible {}
/// `Result<Option<T>, E>`: both.
#[derive(Debug)]
pub enum FallibleMaybe {}

/// The error of functions that have none.
#[derive(Clone, Copy, Debug)]
pub enum Never {}

/// A result of the shape `S`.
pub trait Output<S>: Sized + Send {
    /// What is cached.
    type Value: Send + Sync + 'static;
    /// What is not.
    type Error: Send + 'static;
    /// The result with the story of how it was come by.
    type Told: Send;
    /// Whether there may be no value.
    const OPTIONAL: bool;

    /// The result as the cache sees it.
    fn split(self) -> Result<Option<Self::Value>, Self::Error>;
    /// The result as the caller sees it; `None` for a missing value where there must be one.
    fn join(result: Result<Option<Self::Value>, Self::Error>) -> Option<Self>;
    /// Adds the story.
    fn tell(self, outcome: Outcome) -> Self::Told;
}

impl<T: Send + Sync + 'static> Output<Plain> for T {
    type Value = T;
    type Error = Never;
    type Told = (T, Outcome);
    const OPTIONAL: bool = false;

    fn split(self) -> Result<Option<T>, Never> {
        Ok(Some(self))
    }

    #[inline]
    fn join(result: Result<Option<T>, Never>) -> Option<T> {
        match result {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    fn tell(self, outcome: Outcome) -> (T, Outcome) {
        (self, outcome)
    }
}

impl<T: Send + Sync + 'static> Output<Maybe> for Option<T> {
    type Value = T;
    type Error = Never;
    type Told = (Option<T>, Outcome);
    const OPTIONAL: bool = true;

    fn split(self) -> Result<Option<T>, Never> {
        Ok(self)
    }

    #[inline]
    fn join(result: Result<Option<T>, Never>) -> Option<Option<T>> {
        match result {
            Ok(value) => Some(value),
            Err(never) => match never {},
        }
    }

    fn tell(self, outcome: Outcome) -> (Option<T>, Outcome) {
        (self, outcome)
    }
}

impl<T: Send + Sync + 'static, E: Send + 'static> Output<Fallible> for Result<T, E> {
    type Value = T;
    type Error = E;
    type Told = Result<(T, Outcome), E>;
    const OPTIONAL: bool = false;

    fn split(self) -> Result<Option<T>, E> {
        self.map(Some)
    }

    #[inline]
    fn join(result: Result<Option<T>, E>) -> Option<Result<T, E>> {
        result.transpose()
    }

    fn tell(self, outcome: Outcome) -> Result<(T, Outcome), E> {
        self.map(|value| (value, outcome))
    }
}

impl<T: Send + Sync + 'static, E: Send + 'static> Output<FallibleMaybe> for Result<Option<T>, E> {
    type Value = T;
    type Error = E;
    type Told = Result<(Option<T>, Outcome), E>;
    const OPTIONAL: bool = true;

    fn split(self) -> Self {
        self
    }

    #[inline]
    fn join(result: Self) -> Option<Self> {
        Some(result)
    }

    fn tell(self, outcome: Outcome) -> Result<(Option<T>, Outcome), E> {
        self.map(|value| (value, outcome))
    }
}
