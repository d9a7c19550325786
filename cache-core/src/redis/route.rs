//! Which server a call goes to: the only one, or the one that serves its slot.

use std::time::Duration;

use redis::aio::PubSub;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::config::{Address, Place, Redis};
use super::connection::{Connection, Expect};
use super::fault::{self, Answer};
use super::layout::slot_of;
use super::link::{Link, Standing, Target};
use super::reply::{Items, number};
use super::request::{Batch, Call, command};
use super::sentinel::Sentinels;
use crate::shared::{EndpointHealth, Fault, FaultKind, ScanCursor, ScanPage, ScanRequest};

/// The way to the servers.
#[derive(Debug)]
pub(super) enum Route {
    Single(Link),
    Cluster(Cluster),
}

impl Route {
    pub(super) fn new(config: &Redis, recoveries: &watch::Sender<u64>) -> Self {
        let settings = config.settings.clone();
        match &config.place {
            Place::Server(address) => Self::Single(Link::new(
                Target::Fixed(address.clone()),
                settings,
                Expect::Master,
                recoveries,
            )),
            Place::Sentinel {
                service,
                sentinels,
                login,
            } => {
                let sentinels = Sentinels::new(service, sentinels, login, &settings);
                Self::Single(Link::new(
                    Target::Sentinel(sentinels.into()),
                    settings,
                    Expect::Master,
                    recoveries,
                ))
            }
            Place::Cluster(seeds) => Self::Cluster(Cluster::new(seeds, settings, recoveries)),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Asks for the remaining life and the value of each key, in this order.
    pub(super) async fn read(&self, keys: &[&str], within: Duration) -> Result<Vec<Answer>, Fault> {
        match self {
            Self::Single(link) => link.run(&Batch::reads(keys), false, within).await,
            Self::Cluster(cluster) => {
                let mut calls: Vec<(u16, Call)> = Vec::with_capacity(keys.len() * 2);
                for key in keys {
                    let slot = slot_of(key.as_bytes());
                    calls.push((slot, command(&["PTTL", key]).into()));
                    calls.push((slot, command(&["GET", key]).into()));
                }
                cluster.run(calls, true, within).await
            }
        }
    }

    /// Sends calls, each to the server of its slot, and returns their answers in order.
    pub(super) async fn run(
        &self,
        calls: Vec<(u16, Call)>,
        repeatable: bool,
        within: Duration,
    ) -> Result<Vec<Answer>, Fault> {
        match self {
            Self::Single(link) => {
                let calls = calls.into_iter().map(|(_, call)| call).collect();
                let batch = if repeatable {
                    Batch::repeatable(calls)
                } else {
                    Batch::once(calls)
                };
                link.run(&batch, false, within).await
            }
            Self::Cluster(cluster) => cluster.run(calls, repeatable, within).await,
        }
    }

    pub(super) async fn scan(&self, request: ScanRequest<'_>, within: Duration) -> Result<ScanPage, Fault> {
        let cursor = request.cursor.unwrap_or(ScanCursor {
            server: 0,
            position: 0,
        });
        let position = cursor.position.to_string();
        let count = request.count.max(1).to_string();
        let scan = command(&["SCAN", &position, "MATCH", request.glob, "COUNT", &count]);
        let batch = Batch::repeatable(vec![scan.into()]);
        let (answers, servers) = match self {
            Self::Single(link) => (link.run(&batch, false, within).await?, 1),
            Self::Cluster(cluster) => {
                let masters = cluster.masters(within).await?;
                let Some(link) = masters.get(cursor.server) else {
                    return Ok(ScanPage::default());
                };
                (link.run(&batch, false, within).await?, masters.len())
            }
        };
        let (keys, position) = page(answers)?;
        let next = match position {
            0 if cursor.server + 1 < servers => Some(ScanCursor {
                server: cursor.server + 1,
                position: 0,
            }),
            0 => None,
            position => Some(ScanCursor { position, ..cursor }),
        };
        Ok(ScanPage { keys, next })
    }

    /// A connection of its own to the server of a slot.
    pub(super) async fn dedicated(&self, slot: u16) -> Result<(Connection, Address), Fault> {
        match self {
            Self::Single(link) => link.dedicated().await,
            Self::Cluster(cluster) => cluster.link_of(slot).await?.dedicated().await,
        }
    }

    /// A connection for subscriptions; on a cluster to any node, since all nodes pass messages on.
    pub(super) async fn subscriber(&self) -> Result<PubSub, Fault> {
        match self {
            Self::Single(link) => link.subscriber().await,
            Self::Cluster(cluster) => {
                let mut last = Fault::new(FaultKind::ClusterDown, "nobody serves any slot");
                for link in cluster.masters(SUBSCRIBE_WITHIN).await? {
                    match link.subscriber().await {
                        Ok(subscriber) => return Ok(subscriber),
                        Err(fault) => last = fault,
                    }
                }
                Err(last)
            }
        }
    }

    /// Whether this address is still the master, as far as anybody besides itself knows.
    pub(super) async fn standing(&self, address: &Address) -> Standing {
        match self {
            Self::Single(link) => link.standing(address).await,
            Self::Cluster(_) => Standing::Named,
        }
    }

    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        match self {
            Self::Single(link) => vec![link.health()],
            Self::Cluster(cluster) => cluster.health(),
        }
    }

    pub(super) fn force_breaker(&self, open: bool) {
        match self {
            Self::Single(link) => link.force_breaker(open),
            Self::Cluster(cluster) => cluster.force_breaker(open),
        }
    }

    /// Connections may be out of step: what they say next is believed no more.
    pub(super) fn mistrust(&self, why: &Fault) {
        match self {
            Self::Single(link) => link.mistrust(why),
            Self::Cluster(cluster) => cluster.mistrust(why),
        }
    }

    /// A server was not what it was taken for.
    pub(super) fn doubt(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.doubt();
        }
    }
}

pub(super) fn close(route: &Route) {
    match route {
        Route::Single(link) => link.close(),
        Route::Cluster(cluster) => cluster.close(),
    }
}

/// Entry keys and the position of the next page.
fn page(answers: Vec<Answer>) -> Result<(Vec<String>, u64), Fault> {
    let what = "SCAN";
    let answer = answers.into_iter().next().ok_or_else(|| fault::shape(what))?;
    let mut items = Items::of(what, answer)?;
    let position = number_of_cursor(&mut items)?;
    let keys = Items::of_value(what, Items::next(&mut items)?)?;
    let keys = keys
        .filter_map(|key| super::reply::text(what, key).ok())
        .filter(|key| !key.starts_with('{'))
        .collect();
    Ok((keys, position))
}

/// Cursors use all 64 bits, which a signed number does not hold.
fn number_of_cursor(items: &mut Items) -> Result<u64, Fault> {
    match Items::next(items)? {
        redis::Value::BulkString(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| fault::shape("SCAN")),
        other => u64::try_from(number("SCAN", &other)?).map_err(|_| fault::shape("SCAN")),
    }
}

const SUBSCRIBE_WITHIN: Duration = Duration::from_millis(500);
