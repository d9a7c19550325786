//! Leases: the miss script, renewal, and the last script. Named locks and claims.

use std::time::Duration;

use super::adapter::{Adapter, fresh_incarnation};
use super::fault::{self, Answer};
use super::layout::{self, error_of, guard_of, held_of, lock_of, slot_of};
use super::reply::{Items, number, stored};
use super::request::{Call, ScriptCall, command};
use super::scripts;
use super::values::{plain_verdict, px, px_or_zero};
use crate::shared::{
    AcquireRequest, Acquisition, CommitAnswer, CommitRequest, Ending, Fault, FaultKind, Fence, Lease,
    LeaseAnswer, LeaseRequest, LockKind, Refuse, Token, Verdict, Version,
};

impl Adapter {
    pub(super) async fn lease_keys(
        &self,
        requests: Vec<LeaseRequest<'_>>,
        within: Duration,
    ) -> Result<Vec<LeaseAnswer>, Fault> {
        let mut calls = Vec::with_capacity(requests.len());
        for request in &requests {
            layout::check(request.key)?;
            calls.push((slot_of(request.key.as_bytes()), self.lease_call(request).into()));
        }
        let fence = self.heard_fence();
        let answers = self.route.run(calls, true, within).await?;
        requests
            .iter()
            .zip(answers)
            .map(|(request, answer)| leased(request.token, answer, fence.as_ref()))
            .collect()
    }

    fn lease_call(&self, request: &LeaseRequest<'_>) -> ScriptCall {
        let refuse: &[u8] = match &request.refuse {
            Refuse::Nothing => b"",
            Refuse::Version(version) => version.as_bytes(),
            Refuse::Any => b"*",
        };
        let take_over: &[u8] = request.take_over.as_ref().map_or(b"", |token| token.as_bytes());
        self.keys_of(ScriptCall::new(&scripts::LEASE), request.key)
            .arg(refuse)
            .arg(request.token.as_bytes().as_slice())
            .number(px_or_zero(request.ttl))
            .arg(if request.consult_errors { "1" } else { "0" })
            .arg(take_over)
            .arg(fresh_incarnation())
    }

    /// `value lock error guard`, and where they share a server also `log generation`.
    fn keys_of(&self, call: ScriptCall, key: &str) -> ScriptCall {
        let call = call
            .key(key)
            .key(lock_of(key))
            .key(error_of(key))
            .key(guard_of(key));
        if self.route.is_cluster() {
            return call;
        }
        call.key(self.layout.log()).key(self.layout.generation())
    }

    pub(super) async fn renew_lock(
        &self,
        key: &str,
        token: Token,
        ttl: Duration,
        within: Duration,
    ) -> Result<bool, Fault> {
        layout::check(key)?;
        let call = renew_call(&lock_of(key), token, ttl);
        self.yes(slot_of(key.as_bytes()), call, within).await
    }

    pub(super) async fn commit_keys(
        &self,
        requests: Vec<CommitRequest<'_>>,
        within: Duration,
    ) -> Result<Vec<CommitAnswer>, Fault> {
        let heard = self.heard_fence();
        let mut calls: Vec<(u16, Call)> = Vec::with_capacity(requests.len());
        let mut moved = Vec::with_capacity(requests.len());
        for request in &requests {
            layout::check(request.key)?;
            // Where the log lies elsewhere, this node compares what it has heard.
            let fence_moved = heard
                .as_ref()
                .is_some_and(|heard| *request.fence != Fence::NONE && request.fence != heard);
            moved.push(fence_moved);
            let call = self.commit_call(request, fence_moved);
            calls.push((slot_of(request.key.as_bytes()), call.into()));
        }
        let answers = self.route.run(calls, true, within).await?;
        answers
            .into_iter()
            .zip(moved)
            .map(|(answer, moved)| {
                let mut answer = committed(answer)?;
                if moved {
                    answer.verdict = Verdict::FenceMoved;
                }
                Ok(answer)
            })
            .collect()
    }

