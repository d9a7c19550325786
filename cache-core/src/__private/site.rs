//! The place of a cached function: its prefix, and where it stands.
//!
//! Two functions whose keys could meet would read each other's values. That is found at the first call of the second
//! one, wherever in the program the two are.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::Error;
use crate::key::Prefix;
use crate::sync::{Mutex, lock};

/// One cached function.
#[derive(Debug)]
pub struct Site {
    prefix: Prefix,
    function: &'static str,
    parts: usize,
    place: &'static str,
    standing: AtomicU8,
}

/// The functions that were called so far, by what their keys look like.
static SITES: Mutex<Option<HashMap<(&'static str, usize), &'static Site>>> = Mutex::new(None);

const UNKNOWN: u8 = 0;
const ALONE: u8 = 1;
const IN_CONFLICT: u8 = 2;

impl Site {
    /// The function `function`, whose keys have this prefix and so many parts behind it.
    ///
    /// # Panics
    ///
    /// As [`Prefix::literal`]; evaluated by the compiler.
    pub const fn new(
        prefix: &'static str,
        parts: usize,
        function: &'static str,
        place: &'static str,
    ) -> Self {
        Self {
            prefix: Prefix::literal(prefix),
            function,
            parts,
            place,
            standing: AtomicU8::new(UNKNOWN),
        }
    }

    /// What its keys begin with.
    #[inline]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Its path, for messages.
    pub fn function(&self) -> &'static str {
        self.function
    }

    /// Whether no other function has such keys.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming both places.
    #[inline]
    pub fn check(&'static self) -> Result<(), Error> {
        if self.standing.load(Ordering::Relaxed) == ALONE {
            return Ok(());
        }
        self.register()
    }

    #[cold]
    fn register(&'static self) -> Result<(), Error> {
        let mut sites = lock(&SITES);
        let sites = sites.get_or_insert_default();
        let first = *sites.entry((self.prefix.as_str(), self.parts)).or_insert(self);
        if std::ptr::eq(first, self) || (first.function == self.function && first.place == self.place) {
            self.standing.store(ALONE, Ordering::Relaxed);
            return Ok(());
        }
        let error = Error::invalid(format!(
            "{first} and {self} are cached under the same prefix `{}` with as many parts, so that they would read each \
             other's values; give one of them another prefix",
            self.prefix,
        ));
        if self.standing.swap(IN_CONFLICT, Ordering::Relaxed) == UNKNOWN {
            tracing::error!(%error, "a cached function runs without the cache");
        }
        Err(error)
    }

    /// Whether another function has such keys.
    pub(super) fn is_in_conflict(&self) -> bool {
        self.standing.load(Ordering::Relaxed) == IN_CONFLICT
    }

    /// The length of `slashed`.
    pub const fn slashed_length(path: &str) -> usize {
        let path = path.as_bytes();
        let (mut at, mut length) = (0, 0);
        while at < path.len() {
            at += if path[at] == b':' { 2 } else { 1 };
            length += 1;
        }
        length
    }

    /// `slashed`, as text.
    ///
    /// # Panics
    ///
    /// If it is not text; evaluated by the compiler.
    pub const fn text(bytes: &'static [u8]) -> &'static str {
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => panic!("a path is text"),
        }
    }
}

impl fmt::Display for Site {
    /// The function and where it stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at {}", self.function, self.place)
    }
}

/// A path with `/` in place of `::`, for the default prefix: `N` is the path's length less one for each `::`.
pub const fn slashed<const N: usize>(path: &str) -> [u8; N] {
    let path = path.as_bytes();
    let (mut text, mut from, mut to) = ([b'/'; N], 0, 0);
    while from < path.len() && to < N {
        if path[from] == b':' {
            from += 1;
        } else {
            text[to] = path[from];
        }
        from += 1;
        to += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_prefix() {
        const PATH: &str = "shop::model::order";
        const BYTES: [u8; Site::slashed_length(PATH)] = slashed(PATH);
        static SITE: Site = Site::new(Site::text(&BYTES), 1, PATH, "here");
        assert_eq!(SITE.prefix().as_str(), "shop/model/order");
    }

    #[test]
    fn the_second_function_with_such_keys_is_refused_and_both_are_named() {
        static FIRST: Site = Site::new("site-tests", 1, "a::quote", "a.rs:1");
        static SECOND: Site = Site::new("site-tests", 1, "b::quote", "b.rs:2");
        static LONGER: Site = Site::new("site-tests", 2, "c::quote", "c.rs:3");
        assert!(FIRST.check().is_ok());
        assert!(LONGER.check().is_ok());
        for _ in 0..2 {
            let message = SECOND.check().unwrap_err().to_string();
            assert!(
                message.contains("`a::quote` at a.rs:1") && message.contains("`b::quote` at b.rs:2"),
                "{message}"
            );
        }
        assert!(FIRST.check().is_ok());
    }
}
