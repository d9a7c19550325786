//! Named options: a function or a call says `policy = "price"`, and configuration says what that means.
//!
//! ```
//! use cache_core::{Cache, EntryOptions, time::{hours, minutes, seconds}};
//!
//! let cache = Cache::builder("market")
//!     .policy("price", EntryOptions::ttl(seconds(5)).stale_for(minutes(1)))
//!     .policy("reference", EntryOptions::ttl(hours(12)))
//!     .build()?;
//! cache.set_policy("price", EntryOptions::ttl(seconds(1)))?; // from now on, for every call that names it
//! # Ok::<(), cache_core::Error>(())
//! ```
//!
//! * What a call says itself wins over its policy, and the policy over the cache's defaults, setting by setting.
//! * A policy is looked up when something is loaded or stored, never on a hit. A change holds for what is stored from
//!   then on; entries keep the times that they were stored with.
//! * A name without a policy is a mistake in the configuration, and no reason to fail a call or to leave an origin
//!   unprotected: the cache's defaults hold. It is logged as an error, once for each name, with the place and the names
//!   that there are, and stays visible in [`Policies::missing`].

use std::collections::BTreeMap;

use crate::cache::check_name;
use crate::error::Error;
use crate::options::EntryOptions;
use crate::sync::{Arc, Mutex, lock};

/// The policies of a cache, by name; see the [module](self). [`Cache::policies`](crate::Cache::policies) shows them.
#[derive(Debug, Default)]
pub struct Policies {
    /// Replaced as a whole and never changed, so that a reader holds the lock for the copy of a pointer.
    known: Mutex<Arc<Named>>,
    /// Names that were asked for and are not there, with who asked first.
    missing: Mutex<BTreeMap<String, String>>,
}

type Named = BTreeMap<String, EntryOptions>;

impl Policies {
    /// The options of this name.
    pub fn get(&self, name: &str) -> Option<EntryOptions> {
        self.known().get(name).cloned()
    }

    /// All policies at this moment.
    pub fn all(&self) -> BTreeMap<String, EntryOptions> {
        (*self.known()).clone()
    }

    /// Names that calls asked for and that no policy has, each with the place of the first such call: the cached function
    /// and its line, or the prefix of the key. For health reports and start-up checks.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let known = self.known();
        let mut missing = lock(&self.missing).clone();
        missing.retain(|name, _| !known.contains_key(name));
        missing
    }

    /// Notes a policy that is not there on behalf of a caller who can say where it stands.
    pub(crate) fn look_for(&self, options: &EntryOptions, place: impl FnOnce() -> String) {
        if let Some(name) = options.policy_name()
            && !self.known().contains_key(name)
        {
            self.note_missing(name, &place());
        }
    }

    /// `options` with what they leave open taken from their policy, if they name one, and then from `defaults`.
    pub(crate) fn complete(
        &self,
        options: &EntryOptions,
        defaults: &EntryOptions,
        place: &str,
    ) -> EntryOptions {
        let Some(name) = options.policy_name() else {
            return options.or(defaults);
        };
        match self.known().get(name) {
            Some(policy) => options.or(policy).or(defaults),
            None => {
                self.note_missing(name, place);
                options.or(defaults)
            }
        }
    }

    /// Adds policies, or replaces those of the same names: all of them at once, or none.
    pub(crate) fn set(
        &self,
        changed: impl IntoIterator<Item = (String, EntryOptions)>,
        defaults: &EntryOptions,
    ) -> Result<(), Error> {
        let changed: Vec<_> = changed.into_iter().collect();
        for (name, options) in &changed {
            check(name, options, defaults)?;
        }
        let mut known = lock(&self.known);
        let mut next = (**known).clone();
        next.extend(changed);
        *known = Arc::new(next);
        Ok(())
    }

    fn known(&self) -> Arc<Named> {
        lock(&self.known).clone()
    }

    fn note_missing(&self, name: &str, place: &str) {
        let mut missing = lock(&self.missing);
        // Names come from code, so there are few; computed ones must not fill the memory.
        if missing.contains_key(name) || missing.len() >= MAX_MISSING {
            return;
        }
        missing.insert(name.to_owned(), place.to_owned());
        drop(missing);
        let known: Vec<_> = self.known().keys().cloned().collect();
        tracing::error!(
            policy = name,
            place,
            known = known.join(", "),
            "there is no policy of this name; the cache's defaults are used. Add it with `CacheBuilder::policy` or \
             `Cache::set_policy`"
        );
    }
}

