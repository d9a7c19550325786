//! How one entry is to be kept: [`EntryOptions`].
//!
//! Options are partial. What a call leaves open comes from its [policy](crate::policies) if it names one, then from the
//! cache's defaults
//! ([`CacheBuilder::defaults`](crate::CacheBuilder::defaults)), and what those leave open from the toolkit's, named at
//! each method. Resolving checks the result as a whole:
//!
//! * A builder's defaults are configuration: a zero TTL, one above [`MAX_TTL`], a soft TTL or timeout above the hard one
//!   fails [`build`](crate::CacheBuilder::build).
//! * A call's TTLs may be computed: zero means "do not store", and more than [`MAX_TTL`] is cut to it. Combinations
//!   that contradict themselves are an [`Invalid`](crate::ErrorKind::Invalid) error of the call.

use std::borrow::Cow;
use std::time::Duration;

use crate::codec::Codec;
use crate::error::Error;
use crate::tag::TagSet;
use crate::time::{days, hours, minutes, seconds};

/// No entry lives longer than a year: far beyond any sensible freshness, far below where clocks and Redis overflow.
pub const MAX_TTL: Duration = days(365);

/// How to keep one entry. Every setting is optional; see the [module](self) for where the rest comes from.
///
/// ```
/// use cache_core::{EntryOptions, time::{hours, minutes}};
///
/// let options = EntryOptions::ttl(minutes(5)).stale_for(hours(1)).jitter(0.1);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct EntryOptions {
    ttl: Option<Duration>,
    stale: Option<StaleWindow>,
    jitter: Option<f64>,
    negative_ttl: Option<Duration>,
    error_ttl: Option<Duration>,
    soft_timeout: Option<Duration>,
    hard_timeout: Option<Duration>,
    throttle: Option<Duration>,
    eager: Option<Eager>,
    fail_safe: Option<bool>,
    background_completion: Option<bool>,
    abort_when_abandoned: Option<bool>,
    distributed: Option<bool>,
    codec: Option<Codec>,
    policy: Option<Cow<'static, str>>,
    tags: TagSet,
}

/// How long an entry outlives its freshness.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StaleWindow {
    Beyond(Duration),
    Until(Duration),
}

/// Whether a value in use is refreshed before it goes stale.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Eager {
    /// Values are reloaded only once they are stale.
    Off,
    /// The first hit after this share of the TTL, strictly between 0 and 1, starts a refresh.
    After(f64),
    /// Each hit may start a refresh, with a probability that grows towards the end of freshness in proportion to how
    /// long loads take (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
    /// Prevention", VLDB 2015). The factor `beta` shifts it earlier (> 1) or later (< 1); 0 never refreshes early.
    XFetch(f64),
}

impl EntryOptions {
    /// Everything as the cache's defaults say.
    pub const fn new() -> Self {
        Self {
            ttl: None,
            stale: None,
            jitter: None,
            negative_ttl: None,
            error_ttl: None,
            soft_timeout: None,
            hard_timeout: None,
            throttle: None,
            eager: None,
            fail_safe: None,
            background_completion: None,
            abort_when_abandoned: None,
            distributed: None,
            codec: None,
            policy: None,
            tags: TagSet::EMPTY,
        }
    }

    /// Fresh for `ttl` (the *soft* TTL), to the millisecond.
    ///
    /// Default: 5 minutes, long enough to matter and short enough that a forgotten invalidation heals by itself.
    pub const fn ttl(ttl: Duration) -> Self {
        let mut options = Self::new();
        options.ttl = Some(ttl);
        options
    }

    /// Changes the TTL of options that exist already.
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Kept this long *beyond* the TTL, as a stale value to fall back on while the loader fails or is slow.
    ///
    /// Default: zero, nothing stale is ever served.
    pub const fn stale_for(mut self, beyond: Duration) -> Self {
        self.stale = Some(StaleWindow::Beyond(beyond));
        self
    }

    /// Gone after `hard`, counted from the load: the same window as [`stale_for`](Self::stale_for), from the other end.
    ///
    /// Resolving fails if this is less than the TTL.
    pub const fn hard_ttl(mut self, hard: Duration) -> Self {
        self.stale = Some(StaleWindow::Until(hard));
        self
    }

