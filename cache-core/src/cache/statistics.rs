//! What a cache says about itself: its numbers, and the settings that the doctor judges.

use crate::cache::{Cache, Inner};
use crate::doctor::Regimen;
use crate::measure::CounterFamily;
use crate::stats::Stats;
use crate::sync::{Arc, lock};

impl Cache {
    /// A reading of the counters and sizes.
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }

    /// Counters that are told together with the cache's own, in [`stats`](Self::stats) and to recorders: a metric with
    /// the labels `cache` and `label`, whose values are all known beforehand. The same one for the same name.
    ///
    /// For crates that serve from this cache, and count what the cache does not see. The name needs to be that of a
    /// metric, such as `cache_http_requests_total`.
    pub fn counter_family(
        &self,
        name: &'static str,
        label: &'static str,
        values: &[&'static str],
    ) -> Arc<CounterFamily> {
        let mut families = lock(&self.inner.families);
        if let Some(known) = families.iter().find(|family| family.name() == name) {
            return known.clone();
        }
        let family = Arc::new(CounterFamily::new(name, label, values));
        families.push(family.clone());
        family
    }
}

impl Inner {
    /// What the doctor judges.
    pub(crate) fn regimen(&self) -> Regimen {
        Regimen {
            policy: self.default_policy,
            max_load: self.settings.max_load,
            shared: self.far.as_ref().map(|far| far.regimen()),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            counters: self.tally.read(),
            entries: self.memory.len() as u64,
            weight: self.memory.total_weight(),
            capacity: self.memory.capacity(),
            weighed_in: if self.memory.weighs_values() {
                "bytes"
            } else {
                "entries"
            },
            evictions: self.memory.evictions(),
            loads_running: self.tasks.loads_running() as u64,
            waiters: self.flights.waiting() as u64,
            load_times: self.load_times.read(),
            shared: self.far.as_ref().map(|far| far.stats(self.clock.now())),
            families: lock(&self.families).iter().map(|family| family.read()).collect(),
        }
    }
}
