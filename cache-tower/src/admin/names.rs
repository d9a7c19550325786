//! [`Names`]: what a path names.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The parameters of a path. What is no text names nothing that there is.
pub(super) struct Names<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for Names<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(_) => Err(Problem::not_found(
                "no_such_name",
                "the path names nothing that is served here",
            )),
        }
    }
}
