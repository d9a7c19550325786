//! What can go wrong, as data.

use std::time::Duration;

/// What happens to the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// Every reply arrives later by this much; the bandwidth stays.
    DelayReplies(Duration),
    /// Nothing passes in either direction and nobody is told; what was sent meanwhile arrives once it ends,
    /// as after a network partition.
    BlackHole,
    /// Requests arrive and are carried out, replies do not come.
    WithholdReplies,
    /// So many more bytes of requests pass, then both sides see the end of the connection.
    CutRequestsAfter(usize),
    /// So many more bytes of replies pass, then both sides see the end of the connection.
    CutRepliesAfter(usize),
    /// Both directions in pieces of one to seven bytes.
    Slice,
    /// So many bytes per second in each direction.
    Bandwidth(u32),
    /// Everything the server sends arrives twice. Each read is doubled as a whole, so with one request at a
    /// time each reply is.
    DuplicateReplies,
    /// The first bytes of replies that are these are the second, which are as long. Looked for in each read alone.
    ReplaceInReplies(&'static str, &'static str),
}

/// What happens to a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepting {
    /// It is connected with the backend; when that fails the client gets RST.
    Relay,
    /// It is accepted, read from, and never answered.
    Tarpit,
    /// Nobody listens: connection refused.
    Refuse,
    /// It is accepted and gets RST at once.
    Reset,
    /// Whatever the client sends, it is answered with these bytes; the backend is not involved.
    Answer(Vec<u8>),
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Requests,
    Replies,
}

impl Fault {
    /// Whether bytes wait at the sender.
    pub(super) fn holds(&self, direction: Direction) -> bool {
        match self {
            Self::BlackHole => true,
            Self::WithholdReplies => direction == Direction::Replies,
            _ => false,
        }
    }

    /// How long bytes stay in the proxy.
    pub(super) fn delay(&self, direction: Direction) -> Duration {
        match (self, direction) {
            (Self::DelayReplies(delay), Direction::Replies) => *delay,
            _ => Duration::ZERO,
        }
    }

    /// How many bytes pass before the connection ends.
    pub(super) fn limit(&self, direction: Direction) -> Option<usize> {
        match (self, direction) {
            (Self::CutRequestsAfter(bytes), Direction::Requests) => Some(*bytes),
            (Self::CutRepliesAfter(bytes), Direction::Replies) => Some(*bytes),
            _ => None,
        }
    }

    /// How many bytes are written at once.
    pub(super) fn piece(&self) -> usize {
        match self {
            Self::Slice => rand::random_range(1..=7),
            Self::Bandwidth(rate) => (*rate / PIECES_PER_SECOND).max(1) as usize,
            _ => usize::MAX,
        }
    }

    /// How long writing so many bytes takes.
    pub(super) fn pause(&self, written: usize) -> Duration {
        match self {
            Self::Bandwidth(rate) => Duration::from_secs_f64(written as f64 / f64::from((*rate).max(1))),
            _ => Duration::ZERO,
        }
    }

    /// Changes what was read.
    pub(super) fn edit(&self, direction: Direction, bytes: &mut [u8]) {
        let (Self::ReplaceInReplies(said, instead), Direction::Replies) = (self, direction) else {
            return;
        };
        let found = bytes
            .windows(said.len())
            .position(|window| window == said.as_bytes());
        if let Some(at) = found {
            bytes[at..at + said.len()].copy_from_slice(instead.as_bytes());
        }
    }

    pub(super) fn doubles(&self, direction: Direction) -> bool {
        *self == Self::DuplicateReplies && direction == Direction::Replies
    }
}

const PIECES_PER_SECOND: u32 = 100;
