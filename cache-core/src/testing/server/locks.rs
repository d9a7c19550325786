//! Named locks and claims, with their fencing numbers.

use std::time::Duration;

use super::State;
use super::entries::check_key;
use crate::shared::{AcquireRequest, Acquisition, Ending, Fault, LockKind, Token};

pub(super) type Name = String;

impl State {
    pub(super) fn acquire(&mut self, request: AcquireRequest<'_>) -> Result<Acquisition, Fault> {
        check_key(request.name)?;
        let place = (request.kind, request.name.to_owned());
        let last = self.counters.get(&place).copied().unwrap_or_default();
        match self.named.get(&place) {
            Some((holder, _)) if *holder == request.token => {
                return Ok(Acquisition::Acquired { fencing: last });
            }
            Some((_, ends)) => {
                return Ok(Acquisition::Held {
                    remaining: self.left(*ends),
                });
            }
            None => {}
        }
        let fencing = self.micros.max(last + 1);
        let ends = self.now + request.ttl;
        self.counters.insert(place.clone(), fencing);
        self.named.insert(place, (request.token, ends));
        Ok(Acquisition::Acquired { fencing })
    }

    pub(super) fn extend(
        &mut self,
        kind: LockKind,
        name: &str,
        token: Token,
        ttl: Duration,
    ) -> Result<bool, Fault> {
        check_key(name)?;
        let ends = self.now + ttl;
        Ok(match self.named.get_mut(&(kind, name.to_owned())) {
            Some((holder, end)) if *holder == token => {
                *end = ends;
                true
            }
            _ => false,
        })
    }

    pub(super) fn give_back(&mut self, kind: LockKind, name: &str, token: Token) -> Result<bool, Fault> {
        check_key(name)?;
        let place = (kind, name.to_owned());
        let is_held = self.named.get(&place).is_some_and(|(holder, _)| *holder == token);
        if is_held {
            self.named.remove(&place);
            self.wake(name, &Ending::Released);
        }
        Ok(is_held)
    }
}
