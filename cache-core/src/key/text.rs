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
    /// Holds the open part instead of `inline` once `spilled`.
    spill: Vec<u8>,
    spilled: bool,
    /// Takes in every part from `readable` on, once there are too many for one digest each.
    folded: Option<Box<Sha256>>,
}

impl KeyText {
    #[inline]
    pub(crate) fn new() -> Self {
        KeyText {
            inline: [0; MAX_KEY_BYTES],
            len: 0,
            open: 0,
            readable: 0,
            spill: Vec::new(),
            spilled: false,
            folded: None,
        }
    }

    /// A text that begins with this prefix, which is escaped and at most
    /// [`MAX_PREFIX_BYTES`](crate::key::MAX_PREFIX_BYTES) long.
    #[inline]
    pub(crate) fn with_prefix(prefix: &str) -> Self {
        let mut text = KeyText::new();
        text.push(prefix.as_bytes());
        text.readable = text.len;
        text
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
        if self.folded.is_some() {
            self.move_to_heap();
        }
        self.push(b":");
    }

    /// Ends the part; from here on the text is within its bound again.
    #[inline]
    pub(crate) fn close_part(&mut self) {
        if self.spilled {
            self.close_long_part();
        }
        if self.len <= READABLE_BYTES && self.folded.is_none() {
            self.readable = self.len;
        }
    }

    /// Forgets the open part.
    pub(crate) fn abandon_part(&mut self) {
        self.len = self.open;
        self.spilled = false;
        self.spill.clear();
    }

    /// Adds bytes to the open part.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.spilled {
            if let Some(room) = self.inline.get_mut(self.len..self.len + bytes.len()) {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.move_to_heap();
        }
        self.spill.extend_from_slice(bytes);
    }

    /// How much has been written to the open part, its separator included.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        if self.spilled {
            self.spill.len()
        } else {
            self.len - self.open
        }
    }

    /// What has been written to the open part since `position`.
    #[inline]
    pub(crate) fn since(&self, position: usize) -> &[u8] {
        let part = if self.spilled {
            &self.spill[..]
        } else {
            &self.inline[self.open..self.len]
        };
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
        if self.spilled {
            self.spill.truncate(position);
        } else {
            self.len = self.open + position;
        }
    }

    #[cold]
    fn move_to_heap(&mut self) {
        self.spill.clear();
        self.spill.extend_from_slice(&self.inline[self.open..self.len]);
        self.len = self.open;
        self.spilled = true;
    }

    #[cold]
    fn close_long_part(&mut self) {
        let part = std::mem::take(&mut self.spill);
        self.spilled = false;
        if let Some(folded) = &mut self.folded {
            folded.update(&part);
            self.write_fold();
        } else if self.open + part.len() <= MAX_KEY_BYTES {
            self.push(&part); // a long secret has become a short digest meanwhile
        } else {
            self.close_by_digest(&part);
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
        let mut folded = Box::new(Sha256::new());
        folded.update(&self.inline[self.readable..self.open]);
        folded.update(replacement);
        self.folded = Some(folded);
        self.write_fold();
    }

    fn write_fold(&mut self) {
        let Some(folded) = &self.folded else { return };
        let digest = digest::encode(&folded.as_ref().clone().finalize());
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
