//! [`Envelope`]: writing an entry.

use std::borrow::Cow;
use std::time::Duration;

use super::bytes::put_varint;
#[cfg(feature = "mac")]
use super::frame::SIGNED;
use super::frame::{COVERED_FROM, Framing, Kind, MAGIC, SIGNATURE_BYTES, checksum, key_check, version_bytes};
use super::lifetimes::{Lifetimes, millis};
use super::marks::{Mark, put_marks};
use crate::codec::Codec;
use crate::codec::error::CodecError;
use crate::entry::Version;
use crate::format;

/// An entry that is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) version: Version,
    /// The schema number of the value's type.
    pub(crate) schema: u32,
    pub(crate) lifetimes: Lifetimes,
    /// How long the load took.
    pub(crate) delta: Duration,
    /// Namespace, prefix and tags with their versions from before the load.
    pub(crate) marks: &'a [Mark<'a>],
    pub(crate) contents: Contents<'a>,
}

/// What the entry says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contents<'a> {
    /// An encoded value.
    Value { codec: Codec, payload: &'a [u8] },
    /// There is no such value.
    Negative,
    /// The load failed, with this kind of error.
    Failure(&'a str),
}

impl Envelope<'_> {
    /// The bytes to store under `key`, which is the whole Redis key.
    ///
    /// # Errors
    ///
    /// [`CodecError::TooLarge`], if readers would refuse the payload.
    pub(crate) fn encode(&self, key: &[u8], framing: &Framing) -> Result<Vec<u8>, CodecError> {
        let (kind, codec, payload) = self.contents.parts();
        if payload.len() > framing.max_payload {
            return Err(CodecError::TooLarge {
                bytes: payload.len(),
                limit: framing.max_payload,
            });
        }
        let (compression, stored) = match kind {
            Kind::Value => framing.compression.compress(payload),
            _ => (0, Cow::Borrowed(payload)),
        };
        let names: usize = self.marks.iter().map(|mark| mark.name.len()).sum();
        let mut out = Vec::with_capacity(FIXED_ROOM + names + self.marks.len() * MARK_ROOM + stored.len());
        put_head(&mut out, self.version, kind, self.lifetimes.quiet_below());
        out.push(framing.flags());
        put_varint(self.lifetimes.px(), &mut out);
        out.extend_from_slice(&self.schema.to_le_bytes());
        out.extend_from_slice(&[codec, compression]);
        out.extend_from_slice(&key_check(key).to_le_bytes());
        put_varint(self.lifetimes.gone_below(), &mut out);
        put_varint(
            u64::try_from(self.delta.as_micros()).unwrap_or(u64::MAX),
            &mut out,
        );
        put_varint(payload.len() as u64, &mut out);
        put_marks(self.marks, &mut out);
        out.extend_from_slice(&stored);
        framing.sign(key, &mut out);
        seal(&mut out);
        Ok(out)
    }
}

impl<'a> Contents<'a> {
    fn parts(&self) -> (Kind, u8, &'a [u8]) {
        match *self {
            Self::Value { codec, payload } => (Kind::Value, codec.id(), payload),
            Self::Negative => (Kind::Negative, 0, &[]),
            Self::Failure(error) => (Kind::Failure, 0, error.as_bytes()),
        }
    }
}

/// A tombstone: nothing is stored under the key for `hold`, and nothing that began before it ever is.
///
/// Its body depends on the two durations alone, and it is neither signed nor bound to its key: putting it somewhere
/// is no more than deleting what stands there. So programs that only invalidate can keep it as a constant and put
/// a fresh version in. The second part is the PX of the key, in milliseconds.
pub(crate) fn encode_tombstone(version: Version, hold: Duration, lease_window: Duration) -> (Vec<u8>, u64) {
    let hold = millis(hold);
    let physical = hold.max(millis(lease_window));
    let mut out = Vec::with_capacity(FIXED_ROOM);
    put_head(&mut out, version, Kind::Tombstone, physical - hold);
    out.push(0);
    put_varint(physical, &mut out);
    seal(&mut out);
    (out, physical)
}

fn put_head(out: &mut Vec<u8>, version: Version, kind: Kind, quiet_below: u64) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&version_bytes(version));
    out.extend_from_slice(&[kind.id(), format::of_envelopes()]);
    out.extend_from_slice(&quiet_below.to_le_bytes());
}

fn seal(out: &mut Vec<u8>) {
    let sum = checksum(&out[COVERED_FROM..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

impl Framing {
    #[cfg(feature = "mac")]
    fn flags(&self) -> u8 {
        if self.keys.is_some() { SIGNED } else { 0 }
    }

    #[cfg(not(feature = "mac"))]
    fn flags(&self) -> u8 {
        0
    }

    #[cfg(feature = "mac")]
    fn sign(&self, key: &[u8], out: &mut Vec<u8>) {
        if let Some(keys) = &self.keys {
            let signature = keys.sign(key, &out[COVERED_FROM..]);
            out.extend_from_slice(&signature);
        }
    }

    #[cfg(not(feature = "mac"))]
    fn sign(&self, _key: &[u8], _out: &mut Vec<u8>) {}
}

/// Head, fields of fixed length, the longest varints, signature and checksum.
const FIXED_ROOM: usize = 30 + 1 + 14 + 5 * 10 + SIGNATURE_BYTES + 8;

/// A mark without its name.
const MARK_ROOM: usize = 1 + 2 + 16;
