//! Reading entries, and changing them explicitly.

use std::time::Duration;

use redis::Value;

use super::adapter::{Adapter, fresh_incarnation};
use super::fault::{Answer, Refusal};
use super::layout::{self, error_of, guard_of, lock_of, slot_of};
use super::reply::{Header, Items, header, log_id, millis, number};
use super::request::ScriptCall;
use super::scripts;
use crate::notice::{LogId, Op};
use crate::shared::{
    Change, Condition, Fault, FaultKind, Found, MAX_KEYS_PER_NOTICE, Mutation, MutationAnswer, Reading,
    StoredValue, Verdict, Version,
};

impl Adapter {
    pub(super) async fn read_key(&self, key: &str, within: Duration) -> Result<Reading, Fault> {
        let mut readings = self.read_keys(&[key], within).await?;
        readings.pop().ok_or_else(|| super::fault::shape("GET"))
    }

    /// The remaining life is asked for first: a value that slips in between is younger than what is said of it.
    pub(super) async fn read_keys(&self, keys: &[&str], within: Duration) -> Result<Vec<Reading>, Fault> {
        keys.iter().try_for_each(|key| layout::check(key))?;
        let sent = self.clock.now();
        let mut answers = self.route.read(keys, within).await?.into_iter();
        let mut readings = Vec::with_capacity(keys.len());
        while let (Some(pttl), Some(value)) = (answers.next(), answers.next()) {
            readings.push(Reading {
                found: found(pttl, value)?,
                sent,
            });
        }
        Ok(readings)
    }

    pub(super) async fn change(
        &self,
        op: Op,
        mutations: Vec<Mutation<'_>>,
        within: Duration,
    ) -> Result<MutationAnswer, Fault> {
        if mutations.len() > MAX_KEYS_PER_NOTICE {
            return Err(Fault::new(
                FaultKind::Invalid,
                format!("{} changes in one call", mutations.len()),
            ));
        }
        for mutation in &mutations {
            layout::check(mutation.key)?;
            check_bytes(mutation)?;
        }
        if mutations.is_empty() {
            return Ok(MutationAnswer {
                notice: None,
                verdicts: Vec::new(),
            });
        }
        if self.route.is_cluster() {
            self.change_then_announce(op, mutations, within).await
        } else {
            self.change_at_once(op, mutations, within).await
        }
    }

    async fn change_at_once(
        &self,
        op: Op,
        mutations: Vec<Mutation<'_>>,
        within: Duration,
    ) -> Result<MutationAnswer, Fault> {
        let repeatable = is_repeatable(&mutations);
        let call = self.mutate_call(op, &mutations, true);
        let answers = self
            .route
            .run(vec![(self.layout.slot(), call.into())], repeatable, within)
            .await?;
        let mut answer = MutationAnswer {
            notice: None,
            verdicts: Vec::with_capacity(mutations.len()),
        };
        for reply in answers {
            let (notice, verdicts) = changed(reply)?;
            answer.notice = notice;
            answer.verdicts.extend(verdicts);
        }
        Ok(answer)
    }

    /// On a cluster the notice lies elsewhere: it follows, within the same budget.
    async fn change_then_announce(
        &self,
        op: Op,
        mutations: Vec<Mutation<'_>>,
        within: Duration,
    ) -> Result<MutationAnswer, Fault> {
        let began = self.clock.now();
        let repeatable = is_repeatable(&mutations);
        let calls = mutations
            .iter()
            .map(|mutation| {
                let call = self.mutate_call(op, std::slice::from_ref(mutation), false);
                (slot_of(mutation.key.as_bytes()), call.into())
            })
            .collect();
        let answers = self.route.run(calls, repeatable, within).await?;
        let mut verdicts = Vec::with_capacity(mutations.len());
        for reply in answers {
            verdicts.extend(changed(reply)?.1);
        }
        let applied: Vec<(&str, Version)> = mutations
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::Applied)
            .map(|(mutation, _)| (mutation.key, mutation.version))
            .collect();
        let left = within.saturating_sub(self.clock.now().since(began));
        let notice = match applied.is_empty() {
            true => None,
            false => Some(
                self.announce(op, &applied, left)
                    .await
                    .map_err(Fault::after_sending)?,
            ),
        };
        Ok(MutationAnswer { notice, verdicts })
    }

    async fn announce(&self, op: Op, keys: &[(&str, Version)], within: Duration) -> Result<LogId, Fault> {
        let mut call = ScriptCall::new(&scripts::ANNOUNCE)
            .key(self.layout.log())
            .arg(fresh_incarnation());
        for (name, value) in [
            ("f", "1".to_owned()),
            ("s", self.source.to_string()),
            ("o", op.as_str().to_owned()),
            ("n", self.nonce()),
        ] {
            call = call.arg(name).arg(value);
        }
        for (key, version) in keys {
            call = call
                .arg("k")
                .arg(*key)
                .arg("v")
                .arg(version.as_bytes().as_slice());
        }
        let slot = self.layout.slot();
        let answers = self.route.run(vec![(slot, call.into())], true, within).await?;
        self.one_log_id("the announcement", answers)
    }

    fn mutate_call(&self, op: Op, mutations: &[Mutation<'_>], with_log: bool) -> ScriptCall {
        let mut call = ScriptCall::new(&scripts::MUTATE);
        for mutation in mutations {
            call = call
                .key(mutation.key)
                .key(lock_of(mutation.key))
                .key(error_of(mutation.key))
                .key(guard_of(mutation.key));
        }
        if with_log {
            call = call.key(self.layout.log());
        }
        call = call
            .number(mutations.len() as u64)
            .arg(fresh_incarnation())
            .arg(self.source.to_string())
            .arg(self.nonce())
            .arg(op.as_str());
        mutations.iter().fold(call, arguments)
    }

    pub(super) async fn discard_entries(
        &self,
        entries: &[(String, Version)],
        within: Duration,
    ) -> Result<u64, Fault> {
        let mut calls = Vec::with_capacity(entries.len());
        for (key, version) in entries {
            layout::check(key)?;
            let call = ScriptCall::new(&scripts::DISCARD)
                .key(key.as_str())
                .arg(version.as_bytes().as_slice());
            calls.push((slot_of(key.as_bytes()), call.into()));
        }
        let mut gone = 0;
        for answer in self.route.run(calls, true, within).await? {
            let count = number("a discard", &answer.map_err(Fault::from)?)?;
            gone += u64::try_from(count).unwrap_or(0);
        }
        Ok(gone)
    }
}

