//! What is to be done when a body has arrived: store the response, and tell those who wait.

use std::sync::Arc;

use cache_core::StorePermit;
use cache_core::tag::TagSet;
use http_body::Body;
use tokio::sync::oneshot;

use crate::BoxError;
use crate::collapse::{Arrival, Leader};
use crate::exchange::HttpCache;
use crate::key::Target;
use crate::stored::StoredResponse;
use crate::transfer::{End, Pump};

/// What is to be done when a body has arrived.
pub(crate) struct Commit {
    pub(crate) cache: Arc<HttpCache>,
    pub(crate) target: Target,
    pub(crate) permit: StorePermit,
    pub(crate) tags: TagSet,
    pub(crate) arrival: Arc<Arrival>,
    pub(crate) leader: Option<Leader>,
}

impl Commit {
    pub(crate) fn share(&self) {
        if let Some(leader) = &self.leader {
            leader.share(self.arrival.clone());
        }
    }

    pub(crate) async fn complete(self) {
        let Some(body) = self.arrival.transfer.body() else {
            return self.refuse();
        };
        let response = StoredResponse::new(self.arrival.head.clone(), body, self.tags.clone());
        let now = self.cache.wall();
        let store = &self.cache.store;
        store.insert(&self.target, &self.permit, response, now).await;
        // After it is stored: who comes from now on finds either the flight or the stored response.
        self.share();
    }

    pub(crate) fn refuse(self) {
        if let Some(leader) = self.leader {
            self.cache.refuse(leader);
        }
    }

    pub(crate) async fn run<B>(self, mut pump: Pump<B>, rest: oneshot::Sender<std::pin::Pin<Box<B>>>)
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        match tokio::time::timeout(self.cache.store.config.load_timeout, pump.run()).await {
            Ok(End::Complete) => self.complete().await,
            Ok(End::Failed(reason)) => tracing::debug!(%reason, "a response was not stored: its body failed"),
            Ok(End::HandedOver) => {
                self.refuse();
                drop(rest.send(pump.into_rest()));
            }
            Err(_) => {
                tracing::debug!("a response was not stored: its body took too long");
                pump.hand_over();
                drop(rest.send(pump.into_rest()));
            }
        }
    }
}
