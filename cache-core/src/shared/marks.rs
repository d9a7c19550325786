//! Marks: tags, prefixes and namespaces, under which entries are invalidated together.

use std::fmt;
use std::time::Duration;

use crate::notice::LogId;

/// A name under which entries are invalidated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark<'a> {
    /// Everything of a namespace.
    Namespace(&'a str),
    /// Everything under a prefix of a namespace.
    Prefix(&'a str, &'a str),
    /// Everything with a tag in a namespace.
    Tag(&'a str, &'a str),
}

impl fmt::Display for Mark<'_> {
    /// As it stands in keys and notices: `n:namespace`, `p:namespace:prefix`, `t:namespace:tag`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(f, "n:{namespace}"),
            Self::Prefix(namespace, prefix) => write!(f, "p:{namespace}:{prefix}"),
            Self::Tag(namespace, tag) => write!(f, "t:{namespace}:{tag}"),
        }
    }
}

impl<'a> Mark<'a> {
    /// Reads what [`Display`](fmt::Display) writes. A namespace has no colon, so the first one ends it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "n" => Some(Self::Namespace(rest)),
            "p" => rest
                .split_once(':')
                .map(|(namespace, prefix)| Self::Prefix(namespace, prefix)),
            "t" => rest
                .split_once(':')
                .map(|(namespace, tag)| Self::Tag(namespace, tag)),
            _ => None,
        }
    }
}

/// How thoroughly to invalidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// The old values are gone.
    Hard,
    /// The old values are stale.
    Soft,
}

/// The versions of one mark: `c:` and random text when created by use, else the id of the notice that moved it.
/// Compared for equality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkVersions {
    /// Another one than the entry's: the entry is gone.
    pub hard: String,
    /// Another one than the entry's: the entry is stale.
    pub soft: String,
    /// For how much longer nothing may be stored under the mark.
    pub hold: Duration,
}

impl MarkVersions {
    /// The notice that last invalidated hard; `None` if the version was merely created by use.
    pub fn hard_moved_at(&self) -> Option<LogId> {
        self.hard.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        for mark in [
            Mark::Namespace("market/eu"),
            Mark::Prefix("market", "quote/daily"),
            Mark::Tag("market", "user:7 {x}"),
        ] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
        assert_eq!(Mark::parse("x:market"), None);
        assert_eq!(Mark::parse("t:market"), None);
    }

    #[test]
    fn a_version_moved_by_a_notice_names_it_and_a_created_one_does_not() {
        let versions = |hard: &str| MarkVersions {
            hard: hard.to_owned(),
            soft: "c:1".to_owned(),
            hold: Duration::ZERO,
        };
        assert_eq!(versions("7-3").hard_moved_at(), Some(LogId::new(7, 3)));
        assert_eq!(versions("c:9").hard_moved_at(), None);
    }
}
