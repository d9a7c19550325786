//! Hits of the in-process tier: 10,000 string keys asked for by a Zipf distribution, values behind an `Arc`, a TTL.

use crate::measure::{Contender, Effort, Race};
use crate::peers::{Caches, FOYER, GET, MOKA, OR_LOAD, QUICK, QUICK_EXPIRING, TYPED};
use crate::report::{Budget, Report, Row};

pub(crate) const AREA: &str = "l1";

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let caches = Caches::filled();
    let mut contenders = caches.contenders();
    hits(&Race::run(&mut contenders, effort), report);
    throughput(&caches, effort, report);
    tails(&mut contenders, effort, report);
}

fn hits(race: &Race, report: &mut Report) {
    let mut compare = |ours, peer, budget: Option<Budget>| {
        let row = Row::new(AREA, format!("{ours}, hit"), race.median(ours), "ns")
            .against(peer, race.median(peer))
            .ratio(race.ratio(ours, peer), race.spread(ours, peer))
            .budget(budget);
        report.add(row);
    };
    compare(GET, MOKA, Some(Budget::RatioAtMost(0.20)));
    compare(GET, QUICK_EXPIRING, Some(Budget::RatioAtMost(2.0)));
    compare(GET, QUICK, None);
    compare(GET, FOYER, None);
    // These two also build the key, of a prefix and a text.
    compare(TYPED, MOKA, None);
    compare(OR_LOAD, MOKA, None);
}

/// Two threads on one cache, in operations of both.
fn throughput(caches: &Caches, effort: Effort, report: &mut Report) {
    let chosen = |contender: &Contender<'_>| [GET, MOKA, QUICK_EXPIRING].contains(&contender.name);
    let lane = || -> Vec<_> { caches.contenders().into_iter().filter(chosen).collect() };
    let race = Race::run_paired(&mut lane(), &mut lane(), effort);
    let per_second = |name| 1_000.0 / race.median(name);
    for (peer, budget) in [(MOKA, Some(Budget::RatioAtLeast(4.0))), (QUICK_EXPIRING, None)] {
        let row = Row::new(AREA, "Cache::get, hits of 2 threads", per_second(GET), "M/s")
            .against(peer, per_second(peer))
            .ratio(race.ratio(peer, GET), race.spread(peer, GET))
            .budget(budget);
        report.add(row);
    }
}

fn tails(contenders: &mut [Contender<'_>], effort: Effort, report: &mut Report) {
    let mut p99 = |name| contender(contenders, name).p99(effort.timed);
    let row = Row::new(
        AREA,
        "Cache::get, 99 % of hits below (timer included)",
        p99(GET),
        "ns",
    )
    .against(MOKA, p99(MOKA))
    .budget(Budget::RatioAtMost(0.2));
    report.add(row);
}

pub(crate) fn contender<'c, 'a>(contenders: &'c mut [Contender<'a>], name: &str) -> &'c mut Contender<'a> {
    contenders
        .iter_mut()
        .find(|contender| contender.name == name)
        .unwrap_or_else(|| panic!("there is no contender `{name}`"))
}
