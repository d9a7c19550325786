//! [`Mark`]: a tag, prefix or namespace that an entry belongs to, with the versions that its load saw.

use twox_hash::XxHash3_64;

use super::bytes::{Reader, put_varint};
use super::reject::Reject;

/// What an entry can be invalidated with, and the versions that were seen before its load.
///
/// Versions are kept as [fingerprints](fingerprint): they are compared for equality only, and an entry should not
/// grow by the length of ten log ids. A wrong match is as likely as guessing 64 bits, once per invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    pub(crate) kind: MarkKind,
    /// The tag or prefix; for a namespace whatever tells it from others, possibly nothing.
    pub(crate) name: &'a str,
    /// Another one stands: the entry is gone.
    pub(crate) hard: u64,
    /// Another one stands: the entry is stale.
    pub(crate) soft: u64,
}

/// A [`Mark`] whose name is compared as it stands in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawMark<'a> {
    pub(crate) kind: MarkKind,
    pub(crate) name: &'a [u8],
    pub(crate) hard: u64,
    pub(crate) soft: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MarkKind {
    Namespace,
    Prefix,
    Tag,
}

/// The 64 bits that stand for a version of a tag, prefix or namespace.
pub(crate) fn fingerprint(version: &[u8]) -> u64 {
    XxHash3_64::oneshot(version)
}

/// The marks of an entry that was read: an iterator over its bytes, checked before.
#[derive(Clone, Debug)]
pub(crate) struct Marks<'a> {
    reader: Reader<'a>,
    left: u64,
}

impl<'a> Marks<'a> {
    /// Reads over the marks, so that iterating meets no failure.
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, Reject> {
        let left = reader.varint()?;
        let marks = Self {
            reader: reader.clone(),
            left,
        };
        for _ in 0..left {
            read_mark(reader)?;
        }
        Ok(marks)
    }
}

impl<'a> Marks<'a> {
    /// The marks for whom bytes will do.
    pub(crate) fn raw(&self) -> impl Iterator<Item = RawMark<'a>> + use<'a> {
        let mut reader = self.reader.clone();
        (0..self.left).map_while(move |_| read_raw(&mut reader).ok())
    }
}

impl<'a> Iterator for Marks<'a> {
    type Item = Mark<'a>;

    fn next(&mut self) -> Option<Mark<'a>> {
        self.left = self.left.checked_sub(1)?;
        read_mark(&mut self.reader).ok()
    }
}

fn read_mark<'a>(reader: &mut Reader<'a>) -> Result<Mark<'a>, Reject> {
    let RawMark {
        kind,
        name,
        hard,
        soft,
    } = read_raw(reader)?;
    let name = std::str::from_utf8(name).map_err(|_| Reject::Malformed)?;
    Ok(Mark {
        kind,
        name,
        hard,
        soft,
    })
}

fn read_raw<'a>(reader: &mut Reader<'a>) -> Result<RawMark<'a>, Reject> {
    let kind = MarkKind::from_id(reader.byte()?).ok_or(Reject::Malformed)?;
    let length = reader.length()?;
    let name = reader.take(length)?;
    let hard = reader.u64()?;
    let soft = reader.u64()?;
    Ok(RawMark {
        kind,
        name,
        hard,
        soft,
    })
}

pub(super) fn put_marks(marks: &[Mark<'_>], out: &mut Vec<u8>) {
    put_varint(marks.len() as u64, out);
    for mark in marks {
        out.push(mark.kind.id());
        put_varint(mark.name.len() as u64, out);
        out.extend_from_slice(mark.name.as_bytes());
        out.extend_from_slice(&mark.hard.to_le_bytes());
        out.extend_from_slice(&mark.soft.to_le_bytes());
    }
}

impl MarkKind {
    const fn id(self) -> u8 {
        match self {
            Self::Namespace => 0,
            Self::Prefix => 1,
            Self::Tag => 2,
        }
    }

    const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Namespace),
            1 => Some(Self::Prefix),
            2 => Some(Self::Tag),
            _ => None,
        }
    }
}
