//! The primitives that concurrent code here is written against.
//!
//! `flight.rs` names only these, so that the model checker can compile the very same file against its own.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

/// Locks, also after a panic elsewhere: everything guarded here is valid between any two statements.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
