//! Small helpers that give generated code its types.

use std::future::Future;

use tokio::task::LocalKey;

use crate::cache::LoadContext;
use crate::error::Error;
use crate::key::{KeyBuf, KeyError, KeyPart};

/// Adds a part that is not an argument to a key.
#[inline]
pub fn part(key: &mut KeyBuf, part: &(impl KeyPart + ?Sized)) -> Result<(), KeyError> {
    key.part(part);
    Ok(())
}

/// Gives an async block its output's type.
pub fn typed<O, F: Future<Output = O>>(future: F) -> F {
    future
}

/// Calls a closure that an option holds; its parameter's type comes from here.
pub fn of_value<T, R>(closure: impl FnOnce(&T) -> R, value: &T) -> R {
    closure(value)
}

/// What a function returned, to be stored as well.
pub fn copy_of<T: Clone>(value: &T) -> T {
    value.clone()
}

/// Adds a tag that the value decides. What is not a tag keeps the value from being stored.
pub fn tag<T>(context: &LoadContext<T>, text: &str) {
    if let Err(error) = context.tag(text) {
        tracing::warn!(key = %context.key(), %error, "a value is not stored, since it could not be invalidated as asked");
    }
}

/// Tells that a function which writes could not tell the cache. Its own result is not affected.
pub fn duty<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a function that writes could not tell the cache; readers see the old value until its TTL");
    }
}

/// Takes a task-local of the caller along.
pub fn carry<T, F>(local: &'static LocalKey<T>, future: F) -> impl Future<Output = F::Output> + Send
where
    T: Clone + Send + 'static,
    F: Future + Send,
{
    let value = local.try_with(T::clone).ok();
    async move {
        match value {
            Some(value) => local.scope(value, future).await,
            None => future.await,
        }
    }
}
