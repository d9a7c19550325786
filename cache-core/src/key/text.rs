//! The text of a key under construction, and the rule that bounds it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::key::digest::{self, DIGEST_BYTES};

/// No key text has more bytes than this, the cache's namespace not counted.
///
/// Together with a namespace it stays well below the 512 bytes at which Redis keys begin to weigh.
pub const MAX_KEY_BYTES: usize = 200;

/// A buffer on the stack that receives one part after the other; a part that outgrows it moves to the heap
/// until it is closed and replaced by its digest.
///
/// The bytes are valid UTF-8 whenever no part is open, since only whole characters are pushed and only whole
/// parts are replaced.
pub(crate) struct KeyText {
    inline: [u8; MAX_KEY_BYTES],
    len: usize,
    /// Where the open part begins, its separator included.
    open: usize,
    /// Where the longest run of parts ends after which a digest of all the others still fits.
    readable: usize,
    /// What only long keys need; ordinary ones pay for a pointer.
    overflow: Option<Box<Overflow>>,
}

#[derive(Default)]
struct Overflow {
    /// The open part, if it is too long to be in `inline`.
    spill: Option<Vec<u8>>,
    /// Takes in every part from `readable` on, once there are too many for one digest each.
    folded: Option<Sha256>,
}

impl KeyText {
    pub(crate) const EMPTY: Self = KeyText {
        inline: [0; MAX_KEY_BYTES],
        len: 0,
        open: 0,
        readable: 0,
        overflow: None,
    };

    /// Begins an empty text with this prefix, which is escaped and at most
    /// [`MAX_PREFIX_BYTES`](crate::key::MAX_PREFIX_BYTES) long.
    #[inline]
    pub(crate) fn begin(&mut self, prefix: &str) {
        self.push(prefix.as_bytes());
        self.readable = self.len;
    }

    /// The whole text; complete only while no part is open.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.inline[..self.len]
    }

    /// Begins a part.
    #[inline]
    pub(crate) fn open_part(&mut self) {
        self.open = self.len;
        if self.is_folded() {
            self.move_to_heap();
        }
        self.push(b":");
    }

    /// Ends the part; from here on the text is within its bound again.
    #[inline]
    pub(crate) fn close_part(&mut self) {
        if let Some(part) = self.take_spill() {
            self.close_long_part(&part);
        }
        if self.len <= READABLE_BYTES && !self.is_folded() {
            self.readable = self.len;
        }
    }

    /// Forgets the open part.
    pub(crate) fn abandon_part(&mut self) {
        self.len = self.open;
        self.take_spill();
    }

    /// Adds bytes to the open part.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.overflow.is_none()
            && let Some(room) = self.inline.get_mut(self.len..self.len + bytes.len())
        {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        } else {
            self.push_to_long_key(bytes);
        }
    }

    /// How much has been written to the open part, its separator included.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.spill().map_or(self.len - self.open, Vec::len)
    }

    /// What has been written to the open part since `position`.
    #[inline]
    pub(crate) fn since(&self, position: usize) -> &[u8] {
        let part = self
            .spill()
            .map_or(&self.inline[self.open..self.len], Vec::as_slice);
        part.get(position..).unwrap_or_default()
    }

    /// Replaces what has been written to the open part since `position` by its digest.
    pub(crate) fn replace_by_digest(&mut self, position: usize) {
        let digest = digest::digest(self.since(position));
        self.truncate(position);
        self.push(b"#");
        self.push(&digest);
    }

    /// Puts the pieces written since `position` in order; they are joined by commas, and `ends` says where each
    /// ends.
    pub(crate) fn sort_pieces(&mut self, position: usize, ends: &[usize]) {
        let starts = std::iter::once(position).chain(ends.iter().map(|end| end + 1));
        let ranges = starts
            .zip(ends)
            .map(|(start, end)| start - position..end - position);
        let written = self.since(position);
        if ranges.clone().map(|range| &written[range]).is_sorted() {
            return;
        }
        let written = written.to_vec();
        let mut pieces: Vec<&[u8]> = ranges.map(|range| &written[range]).collect();
        pieces.sort_unstable();
        self.truncate(position);
        for (at, piece) in pieces.into_iter().enumerate() {
            if at > 0 {
                self.push(b",");
            }
            self.push(piece);
        }
    }

    fn truncate(&mut self, position: usize) {
        if let Some(spill) = self.spill_mut() {
            spill.truncate(position);
        } else {
            self.len = self.open + position;
        }
    }

    #[inline]
    fn is_folded(&self) -> bool {
        self.overflow
            .as_ref()
            .is_some_and(|overflow| overflow.folded.is_some())
    }

    #[inline]
    fn spill(&self) -> Option<&Vec<u8>> {
        self.overflow.as_ref()?.spill.as_ref()
    }

    #[inline]
    fn spill_mut(&mut self) -> Option<&mut Vec<u8>> {
        self.overflow.as_mut()?.spill.as_mut()
    }

    #[inline]
    fn take_spill(&mut self) -> Option<Vec<u8>> {
        self.overflow.as_mut()?.spill.take()
    }

    #[cold]
    fn push_to_long_key(&mut self, bytes: &[u8]) {
        if let Some(spill) = self.spill_mut() {
            spill.extend_from_slice(bytes);
        } else if let Some(room) = self.inline.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        } else {
            self.move_to_heap();
            self.push_to_long_key(bytes);
        }
    }

    #[cold]
    fn move_to_heap(&mut self) {
        let part = self.inline[self.open..self.len].to_vec();
        self.len = self.open;
        self.overflow.get_or_insert_default().spill = Some(part);
    }

    #[cold]
    fn close_long_part(&mut self, part: &[u8]) {
        if let Some(folded) = self
            .overflow
            .as_mut()
            .and_then(|overflow| overflow.folded.as_mut())
        {
            folded.update(part);
            self.write_fold();
        } else if self.open + part.len() <= MAX_KEY_BYTES {
            self.push(part); // a long secret has become a short digest meanwhile
        } else {
            self.close_by_digest(part);
        }
    }

    /// Writes the digest of a part that does not fit; if that does not fit either, the parts since `readable`
    /// and all that follow become one digest.
    fn close_by_digest(&mut self, part: &[u8]) {
        let mut replacement = [0; 2 + DIGEST_BYTES];
        replacement[..2].copy_from_slice(b":#");
        replacement[2..].copy_from_slice(&digest::digest(&part[1..]));
        if self.open + replacement.len() <= MAX_KEY_BYTES {
            self.push(&replacement);
            return;
        }
        let mut folded = Sha256::new();
        folded.update(&self.inline[self.readable..self.open]);
        folded.update(replacement);
        self.overflow.get_or_insert_default().folded = Some(folded);
        self.write_fold();
    }

    fn write_fold(&mut self) {
        let Some(folded) = self
            .overflow
            .as_ref()
            .and_then(|overflow| overflow.folded.as_ref())
        else {
            return;
        };
        let digest = digest::encode(&folded.clone().finalize());
        self.len = self.readable;
        self.push(b":##");
        self.push(&digest);
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.as_bytes()), f)
    }
}

/// Up to here a text leaves room for `:##` and a digest.
const READABLE_BYTES: usize = MAX_KEY_BYTES - 3 - DIGEST_BYTES;
