//! [`Parsed`]: reading what stands under a key.

use std::borrow::Cow;
use std::time::Duration;

use super::Envelope;
use super::bytes::Reader;
use super::frame::{
    CHECKSUM_BYTES, COVERED_FROM, Framing, Kind, SIGNATURE_BYTES, SIGNED, checksum, key_check, version_of,
};
use super::lifetimes::{Lifetimes, millis};
use super::marks::Marks;
use super::reject::Reject;
use crate::codec::Codec;
use crate::codec::compression::{self, Refused};
use crate::entry::Version;
use crate::format;

/// What the reader knows before it looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// The whole Redis key.
    pub(crate) key: &'a [u8],
    /// The schema number of the value's type here.
    pub(crate) schema: u32,
    /// What remained of the key when it was read, or a little more than that: PTTL is asked before the value.
    pub(crate) pttl: Duration,
}

/// What stands under the key.
#[derive(Clone, Debug)]
pub(crate) enum Parsed<'a> {
    Found(Found<'a>),
    Tombstone(Tombstone),
}

impl Parsed<'_> {
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::Found(found) => found.version,
            Self::Tombstone(tombstone) => tombstone.version,
        }
    }
}

/// An entry, borrowed from the bytes that were read. It may be stale, or past its hard TTL.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) version: Version,
    pub(crate) lifetimes: Lifetimes,
    /// How long it is still fresh, counted from the instant of asking for PTTL.
    pub(crate) soft_remaining: Duration,
    /// How long it is still readable; at zero only its version counts.
    pub(crate) hard_remaining: Duration,
    /// How long ago it was written.
    pub(crate) age: Duration,
    /// How long its load took.
    pub(crate) delta: Duration,
    pub(crate) marks: Marks<'a>,
    pub(crate) content: Content<'a>,
}

/// What the entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Value(Payload<'a>),
    /// There is no such value.
    Negative,
    /// The load failed, with this kind of error.
    Failure(&'a str),
}

/// An encoded value, possibly still compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    pub(crate) codec: Codec,
    compression: u8,
    /// Before compression.
    length: usize,
    stored: &'a [u8],
}

impl<'a> Payload<'a> {
    /// What the codec wrote.
    ///
    /// # Errors
    ///
    /// [`Reject::Decompress`].
    pub(crate) fn bytes(&self) -> Result<Cow<'a, [u8]>, Reject> {
        compression::decompress(self.compression, self.stored, self.length).map_err(|refused| match refused {
            Refused::Unknown => Reject::Compression,
            Refused::Corrupt => Reject::Decompress,
        })
    }
}

/// Nothing, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) version: Version,
    /// How long it still refuses every store.
    pub(crate) hold_remaining: Duration,
}

impl Envelope<'_> {
    /// Reads what stands under a key. Borrows; only [`Payload::bytes`] allocates, if the payload is compressed.
    ///
    /// # Errors
    ///
    /// See [`Reject`]. [`version_of`] tells the version of what is refused, too.
    pub(crate) fn parse<'a>(
        bytes: &'a [u8],
        expected: &Expected<'_>,
        framing: &Framing,
    ) -> Result<Parsed<'a>, Reject> {
        let version = version_of(bytes).ok_or(Reject::Foreign)?;
        let covered = verified(bytes, expected.pttl)?;
        let mut head = Reader::new(covered);
        let kind = Kind::from_id(head.byte()?).ok_or(Reject::Malformed)?;
        let _format = head.byte()?;
        let quiet_below = head.u64()?;
        let flags = head.byte()?;
        if kind == Kind::Tombstone {
            return tombstone(version, quiet_below, expected.pttl, head).map(Parsed::Tombstone);
        }
        let signed = framing.authentic(covered, flags, expected.key)?;
        let fields = Reader::new(signed.get(HEAD_BYTES..).ok_or(Reject::Malformed)?);
        found(version, kind, quiet_below, fields, expected, framing).map(Parsed::Found)
    }
}

