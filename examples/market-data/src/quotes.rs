//! System D: a hit ratio that was 31.76 %, raised.
//!
//! What the toolkit does about it: one key per fact, whoever asks and with whatever parameters; a time to live by how
//! fast the fact ages, from the configuration; refresh ahead of expiry for what is in use (`eager`); old facts while new
//! ones are fetched (`stale_for`, `soft_timeout`); one load for all who ask at once, with a lock that dies with its
//! holder; and warmers for what will be asked for.

use cache_core::key::{KeyPart, PartWriter};
use cache_core::{Cache, CacheKey, EntryOptions, Error, LoadError, Loaded, TagSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::User;
use crate::candles::Symbol;
use crate::upstream::{Client, UpstreamError};

/// How fast a fact ages. Each class is a policy of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// What traders look at: a minute.
    RealTime,
    /// Prices: five minutes.
    Price,
    /// Analyses: half an hour.
    Analysis,
    /// News: an hour.
    News,
    /// History: two hours.
    Historical,
    /// Balance sheets: a day.
    Fundamentals,
    /// What follows from all that: half an hour.
    Insights,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RealTime,
        Self::Price,
        Self::Analysis,
        Self::News,
        Self::Historical,
        Self::Fundamentals,
        Self::Insights,
    ];

    /// The name of the class and of its policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RealTime => "real-time",
            Self::Price => "price",
            Self::Analysis => "analysis",
            Self::News => "news",
            Self::Historical => "historical",
            Self::Fundamentals => "fundamentals",
            Self::Insights => "insights",
        }
    }
}

impl KeyPart for Class {
    fn write(&self, out: PartWriter<'_>) {
        out.text(self.as_str());
    }
}

/// What is known about symbols. Clones share the cache.
#[derive(Clone, Debug)]
pub struct Quotes {
    cache: Cache,
    exchange: Client,
}

impl Quotes {
    /// Facts in `cache`, asked of `exchange`.
    pub fn new(cache: Cache, exchange: Client) -> Self {
        Self { cache, exchange }
    }

    /// A fact about a symbol.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing older stands in.
    pub async fn read(&self, class: Class, symbol: &Symbol) -> Result<Loaded<Value>, UpstreamError> {
        let key = CacheKey::build("quotes", (class, symbol)).map_err(Error::from)?;
        let tags = TagSet::new([format!("symbol:{symbol}"), "market".to_owned()]).map_err(Error::from)?;
        let options = EntryOptions::new().policy(class.as_str()).tags(tags);
        let exchange = self.exchange.clone();
        let path = format!("/facts/{}/{symbol}", class.as_str());
        let load = |_| async move { exchange.get(&path).await };
        self.cache
            .get_or_load(&key, options, load)
            .await
            .map_err(LoadError::into_error)
    }
}

/// What is worth loading before anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The ten symbols that are asked for most.
    TopSymbols,
    /// What a user watches.
    Watchlist(u64),
    /// What moves most today.
    Movers,
}

impl Quotes {
    /// The symbols of a list.
    ///
    /// # Errors
    ///
    /// The exchange's.
    pub async fn wanted(&self, what: Wanted) -> Result<Vec<Symbol>, UpstreamError> {
        match what {
            Wanted::TopSymbols => self.exchange.get("/top").await,
            Wanted::Watchlist(user) => {
                let user: User = self.exchange.get(&format!("/users/{user}")).await?;
                Ok(user.watchlist)
            }
            Wanted::Movers => self.exchange.get("/movers").await,
        }
    }
}
