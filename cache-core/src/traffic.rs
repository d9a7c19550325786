//! Which prefixes and tags entries are stored under most: two small tables with a fixed number of places.
//!
//! Counted where an entry enters the in-process tier (a load, a `set`, a copy from the shared tier), which costs
//! microseconds anyway; never on a hit. So this tells where the *work* comes from. Hits are not attributed: a table that
//! all threads share would cost each of them more than all the rest.

use serde::Serialize;

use crate::epochs::{MarkName, Marks};
use crate::sync::{Arc, Mutex, lock};

/// What was stored most of late, busiest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// Prefixes of keys.
    pub prefixes: Vec<Busy>,
    /// Tags; an entry counts for each of its own.
    pub tags: Vec<Busy>,
}

/// A prefix or tag with its part of what is stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Busy {
    /// The namespace that it is in.
    pub namespace: Arc<str>,
    /// The prefix or tag.
    pub name: Box<str>,
    /// At most this share of the entries stored of late, from 0 to 1.
    pub share: f64,
}

/// The counting behind [`Traffic`].
#[derive(Debug, Default)]
pub(crate) struct TrafficCounter {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    stored: u64,
    prefixes: Table,
    tags: Table,
}

impl TrafficCounter {
    /// Notes that an entry with these marks was stored. When another thread is noting one, this one is left out: shares
    /// stay what they are.
    pub(crate) fn stored(&self, marks: &Marks) {
        let Ok(mut tables) = self.tables.try_lock() else {
            return;
        };
        if tables.stored >= HALVE_AT {
            tables.stored /= 2;
            tables.prefixes.halve();
            tables.tags.halve();
        }
        tables.stored += 1;
        for mark in marks.iter() {
            match mark.name() {
                MarkName::Namespace(_) => {}
                MarkName::Prefix(namespace, prefix) => tables.prefixes.count(namespace, prefix),
                MarkName::Tag(namespace, tag) => tables.tags.count(namespace, tag),
            }
        }
    }

    pub(crate) fn read(&self) -> Traffic {
        let tables = lock(&self.tables);
        Traffic {
            prefixes: tables.prefixes.busiest(tables.stored),
            tags: tables.tags.busiest(tables.stored),
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
    fn count(&mut self, namespace: &Arc<str>, name: &str) {
        let known = self
            .places
            .iter_mut()
            .find(|place| *place.name == *name && place.namespace == *namespace);
        if let Some(place) = known {
            place.count += 1;
            return;
        }
        let newcomer = |count| Place {
            namespace: namespace.clone(),
            name: name.into(),
            count,
        };
        if self.places.len() < PLACES {
            self.places.push(newcomer(1));
        } else if let Some(rarest) = self.places.iter_mut().min_by_key(|place| place.count) {
            *rarest = newcomer(rarest.count + 1);
        }
    }

    fn halve(&mut self) {
        self.places.iter_mut().for_each(|place| place.count /= 2);
        self.places.retain(|place| place.count > 0);
    }

    fn busiest(&self, stored: u64) -> Vec<Busy> {
        let mut places: Vec<&Place> = self.places.iter().collect();
        places.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let shown = places.into_iter().take(SHOWN);
        shown
            .map(|place| Busy {
                namespace: place.namespace.clone(),
                name: place.name.clone(),
                share: (place.count as f64 / stored.max(1) as f64).min(1.0),
            })
            .collect()
    }
}

/// Looked through for every stored entry: as many as a cache line's walk allows, and enough for a top ten.
const PLACES: usize = 64;

const SHOWN: usize = 10;

/// Then what happened longer ago counts half: the table tells of late, not of ever.
const HALVE_AT: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(table: &mut Table, name: &str, times: usize) {
        let namespace: Arc<str> = "c".into();
        (0..times).for_each(|_| table.count(&namespace, name));
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
        table.count(&"other".into(), "user");
        table.halve();
        let busiest = table.busiest(4);
        assert_eq!(busiest.len(), 1, "one store, halved, is none");
        assert_eq!((&*busiest[0].namespace, busiest[0].share), ("c", 1.0));
    }
}