/// `change condition version bytes px`
fn arguments(call: ScriptCall, mutation: &Mutation<'_>) -> ScriptCall {
    let (name, condition, bytes, life): (_, &[u8], &[u8], _) = match &mutation.change {
        Change::Set { payload, condition } => {
            let condition: &[u8] = match condition {
                Condition::Always => b"*",
                Condition::Seen(None) => b"",
                Condition::Seen(Some(seen)) => seen.as_bytes(),
            };
            ("set", condition, &payload.bytes, payload.physical)
        }
        Change::Remove { tombstone } => ("remove", b"", &tombstone.bytes, tombstone.physical),
        Change::Expire { window } => ("expire", b"", b"", *window),
    };
    call.arg(name)
        .arg(condition)
        .arg(mutation.version.as_bytes().as_slice())
        .arg(bytes)
        .number(px(life))
}

/// Whether carrying it out twice does no more than once, whatever others do in between.
fn is_repeatable(mutations: &[Mutation<'_>]) -> bool {
    mutations.iter().all(|mutation| {
        !matches!(
            mutation.change,
            Change::Set {
                condition: Condition::Always,
                ..
            }
        )
    })
}

/// Scripts read the header of what they are given.
fn check_bytes(mutation: &Mutation<'_>) -> Result<(), Fault> {
    let (bytes, expected) = match &mutation.change {
        Change::Set { payload, .. } => (&payload.bytes, Header::Value(mutation.version)),
        Change::Remove { tombstone } => (&tombstone.bytes, Header::Tombstone(mutation.version)),
        Change::Expire { .. } => return Ok(()),
    };
    if header(bytes) == expected {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::Invalid,
        "the bytes do not begin with the header of this change",
    ))
}

fn found(pttl: Answer, value: Answer) -> Result<Found, Fault> {
    let bytes = match value {
        Ok(Value::BulkString(bytes)) => bytes,
        Ok(Value::Nil) => return Ok(Found::Absent),
        Ok(_) => return Err(super::fault::shape("GET")),
        Err(Refusal::Fault(fault)) if fault.kind() == FaultKind::WrongType => return Ok(Found::Foreign),
        Err(refusal) => return Err(refusal.into()),
    };
    let remaining = match number("PTTL", &pttl.map_err(Fault::from)?)? {
        // It came between the two questions: how long it lives is not known.
        -2 => return Ok(Found::Absent),
        left if left < 0 => return Ok(Found::Foreign),
        left => millis(left),
    };
    Ok(match header(&bytes) {
        Header::Value(version) => Found::Value(StoredValue {
            version,
            bytes,
            remaining,
        }),
        Header::Tombstone(version) => Found::Tombstone(version),
        Header::Foreign => Found::Foreign,
    })
}

/// `id (verdict detail)*`
fn changed(answer: Answer) -> Result<(Option<LogId>, Vec<Verdict>), Fault> {
    let what = "a change";
    let mut items = Items::of(what, answer)?;
    let id = items.text()?;
    let notice = if id.is_empty() {
        None
    } else {
        Some(log_id(what, &id)?)
    };
    let mut verdicts = Vec::with_capacity(items.len() / 2);
    while items.len() > 0 {
        let verdict = items.text()?;
        verdicts.push(match verdict.as_str() {
            "held_off" => Verdict::HeldOff(items.millis()?),
            "superseded" => Verdict::Superseded(Version::from_slice(&items.bytes()?)),
            word => {
                Items::next(&mut items)?;
                plain_verdict(what, word)?
            }
        });
    }
    Ok((notice, verdicts))
}

pub(super) fn plain_verdict(what: &'static str, word: &str) -> Result<Verdict, Fault> {
    Ok(match word {
        "applied" => Verdict::Applied,
        "nothing" => Verdict::Nothing,
        "other_holder" => Verdict::OtherHolder,
        "too_late" => Verdict::TooLate,
        "fence_moved" => Verdict::FenceMoved,
        "oom" => Verdict::OutOfMemory,
        _ => return Err(super::fault::shape(what)),
    })
}

/// A life in milliseconds: at least one, since Redis knows no zero, and at most ten years, since it overflows.
pub(super) fn px(life: Duration) -> u64 {
    px_or_zero(life).max(1)
}

pub(super) fn px_or_zero(life: Duration) -> u64 {
    u64::try_from(life.as_millis())
        .unwrap_or(u64::MAX)
        .min(TEN_YEARS_MS)
}

const TEN_YEARS_MS: u64 = 10 * 365 * 24 * 3_600 * 1_000;
