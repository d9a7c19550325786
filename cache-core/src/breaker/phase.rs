//! The state of a breaker, as one word that is read without a lock.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open,
    /// Half-open, the probe is free.
    HalfOpen,
    /// Half-open, the probe is taken.
    Probing,
    Forced,
}

/// What the one atomic word holds. A generation begins with every transition that others see.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) generation: u64,
}

impl State {
    pub(super) fn initial() -> Self {
        Self {
            phase: Phase::Closed,
            generation: 0,
        }
    }

    pub(super) fn pack(self) -> u64 {
        let phase = match self.phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
            Phase::Probing => 3,
            Phase::Forced => 4,
        };
        self.generation << 3 | phase
    }

    pub(super) fn unpack(word: u64) -> Self {
        let phase = match word & 7 {
            0 => Phase::Closed,
            1 => Phase::Open,
            2 => Phase::HalfOpen,
            3 => Phase::Probing,
            _ => Phase::Forced,
        };
        Self {
            phase,
            generation: word >> 3,
        }
    }
}
