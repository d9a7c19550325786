//! The frame of everything that stands under a key of the shared tier: a value, a negative entry, a recorded failure
//! or a tombstone.
//!
//! # Layout
//!
//! Integers are little endian, `varint` is LEB128. The first 30 bytes are the same in every format, now and later,
//! so that scripts can compare, replace, hold off and expire entries of formats that they do not know:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic `F5 63 63 65`, which no UTF-8 text begins with |
//! | 4..20 | entry version: 128 random bits, compared for equality only |
//! | 20 | kind: `v` value, `n` negative, `f` recorded failure, `t` tombstone |
//! | 21 | format: 1 |
//! | 22..30 | `quiet_below`, in milliseconds of PTTL: a value is fresh, a tombstone refuses stores, while PTTL is above |
//!
//! Format 1 goes on with
//!
//! | bytes | field |
//! |---|---|
//! | 30 | flags: bit 0, signed |
//! | varint | physical TTL in milliseconds: the PX that the key was given |
//! | | *a tombstone's body ends here* |
//! | 4 | schema number |
//! | 1, 1 | codec (0: nothing to decode), compression |
//! | 8 | key check: xxh3-64 of the whole key |
//! | varint | physical TTL less hard TTL, in milliseconds |
//! | varint | how long the load took, in microseconds |
//! | varint | length of the payload before compression |
//! | varint | number of marks; then each as kind (1), length of the name (varint), name, hard version (8), soft version (8) |
//! | rest | payload |
//!
//! and ends with 36 bytes of signature, if the flag says so, and 8 of checksum (xxh3-64). Signature and checksum cover
//! everything from byte 20 on, so a script may give an entry another version; the signature covers the key, too.
//!
//! # Rules
//!
//! * Whatever is read, nothing panics, and memory is taken only as the input's length justifies.
//! * What is not understood is refused with a [`Reject`], which callers count and treat as a miss.
//! * No clock is read and no point in time is stored: what remains follows from PTTL alone, so nodes may disagree
//!   about the time of day. See [`Lifetimes`].
//! * Released forms stay readable: golden files guard them.

#![cfg_attr(
    not(test),
    expect(
        unused_imports,
        reason = "the unit tests take entries apart further than the shared tier does"
    )
)]

mod bytes;
mod frame;
mod lifetimes;
mod marks;
mod read;
mod reject;
#[cfg(test)]
mod tests;
mod write;

#[cfg(feature = "mac")]
pub(super) use self::frame::SIGNATURE_BYTES;
pub(crate) use self::frame::{Framing, MAGIC, MAGIC_AT, VERSION_AT, version_bytes, version_of};
pub(crate) use self::lifetimes::Lifetimes;
pub(crate) use self::marks::{Mark, MarkKind, Marks, fingerprint};
pub(crate) use self::read::{Content, Expected, Found, Parsed, Payload, Tombstone};
pub(crate) use self::reject::Reject;
pub(crate) use self::write::{Contents, Envelope, encode_tombstone};