    fn commit_call(&self, request: &CommitRequest<'_>, fence_moved: bool) -> ScriptCall {
        let token: &[u8] = request.token.as_ref().map_or(b"", |token| token.as_bytes());
        let seen: &[u8] = request.seen.as_ref().map_or(b"", |seen| seen.as_bytes());
        let store = request.store.as_ref().filter(|_| !fence_moved);
        let (bytes, physical): (&[u8], _) = store.map_or((b"", Duration::ZERO), |payload| {
            (&payload.bytes, payload.physical)
        });
        let ending = match &request.ending {
            _ if fence_moved => "r".to_owned(),
            Ending::Done => "d".to_owned(),
            Ending::Released => "r".to_owned(),
            Ending::Failed(kind) => format!("f{}", kind.chars().take(128).collect::<String>()),
        };
        let record = request.record.as_ref();
        let (record, record_life): (&[u8], _) =
            record.map_or((b"", Duration::ZERO), |(bytes, life)| (bytes.as_slice(), *life));
        let started = request.started.map(|started| started.to_string());
        let max_load = u64::try_from(request.max_load.as_micros()).unwrap_or(u64::MAX);
        self.keys_of(ScriptCall::new(&scripts::COMMIT), request.key)
            .arg(token)
            .arg(seen)
            .arg(started.unwrap_or_default())
            .number(max_load)
            .arg(request.fence.0.as_slice())
            .arg(bytes)
            .number(px(physical))
            .arg(ending)
            .arg(record)
            .number(px(record_life))
    }

    pub(super) async fn take(
        &self,
        request: AcquireRequest<'_>,
        within: Duration,
    ) -> Result<Acquisition, Fault> {
        layout::check(request.name)?;
        let (holder, counter) = held_of(request.kind, request.name);
        let slot = slot_of(request.name.as_bytes());
        let call = ScriptCall::new(&scripts::ACQUIRE)
            .key(holder.as_str())
            .key(counter.as_str())
            .arg(request.token.as_bytes().as_slice())
            .number(px(request.ttl))
            .number(COUNTER_LIFE_MS);
        let answers = self.route.run(vec![(slot, call.into())], true, within).await;
        match answers {
            Ok(answers) => acquired(answers),
            Err(fault) if fault.maybe_applied() => self
                .inquire(slot, &holder, &counter, request, within)
                .await
                .ok_or(fault),
            Err(fault) => Err(fault),
        }
    }

    /// After an unclear answer: if our token is there, the lock is ours. If not, or if nobody says, it counts as not
    /// taken.
    async fn inquire(
        &self,
        slot: u16,
        holder: &str,
        counter: &str,
        request: AcquireRequest<'_>,
        within: Duration,
    ) -> Option<Acquisition> {
        let calls = [holder, counter]
            .map(|key| (slot, Call::from(command(&["GET", key]))))
            .to_vec();
        let answers = self.route.run(calls, true, within).await.ok();
        let mut answers = answers.into_iter().flatten().flatten();
        let (found, number_now) = (answers.next(), answers.next());
        let is_ours =
            matches!(&found, Some(redis::Value::BulkString(bytes)) if bytes == request.token.as_bytes());
        if !is_ours {
            return None;
        }
        let fencing = number_now.and_then(|value| number("a counter", &value).ok());
        Some(Acquisition::Acquired {
            fencing: fencing.and_then(|number| u64::try_from(number).ok())?,
        })
    }

    pub(super) async fn extend_named(
        &self,
        kind: LockKind,
        name: &str,
        token: Token,
        ttl: Duration,
        within: Duration,
    ) -> Result<bool, Fault> {
        layout::check(name)?;
        let call = renew_call(&held_of(kind, name).0, token, ttl);
        self.yes(slot_of(name.as_bytes()), call, within).await
    }

