//! Whether a value is still good: the marks that it was stored with, against those that are known now.

use crate::cache::far::{Views, envelope_name};
use crate::codec::envelope::{Found as Frame, Mark as EnvelopeMark};
use crate::epochs::{Mark, Marks};
use crate::sync::Arc;

/// What an entry's marks say about it, compared with those of the shared tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Good,
    /// Softly invalidated.
    Aged,
    Gone,
    /// This node knows better, and the shared tier has not heard of it yet.
    Doubted,
    /// Something happened to it while it was on its way.
    Overtaken,
}

/// Whether every mark is, as far as this node knows and may believe, as the value's load saw it.
pub(super) fn is_as_known(frame: &Frame<'_>, marks: &Marks, believable: u64) -> bool {
    // They were written in this order, unless another release wrote them: then the long way decides.
    let mut stored = frame.marks.raw();
    marks.iter().all(|mark| {
        let (kind, name) = envelope_name(mark.name());
        stored.next().is_some_and(|stored| {
            stored.kind == kind
                && stored.name == name.as_bytes()
                && mark.is_known_as(stored.hard, stored.soft, believable)
        })
    })
}

/// What the marks say, and those of them that are not as the value's load saw them.
pub(super) fn compare(frame: &Frame<'_>, marks: &Marks, views: &Views) -> (Compared, Vec<Arc<Mark>>) {
    let (mut result, mut differing) = (Compared::Good, Vec::new());
    // They were written in the same order, unless another release wrote them.
    let mut in_order = frame.marks.clone();
    for mark in marks.iter() {
        let (kind, name) = envelope_name(mark.name());
        let is_it = |stored: &EnvelopeMark<'_>| stored.kind == kind && stored.name == name;
        let stored = in_order
            .next()
            .filter(is_it)
            .or_else(|| frame.marks.clone().find(is_it));
        let (Some(stored), Some(view)) = (stored, views.get(mark)) else {
            // It was written without a mark that it should carry: nothing could invalidate it.
            return (Compared::Gone, Vec::new());
        };
        let is_gone = stored.hard != view.hard;
        let is_aged = stored.soft != view.soft;
        if is_gone {
            result = Compared::Gone;
        } else if is_aged && result == Compared::Good {
            result = Compared::Aged;
        }
        if is_gone || is_aged {
            differing.push(mark.clone());
        }
    }
    (result, differing)
}
