//! Named policies: how entries of one kind are kept.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

use super::check::{Problem, at_most, positive};
use super::scalar::{self, Form};
use crate::error::Error;
use crate::options::{Eager, EntryOptions, MAX_TTL};
use crate::tag::TagSet;

/// A named policy, or TTL class: [`EntryOptions`] as configuration. What it leaves open comes from the cache's defaults.
///
/// ```toml
/// [policies.medium]
/// ttl = "30m"
/// stale_for = "1h"
/// eager = "after 0.8"
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// [`EntryOptions::ttl`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// [`EntryOptions::stale_for`]; not together with `hard_ttl`.
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub stale_for: Option<Duration>,
    /// [`EntryOptions::hard_ttl`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub hard_ttl: Option<Duration>,
    /// [`EntryOptions::jitter`].
    #[serde(with = "scalar::ratio", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// [`EntryOptions::negative_ttl`]; `"0s"` keeps none.
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub negative_ttl: Option<Duration>,
    /// [`EntryOptions::error_ttl`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub error_ttl: Option<Duration>,
    /// [`EntryOptions::soft_timeout`]; needs `stale_for` or `hard_ttl`. `"0s"` is stale-while-revalidate.
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub soft_timeout: Option<Duration>,
    /// [`EntryOptions::hard_timeout`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub hard_timeout: Option<Duration>,
    /// [`EntryOptions::throttle`].
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Duration>,
    /// [`EntryOptions::eager`]: `"off"`, `"after 0.8"`, `"xfetch"` or `"xfetch 1.5"`.
    #[serde(with = "eager", skip_serializing_if = "Option::is_none")]
    pub eager: Option<Eager>,
    /// [`EntryOptions::fail_safe`].
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub fail_safe: Option<bool>,
    /// [`EntryOptions::background_completion`].
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub background_completion: Option<bool>,
    /// [`EntryOptions::abort_when_abandoned`].
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub abort_when_abandoned: Option<bool>,
    /// [`EntryOptions::distributed`].
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub distributed: Option<bool>,
    /// [`EntryOptions::codec`]: `"json"`, `"msgpack"` or `"postcard"`.
    #[serde(with = "scalar::text", skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// [`EntryOptions::tags`].
    #[serde(
        deserialize_with = "scalar::list::deserialize",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tags: Vec<String>,
}

impl PolicyConfig {
    /// The policy as options of a call.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for what contradicts itself, with the field, its value and the remedy.
    pub fn options(&self) -> Result<EntryOptions, Error> {
        self.checked().map_err(|problem| problem.at("policy"))
    }

    pub(super) fn checked(&self) -> Result<EntryOptions, Problem> {
        self.check_bounds()?;
        self.check_combinations()?;
        let tags = TagSet::new(self.tags.iter().map(String::as_str))
            .map_err(|error| Problem::new("tags", format!("{:?}", self.tags), error.to_string()))?;
        let mut options = self.assemble().tags(tags);
        if let Some(name) = &self.codec {
            options = options.codec(super::cache::codec(name)?);
        }
        // What is wrong beyond the fields that are looked at above names itself.
        options
            .check_configuration()
            .map_err(|error| Problem::whole(error.to_string()))?;
        Ok(options)
    }

    fn check_bounds(&self) -> Result<(), Problem> {
        for (field, value) in [
            ("ttl", self.ttl),
            ("hard_ttl", self.hard_ttl),
            ("error_ttl", self.error_ttl),
            ("hard_timeout", self.hard_timeout),
        ] {
            positive(field, value, "leave it out, or give it at least \"1ms\"")?;
        }
        for (field, value) in [
            ("ttl", self.ttl),
            ("stale_for", self.stale_for),
            ("hard_ttl", self.hard_ttl),
            ("negative_ttl", self.negative_ttl),
            ("error_ttl", self.error_ttl),
            ("throttle", self.throttle),
            ("hard_timeout", self.hard_timeout),
        ] {
            at_most(field, value, MAX_TTL, "nothing is kept beyond \"365d\"")?;
        }
        match self.jitter {
            Some(share) if !(0.0..1.0).contains(&share) => Err(Problem::new(
                "jitter",
                share,
                "a share of the TTL lies between 0 and 1, 1 excluded; 0.1 is the default",
            )),
            _ => Ok(()),
        }
    }

