//! Giving back what nobody needs any more: locks of loads, named locks and claims.
//!
//! They would end by themselves, but until then they keep others waiting. So a caller that leaves gives back in the
//! background, and where the shared tier does not answer it is told again until it does, or until the lock of a load
//! would have ended.

use std::time::Duration;

use crate::cache::Cache;
use crate::cache::far::{Far, Unheard};
use crate::shared::{CommitRequest, Ending, Fault, FaultKind, Fence, LockKind, Token};
use crate::sync::Arc;

/// What is held in the shared tier.
#[derive(Debug)]
pub(crate) enum Holding {
    /// The right to load this key.
    Load(String),
    /// This named lock or claim.
    Named(LockKind, String),
}

impl Holding {
    async fn give_back(&self, far: &Far, token: Token) -> Result<(), Fault> {
        let within = far.settings.budget;
        match self {
            Self::Load(key) => {
                let request = CommitRequest {
                    key,
                    token: Some(token),
                    seen: None,
                    started: None,
                    max_load: Duration::ZERO,
                    fence: &Fence::NONE,
                    store: None,
                    record: None,
                    ending: Ending::Released,
                };
                far.port.commit(request, within).await.map(drop)
            }
            Self::Named(kind, name) => far.port.give_back(*kind, name, token, within).await.map(drop),
        }
    }
}

impl Cache {
    /// Gives back in the background. Without a runtime it ends by itself.
    pub(crate) fn give_back(&self, far: Arc<Far>, holding: Holding, token: Token) {
        let (clock, closing) = (self.inner.clock.clone(), self.inner.tasks.closing());
        let ends = clock.now() + far.settings.lock_ttl;
        let _ = self.inner.tasks.spawn(async move {
            let mut given = holding.give_back(&far, token).await;
            let Ok(_place) = far.giving_back.try_acquire() else {
                return;
            };
            while given.is_err_and(|fault| may_pass(fault.kind())) && clock.now() < ends {
                if closing
                    .run_until_cancelled(tokio::time::sleep(PAUSE))
                    .await
                    .is_none()
                {
                    return;
                }
                given = holding.give_back(&far, token).await;
            }
        });
    }

    /// For a caller that leaves while what it asked for is on its way to it, or that hears no answer.
    pub(crate) fn give_back_unheard(
        &self,
        far: &Arc<Far>,
        holding: Holding,
        token: Token,
    ) -> Unheard<impl FnOnce()> {
        let (cache, far) = (self.clone(), far.clone());
        Unheard::run(move || cache.give_back(far, holding, token))
    }
}

/// Whether asking again may help.
fn may_pass(kind: FaultKind) -> bool {
    !matches!(
        kind,
        FaultKind::Invalid | FaultKind::Closed | FaultKind::NoPermission
    )
}

const PAUSE: Duration = Duration::from_millis(200);
