//! Tags, prefixes and namespaces, by version.

use std::time::Duration;

use super::State;
use super::log::Announced;
use crate::notice::{Event, LogId};
use crate::shared::{Mark, MarkVersions, Strength};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct MarkState {
    hard: String,
    soft: String,
    held_until: Timestamp,
    pub(super) ends: Timestamp,
}

impl State {
    pub(super) fn marks(&mut self, root: &str, marks: &[Mark<'_>], ttl: Duration) -> Vec<MarkVersions> {
        let now = self.now;
        let versions = |mark: &Mark<'_>| {
            let place = (root.to_owned(), mark.to_string());
            let state = self.marks.entry(place).or_insert_with(|| {
                let fresh = format!("c:{:016x}", rand::random::<u64>());
                MarkState {
                    hard: fresh.clone(),
                    soft: fresh,
                    held_until: Timestamp::ZERO,
                    ends: now,
                }
            });
            if state.ends.since(now) < ttl {
                state.ends = now + ttl * 2;
            }
            MarkVersions {
                hard: state.hard.clone(),
                soft: state.soft.clone(),
                hold: state.held_until.since(now),
            }
        };
        marks.iter().map(versions).collect()
    }

    pub(super) fn move_marks(
        &mut self,
        by: &Announced<'_>,
        marks: &[Mark<'_>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
    ) -> LogId {
        let texts: Vec<String> = marks.iter().map(ToString::to_string).collect();
        let event = Event::Marks {
            marks: texts.clone(),
            strength,
            hold,
        };
        let id = self.announce(by, event);
        for text in texts {
            let place = (by.root.to_owned(), text);
            let old = self.marks.get(&place).cloned();
            let held_until = old.as_ref().map_or(Timestamp::ZERO, |old| old.held_until);
            let held_until = if hold.is_zero() {
                held_until
            } else {
                held_until.max(self.now + hold)
            };
            let hard = match (strength, old) {
                (Strength::Soft, Some(old)) => old.hard,
                _ => id.to_string(),
            };
            let state = MarkState {
                hard,
                soft: id.to_string(),
                held_until,
                ends: held_until.max(self.now + ttl * 2),
            };
            self.marks.insert(place, state);
        }
        id
    }
}
