//! Which prefixes and tags are in use most: two small tables with a fixed number of places.
//!
//! Counted are values that enter the in-process tier (a load, a `set`, a copy from the shared tier), each of them, and
//! hits of that tier, one in [64](SAMPLE), which then counts for as many: a table that all threads share would cost each hit
//! more than all the rest of it.

use serde::Serialize;

use crate::epochs::{MarkName, Marks};
use crate::stats::SAMPLE;
use crate::sync::{Arc, Mutex, lock};

/// What was used most of late, busiest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Prefixes of keys.
    pub prefixes: Vec<Busy>,
    /// Tags; an entry counts for each of its own.
    pub tags: Vec<Busy>,
}

/// A prefix or tag with its part of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Busy {
    /// The namespace that it is in.
    pub namespace: Arc<str>,
    /// The prefix or tag.
    pub name: Box<str>,
    /// Its share of the hits and stores of late, from 0 to 1: an estimate, since hits are sampled.
    pub share: f64,
}

/// The counting behind [`Traffic`].
#[derive(Debug, Default)]
pub(crate) struct TrafficCounter {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    noted: u64,
    prefixes: Table,
    tags: Table,
}

impl TrafficCounter {
    /// Notes that an entry with these marks was stored.
    pub(crate) fn stored(&self, marks: &Marks) {
        self.note(marks, 1);
    }

    /// Notes that an entry with these marks was hit, on behalf of as many hits as one in is noted.
    #[cold]
    #[inline(never)]
    pub(crate) fn hit(&self, marks: &Marks) {
        self.note(marks, SAMPLE);
    }

    /// When another thread is noting one, this one is left out: shares stay what they are.
    fn note(&self, marks: &Marks, weight: u64) {
        let Ok(mut tables) = self.tables.try_lock() else {
            return;
        };
        if tables.noted >= HALVE_AT {
            tables.noted /= 2;
            tables.prefixes.halve();
            tables.tags.halve();
        }
        tables.noted += weight;
        for mark in marks.iter() {
            match mark.name() {
                MarkName::Namespace(_) => {}
                MarkName::Prefix(namespace, prefix) => tables.prefixes.count(namespace, prefix, weight),
                MarkName::Tag(namespace, tag) => tables.tags.count(namespace, tag, weight),
            }
        }
    }

    pub(crate) fn read(&self) -> Traffic {
        let tables = lock(&self.tables);
        Traffic {
            prefixes: tables.prefixes.busiest(tables.noted),
            tags: tables.tags.busiest(tables.noted),
        }
    }
}

/// The space-saving sketch of Metwally, Agrawal and El Abbadi: whoever finds no place takes that of the rarest and
/// inherits its count. What makes up more than one in [`PLACES`] is certain to be in it, with at most its true count too
/// many.
#[derive(Debug, Default)]
struct Table {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    namespace: Arc<str>,
    name: Box<str>,
    count: u64,
}

impl Table {
    fn count(&mut self, namespace: &Arc<str>, name: &str, weight: u64) {
        let known = self
            .places
            .iter_mut()
            .find(|place| *place.name == *name && place.namespace == *namespace);
        if let Some(place) = known {
            place.count += weight;
            return;
        }
        let newcomer = |count| Place {
            namespace: namespace.clone(),
            name: name.into(),
            count,
        };
        if self.places.len() < PLACES {
            self.places.push(newcomer(weight));
        } else if let Some(rarest) = self.places.iter_mut().min_by_key(|place| place.count) {
            *rarest = newcomer(rarest.count + weight);
        }
    }

    fn halve(&mut self) {
        self.places.iter_mut().for_each(|place| place.count /= 2);
        self.places.retain(|place| place.count > 0);
    }

    fn busiest(&self, noted: u64) -> Vec<Busy> {
        let mut places: Vec<&Place> = self.places.iter().collect();
        places.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let shown = places.into_iter().take(SHOWN);
        shown
            .map(|place| Busy {
                namespace: place.namespace.clone(),
                name: place.name.clone(),
                share: (place.count as f64 / noted.max(1) as f64).min(1.0),
            })
            .collect()
    }
}

/// Looked through for everything that is noted: as many as a cache line's walk allows, and enough for a top ten.
const PLACES: usize = 64;

const SHOWN: usize = 10;

/// Then what happened longer ago counts half: the table tells of late, not of ever.
const HALVE_AT: u64 = 2_000 * SAMPLE;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(table: &mut Table, name: &str, times: usize) {
        let namespace: Arc<str> = "c".into();
        (0..times).for_each(|_| table.count(&namespace, name, 1));
    }

    #[test]
    fn what_is_frequent_is_found_among_thousands_that_are_not() {
        let mut table = Table::default();
        for n in 0..5_000 {
            count(&mut table, &format!("rare:{n}"), 1);
            count(&mut table, "often", usize::from(n % 4 == 0));
            count(&mut table, "oftener", usize::from(n % 2 == 0));
        }
        let busiest = table.busiest(5_000);
        assert_eq!((busiest.len(), table.places.len()), (SHOWN, PLACES));
        assert_eq!((&*busiest[0].name, &*busiest[1].name), ("oftener", "often"));
        assert!((0.5..0.52).contains(&busiest[0].share), "{}", busiest[0].share);
    }

    #[test]
    fn namespaces_are_apart_and_what_was_long_ago_fades() {
        let mut table = Table::default();
        count(&mut table, "user", 8);
        table.count(&"other".into(), "user", 1);
        table.halve();
        let busiest = table.busiest(4);
        assert_eq!(busiest.len(), 1, "one store, halved, is none");
        assert_eq!((&*busiest[0].namespace, busiest[0].share), ("c", 1.0));
    }
}
