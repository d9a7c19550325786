//! The numbers of what this build writes for others to read: envelopes and notices.
//!
//! Neighbouring builds share a Redis during a deploy. What a later one writes is no answer to an earlier one, and not
//! overwritten while it is fresh; a later notice is a gap.

/// The format of envelopes that is written, and the newest that is read.
pub(crate) fn of_envelopes() -> u8 {
    ENVELOPES + ahead()
}

/// The format of notices that is written, and the newest that is read.
pub(crate) fn of_notices() -> u32 {
    crate::notice::NOTICE_FORMAT + u32::from(ahead())
}

/// The oldest format of envelopes that is read.
pub(crate) const ENVELOPES: u8 = 1;

/// For the toolkit's own tests of deploys, in a process of its own: writes and reads what the next build might.
#[cfg(feature = "test-util")]
pub(crate) fn pretend_to_be_the_next_build() {
    AHEAD.store(1, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(feature = "test-util")]
static AHEAD: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

#[cfg(feature = "test-util")]
fn ahead() -> u8 {
    AHEAD.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(feature = "test-util"))]
const fn ahead() -> u8 {
    0
}
