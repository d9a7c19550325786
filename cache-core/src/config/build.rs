//! [`Config::build`]: from what is written to caches that work.

use std::collections::BTreeMap;

use super::cache::Common;
use super::check::Problem;
use super::{CacheConfig, Config, WarmerConfig};
use crate::cache::{Cache, CacheBuilder};
use crate::error::Error;
use crate::options::EntryOptions;
use crate::warm::{Warmer, WarmerHandle};

/// The caches of a [`Config`], by name.
#[derive(Clone, Debug)]
pub struct Caches {
    caches: BTreeMap<String, Cache>,
    policies: BTreeMap<String, EntryOptions>,
    warmers: BTreeMap<String, WarmerConfig>,
}

impl Caches {
    /// The cache of this name.
    pub fn get(&self, name: &str) -> Option<&Cache> {
        self.caches.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Cache> {
        self.caches.values()
    }

    /// The options of the policy of this name.
    pub fn policy(&self, name: &str) -> Option<&EntryOptions> {
        self.policies.get(name)
    }

    /// The settings of the warmer of this name.
    pub fn warmer(&self, name: &str) -> Option<&WarmerConfig> {
        self.warmers.get(name)
    }

    /// Adds a warmer to the cache that the configuration of its name says, with the settings that stand there.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the configuration has no warmer of this name; otherwise as for
    /// [`Cache::add_warmer`].
    pub fn add_warmer(&self, warmer: Warmer) -> Result<WarmerHandle, Error> {
        let cache = self.warmers.get(warmer.name()).map(|config| &config.cache);
        match cache.and_then(|cache| self.get(cache)) {
            Some(cache) => cache.add_warmer(warmer),
            None => {
                let remedy = super::cache::known("warmer", self.warmers.keys());
                Err(Problem::new("warmers", warmer.name(), remedy).into())
            }
        }
    }
}

impl Config {
    /// Builds the caches. Nothing is contacted; files with certificates and passwords are read.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the path of the field, its value and the remedy.
    pub fn build(&self) -> Result<Caches, Error> {
        let policies = self.options()?;
        let mut caches = BTreeMap::new();
        for (name, config) in &self.caches {
            let cache = self
                .builder(name, config, &policies)
                .map_err(Error::from)?
                .build();
            let cache = cache.map_err(|error| in_cache(name, error.to_string()))?;
            caches.insert(name.clone(), cache);
        }
        Ok(Caches {
            caches,
            policies,
            warmers: self.warmers.clone(),
        })
    }

    /// The builder of one cache, for settings that are code: a clock, a weigher.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), also if there is no such cache.
    pub fn cache_builder(&self, name: &str) -> Result<CacheBuilder, Error> {
        let policies = self.options()?;
        let Some(config) = self.caches.get(name) else {
            let remedy = super::cache::known("cache", self.caches.keys());
            return Err(Problem::new("caches", name, remedy).into());
        };
        Ok(self.builder(name, config, &policies)?)
    }

    /// Everything that is known without files and servers. [`build`](Self::build) checks the same again, since a
    /// `Config` may have come another way.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_parts()?;
        let policies = self.policy_options()?;
        let common = self.common(&policies);
        for (name, config) in &self.caches {
            config
                .check(&common)
                .map_err(|problem| problem.within(&format!("caches.{name}")))?;
        }
        Ok(())
    }

    fn check_parts(&self) -> Result<(), Problem> {
        if let Some(redis) = &self.redis {
            redis.check().map_err(|problem| problem.within("redis"))?;
        }
        for (name, warmer) in &self.warmers {
            warmer
                .check(self.caches.keys())
                .map_err(|problem| problem.within(&format!("warmers.{name}")))?;
        }
        Ok(())
    }

    fn options(&self) -> Result<BTreeMap<String, EntryOptions>, Error> {
        self.check_parts()?;
        Ok(self.policy_options()?)
    }

    fn policy_options(&self) -> Result<BTreeMap<String, EntryOptions>, Problem> {
        let options = self.policies.iter().map(|(name, policy)| {
            let options = policy
                .checked()
                .map_err(|problem| problem.within(&format!("policies.{name}")))?;
            Ok((name.clone(), options))
        });
        options.collect()
    }

    fn common<'a>(&'a self, options: &'a BTreeMap<String, EntryOptions>) -> Common<'a> {
        Common {
            redis: self.redis.as_ref(),
            policies: &self.policies,
            options,
        }
    }

    fn builder(
        &self,
        name: &str,
        config: &CacheConfig,
        policies: &BTreeMap<String, EntryOptions>,
    ) -> Result<CacheBuilder, Problem> {
        let own = self.warmers.iter().filter(|(_, warmer)| warmer.cache == name);
        let schedules = own.map(|(warmer, config)| (warmer.clone(), config.schedule()));
        let builder = config.builder(name, &self.common(policies))?;
        Ok(builder.warmers(schedules.collect()))
    }
}

/// What the builder refuses names its own setting.
fn in_cache(name: &str, why: String) -> Error {
    Problem::whole_of(&format!("caches.{name}"), why).into()
}
