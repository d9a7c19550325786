//! Dropping later: what leaves a store while a lock is held is dropped when it is not.
//!
//! A value's own code runs when it is dropped. It may use the cache, and would then wait for a lock of its own thread;
//! and freeing something large should keep nobody waiting.

use std::any::Any;
use std::cell::{Cell, RefCell};

use crate::sync::Arc;

/// While one of these lives, [`drop_later`] keeps what this thread gives it; the last one drops it all.
///
/// Declared before a lock is taken, it ends after the lock is released.
#[derive(Debug)]
pub(crate) struct Later {
    /// It is about this thread.
    _here: std::marker::PhantomData<*const ()>,
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<Arc<dyn Any + Send + Sync>>> = const { RefCell::new(Vec::new()) };
}

impl Later {
    pub(crate) fn new() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self {
            _here: std::marker::PhantomData,
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let depth = DEPTH.with(|depth| {
            depth.set(depth.get() - 1);
            depth.get()
        });
        if depth == 0 {
            // Taken out first: what is dropped may come here again.
            let kept = KEPT.with(RefCell::take);
            drop(kept);
        }
    }
}

/// Drops `value`, at once if no [`Later`] lives on this thread.
pub(crate) fn drop_later(value: Arc<dyn Any + Send + Sync>) {
    if DEPTH.with(Cell::get) > 0 {
        KEPT.with(|kept| kept.borrow_mut().push(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_dropped_with_the_outermost_scope_and_at_once_outside() {
        let value = Arc::new(());
        let alive = || Arc::strong_count(&value) - 1;
        drop_later(value.clone());
        assert_eq!(alive(), 0);
        let outer = Later::new();
        let inner = Later::new();
        drop_later(value.clone());
        drop(inner);
        drop_later(value.clone());
        assert_eq!(alive(), 2);
        drop(outer);
        assert_eq!(alive(), 0);
    }
}
