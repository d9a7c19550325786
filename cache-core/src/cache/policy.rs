//! Named options: what calls refer to instead of saying it.

use crate::cache::Cache;
use crate::error::Error;
use crate::options::EntryOptions;
use crate::policies::Policies;

impl Cache {
    /// Named options that calls refer to; see [`policies`](crate::policies).
    pub fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// Adds a policy, or replaces the one of this name, for what is loaded and stored from now on.
    ///
    /// # Errors
    ///
    /// As [`set_policies`](Self::set_policies).
    pub fn set_policy(&self, name: impl Into<String>, options: EntryOptions) -> Result<(), Error> {
        self.set_policies([(name.into(), options)])
    }

    /// Adds or replaces many policies at once: no call sees some of them changed and others not.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if a name is empty, longer than 64 bytes or has characters other than ASCII
    /// letters, digits, `_`, `-` and `.`, if options are not fit for configuration, contradict the cache's defaults or
    /// name a policy themselves. Then nothing is changed.
    pub fn set_policies(
        &self,
        policies: impl IntoIterator<Item = (String, EntryOptions)>,
    ) -> Result<(), Error> {
        self.inner.policies.set(policies, &self.inner.defaults)
    }

    /// What a call leaves open, filled in from its policy and from the defaults.
    pub(super) fn complete(&self, options: &EntryOptions, place: &str) -> EntryOptions {
        self.inner.policies.complete(options, &self.inner.defaults, place)
    }
}