    /// Shortens each TTL by a random share of up to `share` (0 to below 1), so that entries written together do not
    /// expire together. Never lengthens.
    ///
    /// Default: 0.1.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = Some(share);
        self
    }

    /// How long "there is no such value" is kept; zero keeps it not at all.
    ///
    /// Default: the TTL, at most 30 seconds, since what is missing now is often about to be created.
    pub const fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// How long a failed load is remembered: callers within it get the failure without another load.
    ///
    /// Default: off. Waiters of one load always share its failure.
    pub const fn error_ttl(mut self, ttl: Duration) -> Self {
        self.error_ttl = Some(ttl);
        self
    }

    /// How long a caller waits for a load when a stale value is at hand; the load goes on behind it. Zero is
    /// stale-while-revalidate: the stale value at once, always.
    ///
    /// Default: off, a caller with a stale value waits like one without.
    pub const fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.soft_timeout = Some(timeout);
        self
    }

    /// How long a caller waits for a load at all.
    ///
    /// Default: 10 seconds, above any healthy load and below most clients' patience.
    pub const fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.hard_timeout = Some(timeout);
        self
    }

    /// After a load failed and a stale value was served: how long it is served without trying again.
    ///
    /// Default: 30 seconds, so that an origin in trouble is asked twice a minute per key, not per request.
    pub const fn throttle(mut self, throttle: Duration) -> Self {
        self.throttle = Some(throttle);
        self
    }

    /// Refreshes a value in use before it goes stale.
    ///
    /// Default: [`Eager::Off`].
    pub const fn eager(mut self, eager: Eager) -> Self {
        self.eager = Some(eager);
        self
    }

    /// Whether a stale value answers for a failing or slow load.
    ///
    /// Default: true; it has an effect only with a stale window.
    pub const fn fail_safe(mut self, on: bool) -> Self {
        self.fail_safe = Some(on);
        self
    }

    /// Whether a load goes on, and stores its value, after the hard timeout of the caller who started it.
    ///
    /// Default: true, the work is nearly done and the next caller will want it.
    pub const fn background_completion(mut self, on: bool) -> Self {
        self.background_completion = Some(on);
        self
    }

    /// Whether a load is aborted when its last caller has gone away.
    ///
    /// Default: false, it completes and is stored.
    pub const fn abort_when_abandoned(mut self, on: bool) -> Self {
        self.abort_when_abandoned = Some(on);
        self
    }

    /// Names under which the entry can be invalidated together with others.
    ///
    /// Default: none. Tags of the call and of the cache's defaults do not add up: the call's win.
    pub fn tags(mut self, tags: TagSet) -> Self {
        self.tags = tags;
        self
    }

    /// Whether one node loads for all that share a tier. Without it each node that misses loads, and the first to
    /// store wins: nobody waits for another node, which suits loads that are quicker than a lock's round trip to Redis
    /// and its wake-up, or whose result differs little. Within a node there is one load in any case.
    ///
    /// Default: true.
    pub const fn distributed(mut self, on: bool) -> Self {
        self.distributed = Some(on);
        self
    }

    /// How values are written to the shared tier. Reading goes by what an entry says of itself, so a change, or nodes
    /// that do not agree, lose nothing.
    ///
    /// Default: [`CacheBuilder::codec`](crate::CacheBuilder::codec).
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// What these options leave open comes from the policy of this name, looked up in the cache when it is needed; see
    /// [`policies`](crate::policies).
    ///
    /// Default: none.
    pub fn policy(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.policy = Some(name.into());
        self
    }

    /// The name of the policy, if there is one.
    pub(crate) fn policy_name(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The tags set so far.
    pub(crate) fn tag_set(&self) -> &TagSet {
        &self.tags
    }

    /// These options, with what they leave open taken from `defaults`.
    pub(crate) fn or(&self, defaults: &Self) -> Self {
        Self {
            ttl: self.ttl.or(defaults.ttl),
            stale: self.stale.or(defaults.stale),
            jitter: self.jitter.or(defaults.jitter),
            negative_ttl: self.negative_ttl.or(defaults.negative_ttl),
            error_ttl: self.error_ttl.or(defaults.error_ttl),
            soft_timeout: self.soft_timeout.or(defaults.soft_timeout),
            hard_timeout: self.hard_timeout.or(defaults.hard_timeout),
            throttle: self.throttle.or(defaults.throttle),
            eager: self.eager.or(defaults.eager),
            fail_safe: self.fail_safe.or(defaults.fail_safe),
            background_completion: self.background_completion.or(defaults.background_completion),
            abort_when_abandoned: self.abort_when_abandoned.or(defaults.abort_when_abandoned),
            distributed: self.distributed.or(defaults.distributed),
            codec: self.codec.or(defaults.codec),
            policy: None,
            tags: if self.tags.is_empty() {
                defaults.tags.clone()
            } else {
                self.tags.clone()
            },
        }
    }

    /// Refuses what configuration must not say; a call may say some of it (see the [module](self)).
    pub(crate) fn check_configuration(&self) -> Result<(), Error> {
        for (field, value) in [
            ("ttl", self.ttl),
            ("negative_ttl", self.negative_ttl),
            ("error_ttl", self.error_ttl),
            ("hard_timeout", self.hard_timeout),
        ] {
            let Some(value) = value else { continue };
            if value.is_zero() && field != "negative_ttl" {
                return Err(Error::invalid(format!(
                    "`{field}` is zero; leave it out, or give it at least 1 ms"
                )));
            }
            if value > MAX_TTL {
                return Err(Error::invalid(format!(
                    "`{field}` is {value:?}, above the maximum of 365 days"
                )));
            }
        }
        if let Some(StaleWindow::Beyond(stale) | StaleWindow::Until(stale)) = self.stale
            && stale > MAX_TTL
        {
            return Err(Error::invalid(format!(
                "the stale window is {stale:?}, above the maximum of 365 days"
            )));
        }
        let policy = self.resolve()?;
        // A call may shorten its hard timeout below a configured soft one: then the smaller of them ends the wait.
        match (policy.soft_timeout, policy.hard_timeout) {
            (Some(soft), hard) if soft > hard => Err(Error::invalid(format!(
                "`soft_timeout` ({soft:?}) is above `hard_timeout` ({hard:?}); lower the one or raise the other"
            ))),
            _ => Ok(()),
        }
    }

    /// The complete policy, with the toolkit's defaults for what is open.
    pub(crate) fn resolve(&self) -> Result<Policy, Error> {
        let asked = self.ttl.unwrap_or(minutes(5));
        let ttl = asked.min(MAX_TTL);
        let hard_ttl = match self.stale {
            None => ttl,
            Some(StaleWindow::Beyond(stale)) => ttl.saturating_add(stale).min(MAX_TTL),
            Some(StaleWindow::Until(hard)) if hard < asked => {
                return Err(Error::invalid(format!(
                    "`ttl` ({asked:?}) is above `hard_ttl` ({hard:?}); lower `ttl` or raise `hard_ttl`"
                )));
            }
            Some(StaleWindow::Until(hard)) => hard.min(MAX_TTL),
        };
        Ok(Policy {
            ttl,
            hard_ttl,
            clamped: asked > MAX_TTL,
            jitter: share("jitter", self.jitter.unwrap_or(0.1), 0.0..=0.999_999)?,
            negative_ttl: self.negative_ttl.unwrap_or(ttl.min(seconds(30))).min(MAX_TTL),
            error_ttl: self.error_ttl.unwrap_or(Duration::ZERO).min(hours(24)),
            soft_timeout: self.soft_timeout,
            hard_timeout: self.hard_timeout.unwrap_or(seconds(10)),
            throttle: self.throttle.unwrap_or(seconds(30)),
            eager: self.eager.unwrap_or(Eager::Off).checked()?,
            fail_safe: self.fail_safe.unwrap_or(true),
            background_completion: self.background_completion.unwrap_or(true),
            abort_when_abandoned: self.abort_when_abandoned.unwrap_or(false),
            distributed: self.distributed.unwrap_or(true),
            codec: self.codec,
        })
    }
}

