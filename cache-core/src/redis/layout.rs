//! Where what lies: names of keys, and their slots.
//!
//! | key | holds |
//! |---|---|
//! | `K` = `namespace:prefix:part..` | a value or a tombstone |
//! | `{K}:l` · `{K}:e` · `{K}:g` | the lock of its load · a recorded error · the version that an expiry left behind |
//! | `{K}:x` `{K}:xf` · `{K}:c` `{K}:cf` | a named lock · a claim, each with its fencing counter |
//! | `{root}:log` · `{root}:gen` | the invalidation log · the last pattern removal |
//! | `{root}:m:n:namespace` · `..:m:p:namespace:prefix` · `..:m:t:namespace:tag` | marks |
//!
//! Entry keys have no braces, so a companion's hash tag is the whole entry key and puts it into the same slot; `root`
//! is the name of the cache, so all of its marks and its log share one slot. Wake-ups are published on the channel `K`.

use crate::shared::{Fault, FaultKind, LockKind, Mark};

/// The names that belong to one cache.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: String,
}

impl Layout {
    pub(super) fn new(root: &str) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn log(&self) -> String {
        format!("{{{}}}:log", self.root)
    }

    pub(super) fn generation(&self) -> String {
        format!("{{{}}}:gen", self.root)
    }

    pub(super) fn probe(&self) -> String {
        format!("{{{}}}:probe", self.root)
    }

    pub(super) fn probe_channel(&self) -> String {
        format!("{}:probe", self.root)
    }

    pub(super) fn mark(&self, mark: &Mark<'_>) -> String {
        format!("{{{}}}:m:{mark}", self.root)
    }

    /// The slot of log and marks.
    pub(super) fn slot(&self) -> u16 {
        slot_of(self.root.as_bytes())
    }
}

pub(super) fn lock_of(key: &str) -> String {
    format!("{{{key}}}:l")
}

pub(super) fn error_of(key: &str) -> String {
    format!("{{{key}}}:e")
}

/// Stands in for the version of an expired entry once that is gone, for as long as a load may run.
pub(super) fn guard_of(key: &str) -> String {
    format!("{{{key}}}:g")
}

/// Where a named lock or claim is held, and where its fencing counter stands.
pub(super) fn held_of(kind: LockKind, name: &str) -> (String, String) {
    match kind {
        LockKind::Lock => (format!("{{{name}}}:x"), format!("{{{name}}}:xf")),
        LockKind::Claim => (format!("{{{name}}}:c"), format!("{{{name}}}:cf")),
    }
}

/// An entry key must have text and no braces, otherwise its companions would lie in another slot.
pub(super) fn check(key: &str) -> Result<(), Fault> {
    if key.is_empty() || key.bytes().any(|byte| matches!(byte, b'{' | b'}')) {
        return Err(Fault::new(
            FaultKind::Invalid,
            "an entry key is not empty and has no braces",
        ));
    }
    Ok(())
}

/// The slot of an entry key, which has no hash tag.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16(key) % SLOTS
}

/// CRC-16/XMODEM, as Redis Cluster prescribes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// What every byte does to the sum.
static CRC16: [u16; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

pub(super) const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the specification of Redis Cluster defines it, hash tags included.
    fn slot_by_specification(key: &str) -> u16 {
        let tagged = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        match tagged {
            Some((tag, _)) if !tag.is_empty() => slot_of(tag.as_bytes()),
            _ => slot_of(key.as_bytes()),
        }
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
    }

    #[test]
    fn braces_and_emptiness_are_refused() {
        assert!(check("m:user:7").is_ok());
        assert!(check("").is_err() && check("m:{x").is_err() && check("m:x}").is_err());
    }

    proptest! {
        /// B8.16
        #[test]
        fn companions_share_the_slot_of_their_key(key in "[^{}]{1,40}") {
            let slot = slot_by_specification(&key);
            prop_assert_eq!(slot, slot_of(key.as_bytes()));
            let (lock, counter) = held_of(LockKind::Lock, &key);
            let (claim, claims) = held_of(LockKind::Claim, &key);
            for companion in [lock_of(&key), error_of(&key), guard_of(&key), lock, counter, claim, claims] {
                prop_assert_eq!(slot_by_specification(&companion), slot);
            }
        }

        /// B8.16
        #[test]
        fn marks_and_log_share_a_slot(root in "[a-zA-Z0-9_.-]{1,20}", tag in ".{1,40}") {
            let layout = Layout::new(&root);
            let mark = layout.mark(&Mark::Tag(&root, &tag));
            for key in [layout.log(), layout.generation(), layout.probe(), mark] {
                prop_assert_eq!(slot_by_specification(&key), layout.slot());
            }
        }
    }
}
