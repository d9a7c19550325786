//! One load for all that are connected: the lease, its renewal, its end, and who waits for that.

use std::time::Duration;

use tokio::sync::mpsc;

use super::entries::{Stands, check_key};
use super::{Line, State};
use crate::shared::{
    CommitAnswer, CommitRequest, Ending, Fault, FaultKind, Fence, Found, Lease, LeaseAnswer, LeaseRequest,
    Refuse, Token, Verdict, Wakeups,
};

/// Somebody who waits for the end of a load.
#[derive(Debug)]
pub(super) struct Waiter {
    line: Line,
    endings: mpsc::Sender<Ending>,
}

impl State {
    pub(super) fn lease(&mut self, root: &str, request: &LeaseRequest<'_>) -> Result<LeaseAnswer, Fault> {
        check_key(request.key)?;
        let Stands { found, version, .. } = self.stands(request.key);
        if let Found::Value(value) = found {
            let refused = match request.refuse {
                Refuse::Nothing => false,
                Refuse::Version(refused) => refused == value.version,
                Refuse::Any => true,
            };
            if !refused {
                return Ok(LeaseAnswer::Value(value));
            }
        }
        if let (true, Some((bytes, ends))) = (request.consult_errors, self.errors.get(request.key)) {
            return Ok(LeaseAnswer::Recorded(bytes.clone(), self.left(*ends)));
        }
        if let Some((holder, ends)) = self.locks.get(request.key)
            && *holder != request.token
            && Some(*holder) != request.take_over
        {
            return Ok(LeaseAnswer::Held {
                holder: *holder,
                remaining: self.left(*ends),
            });
        }
        if self.full {
            return Err(Fault::new(FaultKind::OutOfMemory, "the store is full"));
        }
        let ends = self.now + request.ttl;
        self.locks.insert(request.key.to_owned(), (request.token, ends));
        Ok(LeaseAnswer::Lease(Lease {
            token: request.token,
            seen: version,
            started: self.micros,
            fence: self.fence(root),
        }))
    }

    pub(super) fn renew(&mut self, key: &str, token: Token, ttl: Duration) -> Result<bool, Fault> {
        check_key(key)?;
        let ends = self.now + ttl;
        Ok(match self.locks.get_mut(key) {
            Some((holder, end)) if *holder == token => {
                *end = ends;
                true
            }
            _ => false,
        })
    }

    pub(super) fn commit(&mut self, root: &str, request: CommitRequest<'_>) -> Result<CommitAnswer, Fault> {
        check_key(request.key)?;
        let key = request.key;
        let holder = self.locks.get(key).map(|(token, _)| *token);
        let mine = request.token.is_some() && holder == request.token;
        let stands = self.stands(key);
        let verdict = self.store(root, &request, holder.is_some() && !mine, &stands);
        let unchanged = stands.version == request.seen;
        if let Some((bytes, life)) = request.record
            && (mine || holder.is_none())
            && unchanged
            && !self.full
        {
            self.errors.insert(key.to_owned(), (bytes, self.now + life));
        }
        if mine {
            self.locks.remove(key);
        }
        if mine || verdict == Verdict::Applied {
            let stored = matches!(verdict, Verdict::Applied | Verdict::Nothing);
            self.wake(
                key,
                if stored {
                    &request.ending
                } else {
                    &Ending::Released
                },
            );
        }
        let current = match (&verdict, stands.found) {
            (Verdict::Superseded(_), Found::Value(value)) => Some(value),
            _ => None,
        };
        Ok(CommitAnswer {
            verdict,
            current,
            released: mine,
        })
    }

    fn store(&mut self, root: &str, request: &CommitRequest<'_>, others: bool, stands: &Stands) -> Verdict {
        let Some(payload) = &request.store else {
            return Verdict::Nothing;
        };
        let too_late = request.started.is_some_and(|started| {
            u128::from(self.micros.saturating_sub(started)) > request.max_load.as_micros()
        });
        let version = super::entries::version_of(&payload.bytes);
        if version.is_some() && version == stands.version {
            Verdict::Applied
        } else if others {
            Verdict::OtherHolder
        } else if too_late {
            Verdict::TooLate
        } else if *request.fence != Fence::NONE && *request.fence != self.fence_now(root) {
            Verdict::FenceMoved
        } else if !stands.held.is_zero() {
            Verdict::HeldOff(stands.held)
        } else if stands.version != request.seen {
            Verdict::Superseded(stands.version)
        } else if self.put(request.key, payload.clone()) {
            Verdict::Applied
        } else {
            Verdict::OutOfMemory
        }
    }

    pub(super) fn subscribe(&mut self, line: Line, key: &str) -> Result<Wakeups, Fault> {
        check_key(key)?;
        let (endings, receiver) = mpsc::channel(BACKLOG);
        let waiters = self.waiting.entry(key.to_owned()).or_default();
        waiters.retain(|waiter| !waiter.endings.is_closed());
        waiters.push(Waiter { line, endings });
        Ok(Wakeups::new(receiver, ()))
    }

    /// Who waited through this line hears nothing more.
    pub(in crate::testing) fn hang_up_on_waiters(&mut self, line: Line) {
        for waiters in self.waiting.values_mut() {
            waiters.retain(|waiter| waiter.line != line);
        }
    }

    pub(super) fn wake(&mut self, key: &str, ending: &Ending) {
        let Some(waiters) = self.waiting.get_mut(key) else {
            return;
        };
        // One that does not listen loses the message, as over a network.
        waiters.retain(|waiter| {
            let sent = waiter.endings.try_send(ending.clone());
            !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
        });
        if waiters.is_empty() {
            self.waiting.remove(key);
        }
    }
}

const BACKLOG: usize = 64;
