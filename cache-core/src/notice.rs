//! [`Notice`]: what one entry of the invalidation log says. Never a value.
//!
//! The log is shared with nodes of other versions: an entry of another format, or with an unknown operation, is
//! [`None`] here and a gap to the reader, which then forgets everything instead of something wrong.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::format;
use crate::shared::{Strength, Version};

/// The format written now, and the only one understood.
pub const NOTICE_FORMAT: u32 = 1;

/// The place of a notice in the log: which log, and the how-manieth notice of it. Numbers have no holes.
///
/// Ids of one log are ordered by their number; those of different logs are not comparable, only different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId {
    incarnation: u64,
    number: u64,
}

impl LogId {
    /// The notice of this number in the log of this identity.
    pub const fn new(incarnation: u64, number: u64) -> Self {
        Self { incarnation, number }
    }

    /// Which log: a random number made when it begins, never zero.
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }

    /// The how-manieth notice, from one.
    pub const fn number(self) -> u64 {
        self.number
    }

    /// Whether this is the very next notice after `last`.
    pub const fn follows(self, last: Self) -> bool {
        self.incarnation == last.incarnation && self.number == last.number.wrapping_add(1)
    }

    /// Whether it is a later notice of the same log.
    pub const fn is_after(self, other: Self) -> bool {
        self.incarnation == other.incarnation && self.number > other.number
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.incarnation, self.number)
    }
}

/// The text is not a log id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotALogId;

impl FromStr for LogId {
    type Err = NotALogId;

    fn from_str(text: &str) -> Result<Self, NotALogId> {
        let (incarnation, number) = text.split_once('-').ok_or(NotALogId)?;
        Ok(Self {
            incarnation: incarnation.parse().map_err(|_| NotALogId)?,
            number: number.parse().map_err(|_| NotALogId)?,
        })
    }
}

/// A node: random, made when its cache is built.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(pub(crate) u64);

impl Source {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// What was done to keys. Receivers treat them alike; people who read the log do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `set` and `set_many`.
    Set,
    /// `update`.
    Update,
    /// A forced refresh.
    Refresh,
    /// `remove`.
    Remove,
    /// `expire`.
    Expire,
}

impl Op {
    /// As it stands in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Update => "update",
            Self::Refresh => "refresh",
            Self::Remove => "remove",
            Self::Expire => "expire",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Set, Self::Update, Self::Refresh, Self::Remove, Self::Expire]
            .into_iter()
            .find(|op| op.as_str() == text)
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its place.
    pub id: LogId,
    /// Who did it; `None` for somebody who does not use this toolkit.
    pub source: Option<Source>,
    /// What was done.
    pub event: Event,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Keys have changed: each full key, and the version that stands there now.
    Keys(Op, Vec<(String, Version)>),
    /// Marks have moved; their versions are now the notice's id. See [`Mark::parse`](crate::shared::Mark::parse).
    Marks {
        /// The texts of the marks.
        marks: Vec<String>,
        /// Which of their versions moved.
        strength: Strength,
        /// How long, from now on, nothing may be stored under them.
        hold: Duration,
    },
    /// Keys that match this glob are about to be removed.
    Pattern(String),
    /// The log began.
    Opened,
}

impl Notice {
    /// Reads an entry from its fields, in order. `None` if this version does not understand it.
    pub fn parse(id: LogId, fields: &[(Vec<u8>, Vec<u8>)]) -> Option<Self> {
        let text = |name: &[u8]| {
            fields
                .iter()
                .find(|(field, _)| field == name)
                .and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let format: u32 = text(b"f")?.parse().ok()?;
        if !(NOTICE_FORMAT..=format::of_notices()).contains(&format) {
            return None;
        }
        let source = match text(b"s") {
            Some(source) => Some(Source(u64::from_str_radix(source, 16).ok()?)),
            None => None,
        };
        let event = match text(b"o")? {
            "open" => Event::Opened,
            "pattern" => Event::Pattern(text(b"p")?.to_owned()),
            "hard" => Event::marks(fields, Strength::Hard)?,
            "soft" => Event::marks(fields, Strength::Soft)?,
            op => Event::keys(fields, Op::parse(op)?)?,
        };
        Some(Self { id, source, event })
    }
}

impl Event {
    fn keys(fields: &[(Vec<u8>, Vec<u8>)], op: Op) -> Option<Self> {
        let mut keys = Vec::new();
        let mut rest = fields.iter().skip_while(|(name, _)| name != b"k");
        while let Some((name, key)) = rest.next() {
            let (version_name, version) = rest.next()?;
            if name != b"k" || version_name != b"v" {
                return None;
            }
            keys.push((
                String::from_utf8(key.clone()).ok()?,
                Version::from_slice(version)?,
            ));
        }
        (!keys.is_empty()).then_some(Self::Keys(op, keys))
    }

