//! For your own tests (feature `test-util`): time, the shared tier and its faults, and what calls came to.
//!
//! | type | for |
//! |---|---|
//! | [`ManualClock`] | expiry without waiting |
//! | [`ScriptedStore`] | a fleet in one process, without Redis: several caches share it, and it fails, hangs and loses answers when told to |
//! | [`ChaosStore`] | faults by chance, repeatable by seed, in front of any shared tier, a real Redis too |
//! | [`RecordingObserver`] | every call of a cache, in order, with its outcome |
//!
//! Nothing here sleeps: what has to wait waits for a gate that the test opens, or for its budget, which
//! `tokio::time::pause` makes free.

mod chaos;
mod clock;
mod intercept;
mod observer;
mod script;
mod server;

pub use chaos::ChaosStore;
pub use clock::ManualClock;
pub use intercept::{Asked, Operation};
pub use observer::{RecordedCall, RecordingObserver};
pub use script::{Gate, ScriptedStore};

/// For the toolkit's own tests of deploys; not for yours.
#[doc(hidden)]
pub fn pretend_to_be_the_next_build() {
    crate::format::pretend_to_be_the_next_build();
}
