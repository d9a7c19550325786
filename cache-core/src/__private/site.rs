//! The place of a cached function: its prefix, and where it stands.

use crate::key::Prefix;

/// One cached function.
#[derive(Debug)]
pub struct Site {
    prefix: Prefix,
    function: &'static str,
}

impl Site {
    /// The function `function` with this prefix.
    ///
    /// # Panics
    ///
    /// As [`Prefix::literal`]; evaluated by the compiler.
    pub const fn new(prefix: &'static str, function: &'static str) -> Self {
        Self {
            prefix: Prefix::literal(prefix),
            function,
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

impl Site {
    /// The length of [`slashed`].
    pub const fn slashed_length(path: &str) -> usize {
        let path = path.as_bytes();
        let (mut at, mut length) = (0, 0);
        while at < path.len() {
            at += if path[at] == b':' { 2 } else { 1 };
            length += 1;
        }
        length
    }

    /// [`slashed`], as text.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_prefix() {
        const PATH: &str = "shop::model::order";
        const BYTES: [u8; Site::slashed_length(PATH)] = slashed(PATH);
        static SITE: Site = Site::new(Site::text(&BYTES), PATH);
        assert_eq!(SITE.prefix().as_str(), "shop/model/order");
    }
}
