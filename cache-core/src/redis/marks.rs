//! Marks: the versions of tags, prefixes and namespaces. Pattern removal and scanning.

use std::time::Duration;

use super::adapter::{Adapter, fresh_incarnation};
use super::fault::{self, Answer};
use super::reply::{Items, log_id, text};
use super::request::ScriptCall;
use super::scripts;
use super::values::{px, px_or_zero};
use crate::notice::LogId;
use crate::shared::{Fault, Mark, MarkVersions, Strength};

impl Adapter {
    pub(super) async fn fetch_marks(
        &self,
        marks: &[Mark<'_>],
        ttl: Duration,
        within: Duration,
    ) -> Result<Vec<MarkVersions>, Fault> {
        if marks.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = ScriptCall::new(&scripts::MARKS).number(px(ttl));
        for mark in marks {
            call = call
                .key(self.layout.mark(mark))
                .arg(format!("c:{:016x}", rand::random::<u64>()));
        }
        let slot = self.layout.slot();
        let answers = self.route.run(vec![(slot, call.into())], true, within).await?;
        let what = "the marks";
        let answer = answers.into_iter().next().ok_or_else(|| fault::shape(what))?;
        let mut items = Items::of(what, answer)?;
        (0..marks.len())
            .map(|_| {
                Ok(MarkVersions {
                    hard: items.text()?,
                    soft: items.text()?,
                    hold: items.millis()?,
                })
            })
            .collect()
    }

    pub(super) async fn invalidate_marks(
        &self,
        marks: &[Mark<'_>],
        strength: Strength,
        hold: Duration,
        ttl: Duration,
        within: Duration,
    ) -> Result<LogId, Fault> {
        let strength = match strength {
            Strength::Hard => "hard",
            Strength::Soft => "soft",
        };
        let mut call = ScriptCall::new(&scripts::MOVE_MARKS)
            .arg(fresh_incarnation())
            .arg(self.source.to_string())
            .arg(self.nonce())
            .arg(strength)
            .number(px_or_zero(hold))
            .number(px(ttl));
        for mark in marks {
            call = call.key(self.layout.mark(mark)).arg(mark.to_string());
        }
        let call = call.key(self.layout.log());
        let slot = self.layout.slot();
        let answers = self.route.run(vec![(slot, call.into())], true, within).await?;
        self.one_log_id("an invalidation", answers)
    }

    pub(super) async fn announce_pattern(&self, glob: &str, within: Duration) -> Result<LogId, Fault> {
        let call = ScriptCall::new(&scripts::PATTERN)
            .key(self.layout.log())
            .key(self.layout.generation())
            .arg(fresh_incarnation())
            .arg(self.source.to_string())
            .arg(self.nonce())
            .arg(glob)
            .number(GENERATION_LIFE_MS);
        let slot = self.layout.slot();
        let answers = self.route.run(vec![(slot, call.into())], true, within).await?;
        self.one_log_id("a pattern", answers)
    }

    pub(super) fn one_log_id(&self, what: &'static str, answers: Vec<Answer>) -> Result<LogId, Fault> {
        let answer = answers.into_iter().next().ok_or_else(|| fault::shape(what))?;
        log_id(what, &text(what, answer.map_err(Fault::from)?)?)
    }
}

/// A day: far longer than any load. Its end refuses the stores of the loads that run then, once.
const GENERATION_LIFE_MS: u64 = 24 * 3_600 * 1_000;