#[cfg(feature = "config")]
impl From<&EntryOptions> for crate::config::PolicyConfig {
    /// As configuration would say it.
    fn from(options: &EntryOptions) -> Self {
        let (stale_for, hard_ttl) = match options.stale {
            Some(StaleWindow::Beyond(beyond)) => (Some(beyond), None),
            Some(StaleWindow::Until(hard)) => (None, Some(hard)),
            None => (None, None),
        };
        Self {
            ttl: options.ttl,
            stale_for,
            hard_ttl,
            jitter: options.jitter,
            negative_ttl: options.negative_ttl,
            error_ttl: options.error_ttl,
            soft_timeout: options.soft_timeout,
            hard_timeout: options.hard_timeout,
            throttle: options.throttle,
            eager: options.eager,
            fail_safe: options.fail_safe,
            background_completion: options.background_completion,
            abort_when_abandoned: options.abort_when_abandoned,
            distributed: options.distributed,
            codec: options.codec.map(|codec| codec.as_str().to_owned()),
            tags: options.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        }
    }
}

impl From<Duration> for EntryOptions {
    fn from(ttl: Duration) -> Self {
        Self::ttl(ttl)
    }
}

impl Eager {
    fn checked(self) -> Result<Self, Error> {
        match self {
            Self::Off => Ok(self),
            Self::After(t) if t > 0.0 && t < 1.0 => Ok(self),
            Self::After(t) => Err(Error::invalid(format!(
                "`eager` after {t} of the TTL; the share lies strictly between 0 and 1"
            ))),
            Self::XFetch(beta) if (0.0..=100.0).contains(&beta) => Ok(self),
            Self::XFetch(beta) => Err(Error::invalid(format!(
                "`eager` with beta {beta}; it lies between 0 and 100"
            ))),
        }
    }
}

