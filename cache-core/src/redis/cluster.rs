//! A cluster: which node serves which slot, and what to do when a node says that another one does.
//!
//! * Every node has a [`Link`] of its own: one that is down costs the others nothing.
//! * The map of slots is learned from any node that answers: with the first operation, when a node redirects or fails,
//!   and every 30 s. Links to nodes that left the map are closed.
//! * A redirection is followed at once, at most five per call, within the operation's budget. Calls of a slot that is
//!   on its way between two nodes are repeated until it has arrived or the budget is over.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::config::{Address, Settings};
use super::connection::Expect;
use super::fault::{self, Answer, Refusal};
use super::layout::SLOTS;
use super::link::{Link, Target};
use super::reply::{Items, text};
use super::request::{Batch, Call, command};
use crate::shared::{EndpointHealth, Fault, FaultKind};
use crate::sync::{Mutex, lock};
use crate::time::{Clock, SystemClock};

/// The way into a cluster.
pub(super) struct Cluster {
    core: Arc<Core>,
    surveyor: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct Core {
    seeds: Vec<Address>,
    settings: Settings,
    map: Mutex<Map>,
    survey: watch::Sender<Survey>,
    doubt: Notify,
    closed: AtomicBool,
    recoveries: watch::Sender<u64>,
}

/// What is known about the map.
#[derive(Clone, Debug)]
enum Survey {
    /// The first question is under way, and worth waiting for.
    Asking,
    /// Nobody has ever answered; the next question is asked without anybody waiting for it.
    Failed(Fault),
    Known,
}

#[derive(Debug, Default)]
struct Map {
    /// By the first slot of each range: the last slot, and who serves it.
    ranges: BTreeMap<u16, (u16, Address)>,
    /// What redirections said since the map was learned.
    moved: HashMap<u16, Address>,
    links: HashMap<Address, Arc<Link>>,
}

impl Map {
    fn owner(&self, slot: u16) -> Option<Address> {
        if let Some(address) = self.moved.get(&slot) {
            return Some(address.clone());
        }
        let (_, (last, address)) = self.ranges.range(..=slot).next_back()?;
        (slot <= *last).then(|| address.clone())
    }

    /// All that serve slots, in a stable order.
    fn masters(&self) -> Vec<Address> {
        let mut masters: Vec<Address> = self.ranges.values().map(|(_, address)| address.clone()).collect();
        masters.sort_by_key(ToString::to_string);
        masters.dedup();
        masters
    }
}

/// One call on its way.
struct Journey {
    place: usize,
    slot: u16,
    call: Call,
    /// Where a redirection sent it; otherwise the map says.
    to: Option<Address>,
    asking: bool,
    redirects: u32,
}

/// What became of a call at one node.
enum Next {
    Arrived(usize, Answer),
    Again(Journey),
    /// The slot is on its way: wait a moment.
    Later(Journey),
}

impl Cluster {
    pub(super) fn new(seeds: &[Address], settings: Settings, recoveries: &watch::Sender<u64>) -> Self {
        Self {
            core: Arc::new(Core {
                seeds: seeds.to_vec(),
                settings,
                map: Mutex::default(),
                survey: watch::Sender::new(Survey::Asking),
                doubt: Notify::new(),
                closed: AtomicBool::new(false),
                recoveries: recoveries.clone(),
            }),
            surveyor: Mutex::new(None),
        }
    }