    pub(super) async fn give_named_back(
        &self,
        kind: LockKind,
        name: &str,
        token: Token,
        within: Duration,
    ) -> Result<bool, Fault> {
        layout::check(name)?;
        let call = give_back_call(&held_of(kind, name).0, token, name);
        self.yes(slot_of(name.as_bytes()), call, within).await
    }

    async fn yes(&self, slot: u16, call: ScriptCall, within: Duration) -> Result<bool, Fault> {
        let answers = self.route.run(vec![(slot, call.into())], true, within).await?;
        let answer = answers.into_iter().next().ok_or_else(|| fault::shape("a lock"))?;
        Ok(number("a lock", &answer.map_err(Fault::from)?)? == 1)
    }
}

fn renew_call(lock: &str, token: Token, ttl: Duration) -> ScriptCall {
    ScriptCall::new(&scripts::RENEW)
        .key(lock)
        .arg(token.as_bytes().as_slice())
        .number(px(ttl))
}

fn give_back_call(lock: &str, token: Token, channel: &str) -> ScriptCall {
    ScriptCall::new(&scripts::GIVE_BACK)
        .key(lock)
        .arg(token.as_bytes().as_slice())
        .arg(channel)
}

fn leased(token: Token, answer: Answer, heard: Option<&Fence>) -> Result<LeaseAnswer, Fault> {
    let what = "a lease";
    let mut items = Items::of(what, answer)?;
    Ok(match items.text()?.as_str() {
        "value" => {
            let remaining = items.millis()?;
            LeaseAnswer::Value(stored(what, remaining, items.bytes()?)?)
        }
        "recorded" => {
            let remaining = items.millis()?;
            LeaseAnswer::Recorded(items.bytes()?, remaining)
        }
        "held" => {
            let remaining = items.millis()?;
            let holder = items.bytes()?;
            // A lock written by somebody else has another form; it is a lock all the same.
            let holder = Token::from_slice(&holder).unwrap_or(Token::from_bytes([0; 16]));
            LeaseAnswer::Held { holder, remaining }
        }
        "lease" => {
            let seen = Version::from_slice(&items.bytes()?);
            let started = items.text()?.parse().map_err(|_| fault::shape(what))?;
            let fence = Fence(items.bytes()?);
            LeaseAnswer::Lease(Lease {
                token,
                seen,
                started,
                fence: heard.cloned().unwrap_or(fence),
            })
        }
        _ => return Err(fault::shape(what)),
    })
}

/// `verdict detail released [version ttl bytes]`
fn committed(answer: Answer) -> Result<CommitAnswer, Fault> {
    let what = "a commit";
    let mut items = Items::of(what, answer)?;
    let word = items.text()?;
    let detail = items.millis()?;
    let released = items.number()? == 1;
    let mut current = None;
    let verdict = match word.as_str() {
        "held_off" => Verdict::HeldOff(detail),
        "superseded" => {
            let version = Version::from_slice(&items.bytes()?);
            if items.len() > 0 {
                let remaining = items.millis()?;
                current = Some(stored(what, remaining, items.bytes()?)?);
            }
            Verdict::Superseded(version)
        }
        word => plain_verdict(what, word)?,
    };
    Ok(CommitAnswer {
        verdict,
        current,
        released,
    })
}

fn acquired(answers: Vec<Answer>) -> Result<Acquisition, Fault> {
    let what = "an acquisition";
    let answer = answers.into_iter().next().ok_or_else(|| fault::shape(what))?;
    let mut items = Items::of(what, answer)?;
    Ok(match items.number()? {
        1 => {
            let fencing = items.number()?;
            let fencing = u64::try_from(fencing)
                .map_err(|_| Fault::new(FaultKind::Protocol, "a fencing number is negative"))?;
            Acquisition::Acquired { fencing }
        }
        _ => Acquisition::Held {
            remaining: items.millis()?,
        },
    })
}

/// 30 days; the counter survives the locks by far, and the time keeps numbers growing should it be lost.
const COUNTER_LIFE_MS: u64 = 30 * 24 * 3_600 * 1_000;
