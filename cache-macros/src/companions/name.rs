//! The companions there are, what each says of itself and what it takes.

/// One of the functions beside a cached function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Companion {
    Key,
    Peek,
    Set,
    Invalidate,
    InvalidateAll,
    Uncached,
    Refresh,
    Outcome,
}

/// Which arguments a companion takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// What names the cache.
    Cache,
    /// What the key is made of.
    Key,
    /// Both.
    Entry,
    /// Both, and what the options of a store are made of.
    Store,
}

impl Companion {
    pub(crate) const ALL: &[Self] = &[
        Self::Key,
        Self::Peek,
        Self::Set,
        Self::Invalidate,
        Self::InvalidateAll,
        Self::Uncached,
        Self::Refresh,
        Self::Outcome,
    ];

    /// Those of a function over ids: they are about a single one.
    pub(crate) const OF_BATCHES: &[Self] = &[
        Self::Key,
        Self::Peek,
        Self::Set,
        Self::Invalidate,
        Self::InvalidateAll,
        Self::Uncached,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Peek => "peek",
            Self::Set => "set",
            Self::Invalidate => "invalidate",
            Self::InvalidateAll => "invalidate_all",
            Self::Uncached => "uncached",
            Self::Refresh => "refresh",
            Self::Outcome => "outcome",
        }
    }

    /// What it says of itself beside the function `function`.
    pub(super) fn documentation(self, function: &str) -> String {
        let text = match self {
            Self::Key => "The key of a call of `{}`. Fails only for an argument that cannot be serialised.",
            Self::Peek => {
                "The value that `{}` would return without a load, if it is stored and fresh. Never loads."
            }
            Self::Set => {
                "Stores the value that `{}` is to return from now on. A load that began earlier cannot overwrite it."
            }
            Self::Invalidate => {
                "Removes what is stored for this call of `{}`. No value whose load began before can be read afterwards."
            }
            Self::InvalidateAll => "Removes what is stored for all calls of `{}`, in constant time.",
            Self::Uncached => "`{}` without the cache.",
            Self::Refresh => {
                "`{}` with a new load, whatever is stored; the new value is stored. If the load fails, the old entry stays."
            }
            Self::Outcome => "`{}`, and how its value was come by.",
        };
        text.replace("{}", function)
    }
}