    /// Sends calls, each to the node of its slot, and returns their answers in order.
    pub(super) async fn run(
        &self,
        calls: Vec<(u16, Call)>,
        repeatable: bool,
        within: Duration,
    ) -> Result<Vec<Answer>, Fault> {
        let began = SystemClock.now();
        let left = || within.saturating_sub(SystemClock.now().since(began));
        self.learn(left()).await?;
        let mut answers: Vec<Option<Answer>> = calls.iter().map(|_| None).collect();
        let mut travelling: Vec<Journey> = calls.into_iter().enumerate().map(Journey::begin).collect();
        let mut patience = FIRST_WAIT;
        while !travelling.is_empty() {
            let mut later = false;
            let legs = self.legs(travelling)?;
            travelling = Vec::new();
            let legs = legs.into_iter().map(|leg| self.travel(leg, repeatable, left()));
            for next in join_all(legs).await {
                for next in next? {
                    match next {
                        Next::Arrived(place, answer) => answers[place] = Some(answer),
                        Next::Again(journey) => travelling.push(journey),
                        Next::Later(journey) => {
                            later = true;
                            travelling.push(journey);
                        }
                    }
                }
            }
            if later {
                if left() <= patience {
                    return Err(Fault::new(FaultKind::Redirects, "the slot is on its way"));
                }
                tokio::time::sleep(patience).await;
                patience = (patience * 2).min(LONGEST_WAIT);
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.ok_or_else(|| fault::shape("a batch")))
            .collect()
    }
}

/// Calls that go to the same node together.
struct Leg {
    address: Address,
    link: Arc<Link>,
    asking: bool,
    journeys: Vec<Journey>,
}

impl Cluster {
    /// Sorts calls by where they go.
    fn legs(&self, travelling: Vec<Journey>) -> Result<Vec<Leg>, Fault> {
        let mut map = lock(&self.core.map);
        let mut legs: Vec<Leg> = Vec::new();
        for journey in travelling {
            let owner = journey.to.clone().or_else(|| map.owner(journey.slot));
            let Some(address) = owner else {
                self.core.doubt.notify_one();
                return Err(Fault::new(FaultKind::ClusterDown, "nobody serves the slot"));
            };
            let known = legs
                .iter_mut()
                .find(|leg| leg.address == address && leg.asking == journey.asking);
            if let Some(leg) = known {
                leg.journeys.push(journey);
                continue;
            }
            legs.push(Leg {
                link: self.core.link(&mut map, &address),
                address,
                asking: journey.asking,
                journeys: vec![journey],
            });
        }
        Ok(legs)
    }

    async fn travel(&self, leg: Leg, repeatable: bool, within: Duration) -> Result<Vec<Next>, Fault> {
        let calls = leg.journeys.iter().map(|journey| journey.call.clone()).collect();
        let batch = if repeatable {
            Batch::repeatable(calls)
        } else {
            Batch::once(calls)
        };
        let answers = match leg.link.run(&batch, leg.asking, within).await {
            Ok(answers) => answers,
            // The node has just left the map.
            Err(fault) if fault.kind() == FaultKind::Closed && !self.is_closed() => {
                let journeys = leg.journeys.into_iter();
                return Ok(journeys.map(|journey| Next::Later(journey.anew())).collect());
            }
            Err(fault) => {
                self.core.doubt.notify_one();
                return Err(fault);
            }
        };
        leg.journeys
            .into_iter()
            .zip(answers)
            .map(|(journey, answer)| self.judge(journey, answer, &leg.address))
            .collect()
    }

    fn judge(&self, mut journey: Journey, answer: Answer, from: &Address) -> Result<Next, Fault> {
        journey.redirects += 1;
        let (target, asking) = match answer {
            Err(Refusal::Moved(target)) => (target, false),
            Err(Refusal::Ask(target)) => (target, true),
            Err(Refusal::TryAgain) => return Ok(Next::Later(journey.anew())),
            Err(Refusal::Fault(fault)) if fault.kind() == FaultKind::ClusterDown => {
                self.core.doubt.notify_one();
                return Ok(Next::Arrived(journey.place, Err(Refusal::Fault(fault))));
            }
            answer => return Ok(Next::Arrived(journey.place, answer)),
        };
        if journey.redirects > MAX_REDIRECTS {
            return Err(Fault::new(FaultKind::Redirects, "redirected in circles"));
        }
        let target = parse(&target, from).ok_or_else(|| fault::shape("a redirection"))?;
        if !asking {
            lock(&self.core.map).moved.insert(journey.slot, target.clone());
            self.core.doubt.notify_one();
        }
        (journey.to, journey.asking) = (Some(target), asking);
        Ok(Next::Again(journey))
    }

    /// Waits until the map has been learned once.
    async fn learn(&self, within: Duration) -> Result<(), Fault> {
        if self.is_closed() {
            return Err(Fault::new(FaultKind::Closed, "the shared tier was closed"));
        }
        self.survey();
        let mut survey = self.core.survey.subscribe();
        let told = survey.wait_for(|survey| !matches!(survey, Survey::Asking));
        match timeout(within, told).await {
            Ok(Ok(survey)) => match &*survey {
                Survey::Failed(fault) => Err(fault.clone()),
                Survey::Asking | Survey::Known => Ok(()),
            },
            Ok(Err(_)) => Err(Fault::new(FaultKind::Closed, "the shared tier was closed")),
            Err(_) => Err(fault::timeout("no node told the slots within the budget")),
        }
    }

