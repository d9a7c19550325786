//! System E, the model: what it says about a text is asked once.

use std::fmt;

use cache_core::key::{KeyPart, PartWriter};
use cache_core::{Cache, cached};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::upstream::{Client, UpstreamError};

/// A language model that takes a second and money for each answer.
#[derive(Clone, Debug)]
pub struct Model {
    cache: Cache,
    exchange: Client,
}

#[cached(cache = self.cache, skip(self))]
impl Model {
    /// What the model says about `input`: any JSON. The key is `llm:sentiment:#<sha256 of the input>`, so the text itself,
    /// long or secret, stands nowhere.
    ///
    /// # Errors
    ///
    /// The model's.
    #[cached(policy = "llm", key = "llm:{kind}:{input}", secret(input), tags = ["llm"])]
    pub async fn analysis(&self, kind: Kind, input: &str) -> Result<Value, UpstreamError> {
        self.exchange.post(&format!("/model/{kind}"), input).await
    }
}

impl Model {
    /// Answers in `cache`, asked of `exchange`.
    pub fn new(cache: Cache, exchange: Client) -> Self {
        Self { cache, exchange }
    }
}

/// What is asked about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// How it feels.
    Sentiment,
    /// What it says in short.
    Summary,
    /// What could go wrong.
    Risk,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sentiment => "sentiment",
            Self::Summary => "summary",
            Self::Risk => "risk",
        })
    }
}

impl KeyPart for Kind {
    fn write(&self, out: PartWriter<'_>) {
        out.display(self);
    }
}