/// Everything that the checksum covers, if it is what was written, in a format that is known.
fn verified(bytes: &[u8], pttl: Duration) -> Result<&[u8], Reject> {
    let format = *bytes.get(COVERED_FROM + 1).ok_or(Reject::Truncated)?;
    if format > format::of_envelopes() {
        let quiet_below = bytes
            .get(COVERED_FROM + 2..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(Reject::Truncated)?;
        let quiet_below = Duration::from_millis(u64::from_le_bytes(*quiet_below));
        return Err(Reject::NewerFormat {
            fresh_for: pttl.saturating_sub(quiet_below),
        });
    }
    let covered = bytes.get(COVERED_FROM..).unwrap_or_default();
    let (covered, sum) = covered
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(Reject::Truncated)?;
    if covered.len() < SHORTEST {
        return Err(Reject::Truncated);
    }
    if checksum(covered) != u64::from_le_bytes(*sum) {
        return Err(Reject::Checksum);
    }
    if format < format::ENVELOPES {
        return Err(Reject::Malformed);
    }
    Ok(covered)
}

fn tombstone(
    version: Version,
    quiet_below: u64,
    pttl: Duration,
    mut fields: Reader<'_>,
) -> Result<Tombstone, Reject> {
    let physical = fields.varint()?;
    let hold = physical.checked_sub(quiet_below).ok_or(Reject::Malformed)?;
    if !fields.rest().is_empty() {
        return Err(Reject::Malformed);
    }
    let remaining = millis(pttl).saturating_sub(quiet_below).min(hold);
    Ok(Tombstone {
        version,
        hold_remaining: Duration::from_millis(remaining),
    })
}

fn found<'a>(
    version: Version,
    kind: Kind,
    quiet_below: u64,
    mut fields: Reader<'a>,
    expected: &Expected<'_>,
    framing: &Framing,
) -> Result<Found<'a>, Reject> {
    let physical = fields.varint()?;
    let schema = fields.u32()?;
    let (codec, compression) = (fields.byte()?, fields.byte()?);
    if fields.u64()? != key_check(expected.key) {
        return Err(Reject::KeyMismatch);
    }
    let gone_below = fields.varint()?;
    let lifetimes = Lifetimes::from_stored(physical, quiet_below, gone_below).ok_or(Reject::Malformed)?;
    let soft_remaining = lifetimes.soft_remaining(expected.pttl);
    same_schema(schema, expected.schema, soft_remaining)?;
    let delta = Duration::from_micros(fields.varint()?);
    let length = fields.varint()?;
    let length = usize::try_from(length).map_err(|_| Reject::TooLarge)?;
    if length > framing.max_payload {
        return Err(Reject::TooLarge);
    }
    let marks = Marks::parse(&mut fields)?;
    Ok(Found {
        version,
        lifetimes,
        soft_remaining,
        hard_remaining: lifetimes.hard_remaining(expected.pttl),
        age: lifetimes.age(expected.pttl),
        delta,
        marks,
        content: content(kind, codec, compression, length, fields.rest())?,
    })
}

fn same_schema(stored: u32, expected: u32, fresh_for: Duration) -> Result<(), Reject> {
    match stored.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(Reject::OlderSchema),
        std::cmp::Ordering::Greater => Err(Reject::NewerSchema { fresh_for }),
    }
}

fn content(
    kind: Kind,
    codec: u8,
    compression: u8,
    length: usize,
    stored: &[u8],
) -> Result<Content<'_>, Reject> {
    match kind {
        Kind::Value => {
            if !compression::is_known(compression) {
                return Err(Reject::Compression);
            }
            Ok(Content::Value(Payload {
                codec: Codec::from_id(codec).ok_or(Reject::Codec)?,
                compression,
                length,
                stored,
            }))
        }
        Kind::Negative if stored.is_empty() => Ok(Content::Negative),
        Kind::Failure => match std::str::from_utf8(stored) {
            Ok(error) => Ok(Content::Failure(error)),
            Err(_) => Err(Reject::Malformed),
        },
        Kind::Negative | Kind::Tombstone => Err(Reject::Malformed),
    }
}

impl Framing {
    /// What is covered by the signature, if the entry is as authentic as it has to be.
    #[cfg(feature = "mac")]
    fn authentic<'a>(&self, covered: &'a [u8], flags: u8, key: &[u8]) -> Result<&'a [u8], Reject> {
        use crate::codec::mac::Forged;

        let (signed, signature) = split_signature(covered, flags)?;
        match (&self.keys, signature) {
            (None, _) => Ok(signed),
            (Some(_), None) => Err(Reject::Unsigned),
            (Some(keys), Some(signature)) => match keys.verify(key, signed, signature) {
                Ok(()) => Ok(signed),
                Err(Forged::UnknownKey) => Err(Reject::UnknownMacKey),
                Err(Forged::Signature) => Err(Reject::Mac),
            },
        }
    }

    /// A build that knows no secrets reads signed entries, too: signatures can then be introduced node by node.
    #[cfg(not(feature = "mac"))]
    fn authentic<'a>(&self, covered: &'a [u8], flags: u8, _key: &[u8]) -> Result<&'a [u8], Reject> {
        split_signature(covered, flags).map(|(signed, _)| signed)
    }
}

fn split_signature(covered: &[u8], flags: u8) -> Result<(&[u8], Option<&[u8; SIGNATURE_BYTES]>), Reject> {
    match flags {
        0 => Ok((covered, None)),
        SIGNED => {
            let (signed, signature) = covered.split_last_chunk().ok_or(Reject::Malformed)?;
            Ok((signed, Some(signature)))
        }
        _ => Err(Reject::Malformed),
    }
}

/// Kind, format, `quiet_below` and flags.
const HEAD_BYTES: usize = 1 + 1 + 8 + 1;

/// A tombstone's one field behind them has at least a byte.
const SHORTEST: usize = HEAD_BYTES + 1;