    /// Starts the task that learns the map, also after its runtime has gone.
    fn survey(&self) {
        let mut surveyor = lock(&self.surveyor);
        if surveyor.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        *surveyor = Some(AbortOnDropHandle::new(tokio::spawn(survey(self.core.clone()))));
    }

    /// The link to the node that serves a slot.
    pub(super) async fn link_of(&self, slot: u16) -> Result<Arc<Link>, Fault> {
        self.learn(self.core.settings.connect_timeout).await?;
        let mut map = lock(&self.core.map);
        let owner = map
            .owner(slot)
            .ok_or_else(|| Fault::new(FaultKind::ClusterDown, "nobody serves the slot"))?;
        Ok(self.core.link(&mut map, &owner))
    }

    /// Links to all nodes that serve slots, in a stable order.
    pub(super) async fn masters(&self, within: Duration) -> Result<Vec<Arc<Link>>, Fault> {
        self.learn(within).await?;
        let mut map = lock(&self.core.map);
        let masters = map.masters();
        Ok(masters
            .iter()
            .map(|address| self.core.link(&mut map, address))
            .collect())
    }

    pub(super) fn force_breaker(&self, open: bool) {
        let map = lock(&self.core.map);
        map.links.values().for_each(|link| link.force_breaker(open));
    }

    /// Something was not where it was looked for.
    pub(super) fn doubt(&self) {
        self.core.doubt.notify_one();
    }

    /// Which of the connections it was is not known.
    pub(super) fn mistrust(&self, why: &Fault) {
        let map = lock(&self.core.map);
        map.links.values().for_each(|link| link.mistrust(why));
    }

    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        let map = lock(&self.core.map);
        let mut health: Vec<EndpointHealth> = map.links.values().map(|link| link.health()).collect();
        health.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        health
    }

    fn is_closed(&self) -> bool {
        self.core.closed.load(Ordering::SeqCst)
    }

