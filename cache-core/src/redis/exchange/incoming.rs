//! [`Incoming`]: what has arrived and was not handed out.

use super::KEPT;
use crate::redis::resp::{Malformed, Scanner};

/// A buffer of bytes that arrive in pieces.
#[derive(Default)]
pub(super) struct Incoming {
    /// As long as it was ever used; what lies behind `filled` means nothing.
    bytes: Vec<u8>,
    filled: usize,
    begin: usize,
    scanner: Scanner,
}

impl Incoming {
    /// Where to read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.begin == self.filled {
            (self.begin, self.filled) = (0, 0);
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.filled < LEAST_ROOM && self.begin > 0 {
            self.bytes.copy_within(self.begin..self.filled, 0);
            self.filled -= self.begin;
            self.begin = 0;
        }
        if self.bytes.len() - self.filled < LEAST_ROOM {
            let length = (self.bytes.len() * 2).max(FIRST_ROOM);
            self.bytes.resize(length, 0);
        }
        &mut self.bytes[self.filled..]
    }

    pub(super) fn arrived(&mut self, count: usize) {
        self.filled += count;
    }

    /// The next reply, if all of it is there.
    pub(super) fn frame(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let rest = &self.bytes[self.begin..self.filled];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(length) = self.scanner.find_end(rest)? else {
            return Ok(None);
        };
        self.begin += length;
        Ok(Some(&rest[..length]))
    }
}

const FIRST_ROOM: usize = 16 << 10;
const LEAST_ROOM: usize = 4 << 10;