/// Complete, checked options: what the engine works with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Policy {
    /// Fresh for this long; zero means "do not store".
    pub(crate) ttl: Duration,
    /// Gone after this long, never less than `ttl`.
    pub(crate) hard_ttl: Duration,
    /// The TTL asked for was above [`MAX_TTL`].
    pub(crate) clamped: bool,
    pub(crate) jitter: f64,
    pub(crate) negative_ttl: Duration,
    /// Zero is off.
    pub(crate) error_ttl: Duration,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Duration,
    pub(crate) throttle: Duration,
    pub(crate) eager: Eager,
    pub(crate) fail_safe: bool,
    pub(crate) background_completion: bool,
    pub(crate) abort_when_abandoned: bool,
    /// Other nodes wait for a load of this one.
    pub(crate) distributed: bool,
    /// `None`: as the cache says.
    pub(crate) codec: Option<Codec>,
}

impl Policy {
    /// This policy with another TTL, as a loader may decide; the stale window keeps its length.
    pub(crate) fn with_ttl(mut self, ttl: Duration) -> Self {
        let window = self.hard_ttl.saturating_sub(self.ttl);
        self.clamped |= ttl > MAX_TTL;
        self.ttl = ttl.min(MAX_TTL);
        self.hard_ttl = self.ttl.saturating_add(window).min(MAX_TTL);
        self
    }
}

fn share(field: &str, value: f64, bounds: std::ops::RangeInclusive<f64>) -> Result<f64, Error> {
    if bounds.contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(format!(
            "`{field}` is {value}; it lies between 0 and 1, 1 excluded"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_leaves_open_comes_from_the_defaults() {
        let defaults = EntryOptions::ttl(minutes(1)).stale_for(hours(1)).jitter(0.0);
        let policy = EntryOptions::ttl(minutes(2)).or(&defaults).resolve().unwrap();
        assert_eq!(policy.ttl, minutes(2));
        assert_eq!(policy.hard_ttl, minutes(62));
        assert_eq!(policy.jitter, 0.0);
        assert_eq!(policy.hard_timeout, seconds(10));
    }

    #[test]
    fn contradictions_and_absurdities_name_the_field_and_the_remedy() {
        #[track_caller]
        fn check(options: &EntryOptions, words: &[&str]) {
            let error = options.check_configuration().expect_err("must be refused");
            assert!(error.is_invalid());
            for word in words {
                assert!(error.to_string().contains(word), "{error} does not say {word}");
            }
        }
        check(
            &EntryOptions::ttl(minutes(5)).hard_ttl(minutes(4)),
            &["`ttl`", "`hard_ttl`", "raise"],
        );
        check(
            &EntryOptions::new()
                .soft_timeout(seconds(3))
                .hard_timeout(seconds(2)),
            &["`soft_timeout` (3s)", "`hard_timeout` (2s)", "lower"],
        );
        check(
            &EntryOptions::new().soft_timeout(seconds(11)),
            &["`soft_timeout`", "`hard_timeout` (10s)"],
        );
        check(&EntryOptions::ttl(Duration::ZERO), &["`ttl`", "zero", "1 ms"]);
        check(&EntryOptions::ttl(days(400 * 365)), &["`ttl`", "365 days"]);
        check(
            &EntryOptions::new().stale_for(days(400)),
            &["stale window", "365 days"],
        );
        check(
            &EntryOptions::new().error_ttl(Duration::ZERO),
            &["`error_ttl`", "zero"],
        );
        check(
            &EntryOptions::new().hard_timeout(Duration::ZERO),
            &["`hard_timeout`", "zero"],
        );
        for bad in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            check(&EntryOptions::new().jitter(bad), &["`jitter`"]);
        }
        for bad in [
            Eager::After(0.0),
            Eager::After(1.0),
            Eager::After(f64::NAN),
            Eager::XFetch(-1.0),
        ] {
            check(&EntryOptions::new().eager(bad), &["`eager`"]);
        }
    }

    #[test]
    fn a_computed_ttl_of_zero_is_kept_and_a_huge_one_is_cut() {
        assert_eq!(
            EntryOptions::ttl(Duration::ZERO).resolve().unwrap().ttl,
            Duration::ZERO
        );
        let huge = EntryOptions::ttl(Duration::MAX)
            .stale_for(Duration::MAX)
            .resolve()
            .unwrap();
        assert_eq!((huge.ttl, huge.hard_ttl, huge.clamped), (MAX_TTL, MAX_TTL, true));
    }

    #[test]
    fn a_loader_that_changes_the_ttl_keeps_the_stale_window() {
        let policy = EntryOptions::ttl(minutes(5))
            .stale_for(hours(1))
            .resolve()
            .unwrap();
        let changed = policy.with_ttl(seconds(1));
        assert_eq!(changed.hard_ttl, hours(1) + seconds(1));
    }
}