    fn check_combinations(&self) -> Result<(), Problem> {
        let shown = super::units::show_duration;
        if let (Some(_), Some(hard)) = (self.stale_for, self.hard_ttl) {
            let remedy = "it says the same as `stale_for` from the other end; leave one of them out";
            return Err(Problem::new("hard_ttl", shown(hard), remedy));
        }
        if let (Some(ttl), Some(hard)) = (self.ttl, self.hard_ttl)
            && hard < ttl
        {
            let remedy = format!("it is below `ttl` ({}); raise it, or lower `ttl`", shown(ttl));
            return Err(Problem::new("hard_ttl", shown(hard), remedy));
        }
        let Some(soft) = self.soft_timeout else {
            return Ok(());
        };
        if self.fail_safe == Some(false) {
            let remedy = "it serves stale values, which `fail_safe = false` forbids; leave one of them out";
            return Err(Problem::new("soft_timeout", shown(soft), remedy));
        }
        match self.hard_timeout {
            Some(hard) if soft >= hard => Err(Problem::new(
                "soft_timeout",
                shown(soft),
                format!(
                    "it is not below `hard_timeout` ({}); lower it, or raise that",
                    shown(hard)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn assemble(&self) -> EntryOptions {
        let mut options = EntryOptions::new();
        macro_rules! take {
            ($($field:ident => $setter:ident,)+) => {
                $(if let Some(value) = self.$field { options = options.$setter(value); })+
            };
        }
        take! {
            ttl => with_ttl, stale_for => stale_for, hard_ttl => hard_ttl, jitter => jitter,
            negative_ttl => negative_ttl, error_ttl => error_ttl, soft_timeout => soft_timeout,
            hard_timeout => hard_timeout, throttle => throttle, eager => eager, fail_safe => fail_safe,
            background_completion => background_completion, abort_when_abandoned => abort_when_abandoned,
            distributed => distributed,
        }
        options
    }
}

/// `"after 0.8"`
mod eager {
    use super::*;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Eager>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| read(&text).map_err(D::Error::custom)).transpose()
    }

    pub(super) fn serialize<S: Serializer>(eager: &Option<Eager>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = eager.map(|eager| match eager {
            Eager::Off => "off".to_owned(),
            Eager::After(share) => format!("after {share}"),
            Eager::XFetch(beta) => format!("xfetch {beta}"),
        });
        text.serialize(serializer)
    }

    fn read(text: &str) -> Result<Eager, String> {
        let wrong = |what: &str| format!("`{text}` {what}; write \"off\", \"after 0.8\" or \"xfetch\"");
        let mut words = text.split_whitespace();
        let (word, number, none) = (words.next(), words.next(), words.next());
        let number = number
            .map(scalar::Ratio::text)
            .transpose()
            .map_err(|_| wrong("has no number where one belongs"))?;
        match (word, number, none) {
            (Some("off"), None, None) => Ok(Eager::Off),
            (Some("after"), Some(share), None) if share > 0.0 && share < 1.0 => Ok(Eager::After(share)),
            (Some("after"), Some(_), None) => Err(wrong("is not a share strictly between 0 and 1")),
            (Some("xfetch"), number, None) if (0.0..=100.0).contains(&number.unwrap_or(1.0)) => {
                Ok(Eager::XFetch(number.unwrap_or(1.0)))
            }
            (Some("xfetch"), Some(_), None) => Err(wrong("has a factor that is not between 0 and 100")),
            _ => Err(wrong("is not a way to refresh ahead")),
        }
    }
}
