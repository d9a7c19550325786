//! [`Berth`]: where a load lies while the caller who leads it polls it, and who has it at any moment.
//!
//! ```text
//!        board         take            call, leave
//! Empty ──────► Lying ──────► Held ──────────────────► Called
//!   │             │ ◄────────── │                        │
//!   │             │  lay_back   │                        │
//!   │ call        │ call        │ done    lay_back, done │
//!   └─────────────┴─────────────┴────────────────────────┴──► Ashore
//! ```
//!
//! A load is in one place: in the berth, in the hands of the caller who polls it, or ashore for good. Whoever calls it
//! ashore gets it at once if it lies here. If it is being polled at that instant, the one who polls it gets it back when
//! it would lay it down again. So it is handed out exactly once, and nobody waits for a poll to end.
//!
//! No I/O, no clock, no runtime, like the flights: the model checker compiles this file against its own lock.

use std::fmt;

use crate::sync::{Mutex, lock};

/// Where a load of type `L` lies.
pub(crate) struct Berth<L> {
    state: Mutex<State<L>>,
}

enum State<L> {
    /// Nothing was brought here yet.
    Empty,
    Lying(L),
    /// It is being polled.
    Held,
    /// It is being polled, and was called ashore meanwhile.
    Called,
    /// It has left, or was to leave before it came; what comes later does not stay either.
    Ashore,
}

impl<L> Berth<L> {
    /// Brings a load here; back if it is not to stay.
    pub(crate) fn board(&self, load: L) -> Result<(), L> {
        let mut state = lock(&self.state);
        match *state {
            State::Empty => {
                *state = State::Lying(load);
                Ok(())
            }
            _ => Err(load),
        }
    }

    /// Takes the load in hand, to poll it; nothing if it is not here.
    pub(crate) fn take(&self) -> Option<L> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Held) {
            State::Lying(load) => Some(load),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Lays the load back after a poll; back if it was called ashore meanwhile.
    pub(crate) fn lay_back(&self, load: L) -> Option<L> {
        let mut state = lock(&self.state);
        match *state {
            State::Held => {
                *state = State::Lying(load);
                None
            }
            _ => {
                *state = State::Ashore;
                Some(load)
            }
        }
    }

    /// The load that was in hand has ended.
    pub(crate) fn done(&self) {
        *lock(&self.state) = State::Ashore;
    }

    /// Calls the load ashore: it is the caller's if it lies here. Otherwise it goes by itself, is there already, or will
    /// not stay when it comes.
    pub(crate) fn call(&self) -> Option<L> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Ashore) {
            State::Lying(load) => Some(load),
            State::Held | State::Called => {
                *state = State::Called;
                None
            }
            State::Empty | State::Ashore => None,
        }
    }

    /// For the load itself, while it is polled: whether it is in its caller's hands. Then it is called ashore now.
    pub(crate) fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        let in_hand = matches!(*state, State::Held | State::Called);
        if in_hand {
            *state = State::Called;
        }
        in_hand
    }

    /// Whether the load has left, or will not stay.
    pub(crate) fn is_left(&self) -> bool {
        matches!(*lock(&self.state), State::Ashore)
    }
}

impl<L> Default for Berth<L> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Empty),
        }
    }
}

impl<L> fmt::Debug for Berth<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Berth").finish_non_exhaustive()
    }
}