    pub(super) fn close(&self) {
        self.core.closed.store(true, Ordering::SeqCst);
        lock(&self.surveyor).take();
        let map = lock(&self.core.map);
        map.links.values().for_each(|link| link.close());
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("seeds", &self.core.seeds)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl Journey {
    fn begin((place, (slot, call)): (usize, (u16, Call))) -> Self {
        Self {
            place,
            slot,
            call,
            to: None,
            asking: false,
            redirects: 0,
        }
    }

    /// Asks the map again.
    fn anew(mut self) -> Self {
        (self.to, self.asking) = (None, false);
        self
    }
}

/// Learns the map whenever it is doubted, not more often than every tenth of a second.
async fn survey(core: Arc<Core>) {
    loop {
        match core.learn().await {
            Ok(()) => {
                core.survey.send_replace(Survey::Known);
                tokio::time::sleep(SPACING).await;
                let _ = timeout(REFRESH, core.doubt.notified()).await;
            }
            Err(fault) => {
                // An old map is better than none.
                core.survey.send_if_modified(|survey| {
                    let unknown = !matches!(survey, Survey::Known);
                    if unknown {
                        *survey = Survey::Failed(fault);
                    }
                    unknown
                });
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Core {
    fn link(&self, map: &mut Map, address: &Address) -> Arc<Link> {
        let link = map.links.entry(address.clone()).or_insert_with(|| {
            let target = Target::Fixed(address.clone());
            Arc::new(Link::new(
                target,
                self.settings.clone(),
                Expect::Any,
                &self.recoveries,
            ))
        });
        link.clone()
    }

    /// Asks those that serve slots, then the others, then the seeds, until one answers.
    async fn learn(&self) -> Result<(), Fault> {
        let candidates = {
            let map = lock(&self.map);
            let mut candidates = map.masters();
            // Another one first each time: one that has been cut off would go on telling its old map.
            if !candidates.is_empty() {
                let first = rand::random_range(0..candidates.len());
                candidates.rotate_left(first);
            }
            candidates.extend(self.seeds.iter().cloned());
            candidates
        };
        let mut last = Fault::new(FaultKind::ClusterDown, "no node serves any slot");
        for address in candidates {
            match self.ask(&address).await {
                Ok(ranges) if ranges.is_empty() => {}
                Ok(ranges) => {
                    self.adopt(ranges);
                    return Ok(());
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn ask(&self, address: &Address) -> Result<BTreeMap<u16, (u16, Address)>, Fault> {
        let link = self.link(&mut lock(&self.map), address);
        let batch = Batch::repeatable(vec![command(&["CLUSTER", "SLOTS"]).into()]);
        let answers = link.run(&batch, false, PATIENCE).await?;
        let answer = answers.into_iter().next();
        ranges(answer.ok_or_else(|| fault::shape("CLUSTER SLOTS"))?, address)
    }

    /// Takes the new map, and leaves nodes that are not in it.
    fn adopt(&self, ranges: BTreeMap<u16, (u16, Address)>) {
        let mut map = lock(&self.map);
        map.ranges = ranges;
        map.moved.clear();
        let masters = map.masters();
        map.links.retain(|address, link| {
            let stays = masters.contains(address);
            if !stays {
                link.close();
            }
            stays
        });
    }
}

/// `[[first, last, [host, port, ..], replicas..], ..]`
fn ranges(answer: Answer, asked: &Address) -> Result<BTreeMap<u16, (u16, Address)>, Fault> {
    let what = "CLUSTER SLOTS";
    let mut ranges = BTreeMap::new();
    for range in Items::of(what, answer)? {
        let mut range = Items::of_value(what, range)?;
        let (first, last) = (slot(range.number()?)?, slot(range.number()?)?);
        let mut node = Items::of_value(what, Items::next(&mut range)?)?;
        let host = match Items::next(&mut node)? {
            Value::Nil => String::new(),
            host => text(what, host)?,
        };
        let port = u16::try_from(node.number()?).map_err(|_| fault::shape(what))?;
        ranges.insert(first, (last, at(&host, port, asked)));
    }
    Ok(ranges)
}

fn slot(number: i64) -> Result<u16, Fault> {
    u16::try_from(number)
        .ok()
        .filter(|slot| *slot < SLOTS)
        .ok_or_else(|| fault::shape("CLUSTER SLOTS"))
}

/// `host:port`, where the host may be missing.
fn parse(target: &str, from: &Address) -> Option<Address> {
    let (host, port) = target.rsplit_once(':')?;
    Some(at(host.trim_matches(['[', ']']), port.parse().ok()?, from))
}

/// A node that does not know its own host means the one under which it was reached.
fn at(host: &str, port: u16, from: &Address) -> Address {
    let host = match (host, from) {
        ("" | "?", Address::Tcp { host, .. }) => host.clone(),
        _ => host.to_owned(),
    };
    Address::Tcp { host, port }
}

const MAX_REDIRECTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(40);
/// For one node to tell the map.
const PATIENCE: Duration = Duration::from_millis(300);
const SPACING: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(250);
const REFRESH: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_missing_host_is_the_one_that_was_asked() {
        let asked = tcp("10.0.0.1", 1);
        assert_eq!(parse("10.0.0.2:7", &asked), Some(tcp("10.0.0.2", 7)));
        assert_eq!(parse(":7", &asked), Some(tcp("10.0.0.1", 7)));
        assert_eq!(parse("::1:7", &asked), Some(tcp("::1", 7)));
        assert_eq!(parse("host:x", &asked), None);
    }

    #[test]
    fn a_slot_belongs_to_its_range_unless_it_has_moved() {
        let mut map = Map::default();
        map.ranges.insert(0, (99, tcp("a", 1)));
        map.ranges.insert(200, (299, tcp("b", 1)));
        assert_eq!(map.owner(99), Some(tcp("a", 1)));
        assert_eq!(map.owner(100), None);
        assert_eq!(map.owner(250), Some(tcp("b", 1)));
        map.moved.insert(250, tcp("c", 1));
        assert_eq!(map.owner(250), Some(tcp("c", 1)));
        assert_eq!(map.masters(), [tcp("a", 1), tcp("b", 1)]);
    }
}