    fn marks(fields: &[(Vec<u8>, Vec<u8>)], strength: Strength) -> Option<Self> {
        let mut marks = Vec::new();
        let mut hold = Duration::ZERO;
        for (name, value) in fields {
            let text = std::str::from_utf8(value);
            match name.as_slice() {
                b"m" => marks.push(text.ok()?.to_owned()),
                b"h" => hold = Duration::from_millis(text.ok()?.parse().ok()?),
                _ => {}
            }
        }
        (!marks.is_empty()).then_some(Self::Marks {
            marks,
            strength,
            hold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LogId = LogId::new(9, 4);

    fn fields(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        pairs
            .iter()
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect()
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: impl Into<Option<Event>>) {
        let expected = expected.into();
        let read = Notice::parse(ID, &fields(pairs)).map(|notice| notice.event);
        assert_eq!(read, expected, "{pairs:?}");
    }

    #[test]
    fn notices_of_this_format_are_understood() {
        let version = "0123456789abcdef";
        check(
            &[
                ("f", "1"),
                ("s", "00000000000000ff"),
                ("o", "remove"),
                ("k", "m:a"),
                ("v", version),
                ("k", "m:b"),
                ("v", version),
            ],
            Some(Event::Keys(
                Op::Remove,
                ["m:a", "m:b"]
                    .map(|key| (key.to_owned(), Version::from_bytes(*b"0123456789abcdef")))
                    .to_vec(),
            )),
        );
        check(
            &[("f", "1"), ("o", "soft"), ("h", "1500"), ("m", "t:m:x")],
            Some(Event::Marks {
                marks: vec!["t:m:x".to_owned()],
                strength: Strength::Soft,
                hold: Duration::from_millis(1500),
            }),
        );
        check(
            &[("f", "1"), ("o", "pattern"), ("p", "m:a*")],
            Some(Event::Pattern("m:a*".to_owned())),
        );
        check(&[("f", "1"), ("o", "open")], Some(Event::Opened));
    }

    #[test]
    fn everything_else_is_not_understood() {
        check(&[], None);
        check(&[("o", "open")], None);
        check(&[("f", "2"), ("o", "open")], None);
        check(&[("f", "1"), ("o", "swap")], None);
        check(&[("f", "1"), ("s", "zz"), ("o", "open")], None);
        check(&[("f", "1"), ("o", "set"), ("k", "m:a")], None);
        check(&[("f", "1"), ("o", "set"), ("k", "m:a"), ("v", "short")], None);
        check(&[("f", "1"), ("o", "set")], None);
        check(&[("f", "1"), ("o", "hard")], None);
        check(&[("f", "1"), ("o", "hard"), ("h", "x"), ("m", "n:m")], None);
    }

    #[test]
    fn ids_follow_each_other_within_one_log_only() {
        assert!(LogId::new(1, 5).follows(LogId::new(1, 4)));
        assert!(!LogId::new(1, 6).follows(LogId::new(1, 4)));
        assert!(!LogId::new(2, 5).follows(LogId::new(1, 4)));
        assert!(!LogId::new(2, 5).is_after(LogId::new(1, 4)));
        assert_eq!("18446744073709551615-7".parse(), Ok(LogId::new(u64::MAX, 7)));
        assert_eq!("c:7".parse::<LogId>(), Err(NotALogId));
    }
}
