//! Where configuration comes from: [`Sources`].

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::check::Problem;
use super::environment::{self, Setting};
use super::{Config, SECTIONS};
use crate::error::Error;

/// Sources of a [`Config`]: later ones win over earlier ones, field by field. Lists are replaced, not joined.
#[derive(Default)]
#[must_use = "nothing is read before `read`"]
pub struct Sources {
    tree: Map<String, Value>,
    variables: Vec<(String, String)>,
}

impl Config {
    /// Begins with nothing, which means one default for everything.
    pub fn sources() -> Sources {
        Sources::default()
    }

    /// From the environment alone.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field, its value and the remedy.
    pub fn from_environment() -> Result<Self, Error> {
        Self::sources().environment().read()
    }
}

impl Sources {
    /// From TOML.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is not TOML, naming the line but never quoting it, since a
    /// password may stand there.
    #[cfg(feature = "toml")]
    pub fn toml(self, text: &str) -> Result<Self, Error> {
        let tree = toml::from_str::<Value>(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
            Error::invalid(format!(
                "line {line} is not TOML: {}",
                error.message().lines().next().unwrap_or_default()
            ))
        })?;
        self.merge(tree)
    }

    /// From JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is not JSON.
    pub fn json(self, text: &str) -> Result<Self, Error> {
        let tree = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("this is not JSON: {error}")))?;
        self.merge(tree)
    }

    /// From whatever serde reads.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) with what the format says.
    pub fn serde<'de, D: serde::Deserializer<'de>>(self, source: D) -> Result<Self, Error> {
        let tree = Value::deserialize(source).map_err(|error| Error::invalid(error.to_string()))?;
        self.merge(tree)
    }

    /// From a file, by its ending: `.toml` (feature `toml`) or `.json`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if it cannot be read, or has another ending.
    pub fn file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let in_file = |why: &dyn std::fmt::Display| Error::invalid(format!("`{}`: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| in_file(&error))?;
        let sources = match path.extension().and_then(|ending| ending.to_str()) {
            #[cfg(feature = "toml")]
            Some("toml") => self.toml(&text),
            #[cfg(not(feature = "toml"))]
            Some("toml") => Err(Error::invalid("TOML needs the feature `toml`")),
            Some("json") => self.json(&text),
            _ => Err(Error::invalid("its ending says neither TOML nor JSON")),
        };
        sources.map_err(|error| in_file(&error))
    }

    /// From the environment of the process: `CACHE_CACHES__MARKET__MEMORY_BYTES=256MiB`, `REDIS_URL=redis://..`.
    ///
    /// `REDIS_URL` is `redis.url`, and `REDIS_ENABLED` is `redis.enabled`; `CACHE_REDIS__URL` and `CACHE_REDIS__ENABLED`
    /// win over them. Empty variables count as not set. Variables that
    /// begin with `CACHE_` and have no two underscores belong to others.
    pub fn environment(self) -> Self {
        let readable = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.variables(readable)
    }

    /// From these variables, as if they were the environment.
    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// Reads everything, and checks what can be checked without building.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the path of the field, its value and the remedy.
    pub fn read(mut self) -> Result<Config, Error> {
        let mut settings = environment::settings(std::mem::take(&mut self.variables), SECTIONS)?;
        for setting in &mut settings {
            environment::apply(&mut self.tree, setting)?;
        }
        let config: Config = serde_path_to_error::deserialize(Value::Object(self.tree)).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." {
                "the configuration".to_owned()
            } else {
                path
            };
            let problem = Problem::whole_of(&path, error.inner().to_string());
            problem.set_by(variable(&path, &settings))
        })?;
        config.check().map_err(|problem| {
            let variable = variable(problem.path(), &settings);
            problem.set_by(variable)
        })?;
        Ok(config)
    }

    fn merge(mut self, tree: Value) -> Result<Self, Error> {
        let Value::Object(tree) = tree else {
            return Err(Error::invalid("the configuration is not made of sections"));
        };
        overlay(&mut self.tree, tree);
        Ok(self)
    }
}

impl std::fmt::Debug for Sources {
    /// What stands in them may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

fn overlay(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Object(under)), Value::Object(over)) => overlay(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

/// The variable that set the field.
fn variable<'s>(path: &str, settings: &'s [Setting]) -> Option<&'s str> {
    let setting = settings
        .iter()
        .rev()
        .find(|setting| setting.path.join(".") == path);
    setting.map(|setting| setting.variable.as_str())
}