fn check(name: &str, options: &EntryOptions, defaults: &EntryOptions) -> Result<(), Error> {
    check_name("the policy's name", name)?;
    let about = |error: Error| Error::invalid(format!("policy `{name}`: {error}"));
    if let Some(other) = options.policy_name() {
        return Err(about(Error::invalid(format!(
            "it names the policy `{other}`; a policy says its settings itself"
        ))));
    }
    options.or(defaults).check_configuration().map_err(about)
}

/// How many unknown names are remembered.
const MAX_MISSING: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{hours, minutes, seconds};

    fn policies(named: &[(&str, EntryOptions)]) -> Policies {
        let policies = Policies::default();
        let named = named
            .iter()
            .map(|(name, options)| ((*name).to_owned(), options.clone()));
        policies.set(named, &EntryOptions::new()).expect("valid");
        policies
    }

    #[test]
    fn the_call_wins_over_its_policy_and_the_policy_over_the_defaults() {
        let policies = policies(&[("price", EntryOptions::ttl(seconds(5)).stale_for(hours(1)))]);
        let defaults = EntryOptions::ttl(minutes(5)).jitter(0.0);
        let call = EntryOptions::ttl(seconds(1)).policy("price");
        let policy = policies.complete(&call, &defaults, "f").resolve().unwrap();
        assert_eq!(
            (policy.ttl, policy.hard_ttl, policy.jitter),
            (seconds(1), hours(1) + seconds(1), 0.0)
        );
        let call = EntryOptions::new().policy("price");
        assert_eq!(
            policies.complete(&call, &defaults, "f").resolve().unwrap().ttl,
            seconds(5)
        );
        assert!(policies.missing().is_empty());
    }

    #[test]
    fn an_unknown_name_means_the_defaults_and_is_noted_with_who_asked_first() {
        let policies = policies(&[]);
        let call = EntryOptions::new().policy("prise");
        for place in ["first", "second"] {
            let options = policies.complete(&call, &EntryOptions::ttl(minutes(7)), place);
            assert_eq!(options.resolve().unwrap().ttl, minutes(7));
        }
        assert_eq!(
            policies.missing(),
            BTreeMap::from([("prise".to_owned(), "first".to_owned())])
        );
        policies
            .set([("prise".to_owned(), EntryOptions::new())], &EntryOptions::new())
            .unwrap();
        assert!(policies.missing().is_empty(), "it is there now");
    }

    #[test]
    fn unknown_names_are_remembered_within_a_bound() {
        let policies = policies(&[]);
        for number in 0..1_000 {
            let call = EntryOptions::new().policy(format!("computed-{number}"));
            let _ = policies.complete(&call, &EntryOptions::new(), "f");
        }
        assert_eq!(policies.missing().len(), MAX_MISSING);
    }

    #[test]
    fn a_set_with_one_mistake_changes_nothing_and_names_the_policy() {
        #[track_caller]
        fn check(name: &str, options: EntryOptions, words: &[&str]) {
            let policies = policies(&[("price", EntryOptions::ttl(seconds(5)))]);
            let changed = [
                ("price".to_owned(), EntryOptions::ttl(seconds(9))),
                (name.to_owned(), options),
            ];
            let defaults = EntryOptions::new().hard_ttl(hours(1));
            let message = policies.set(changed, &defaults).unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "{message} does not say {word}");
            }
            assert_eq!(policies.get("price"), Some(EntryOptions::ttl(seconds(5))));
        }
        check("a:b", EntryOptions::new(), &["policy's name", "a:b"]);
        check("", EntryOptions::new(), &["policy's name", "empty"]);
        check(
            "long",
            EntryOptions::ttl(hours(2)),
            &["policy `long`", "`hard_ttl`"],
        );
        check(
            "zero",
            EntryOptions::ttl(seconds(0)),
            &["policy `zero`", "`ttl` is zero"],
        );
        check(
            "nested",
            EntryOptions::new().policy("price"),
            &["policy `nested`", "`price`"],
        );
    }
}
