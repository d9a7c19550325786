//! What is wrong with a field: where it stands, what it says, and the remedy.

use std::fmt;
use std::time::Duration;

use super::units::show_duration;
use crate::error::Error;

/// A field that cannot be accepted; its path grows on the way up.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    path: String,
    value: Option<String>,
    remedy: String,
}

impl Problem {
    /// `field` says `value`; `remedy` tells why that cannot be, and what to do.
    pub(super) fn new(field: &str, value: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self {
            path: field.to_owned(),
            value: Some(value.to_string()),
            remedy: remedy.into(),
        }
    }

    /// The section as a whole is wrong.
    pub(super) fn whole(remedy: impl Into<String>) -> Self {
        Self::whole_of("", remedy)
    }

    /// A field is wrong whose value is told by the remedy, or must not be told.
    pub(super) fn whole_of(field: &str, remedy: impl Into<String>) -> Self {
        Self {
            path: field.to_owned(),
            value: None,
            remedy: remedy.into(),
        }
    }

    /// The same, one section further out.
    pub(super) fn within(mut self, section: &str) -> Self {
        self.path = if self.path.is_empty() {
            section.to_owned()
        } else {
            format!("{section}.{}", self.path)
        };
        self
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The same, with the variable of the environment that said so.
    pub(super) fn set_by(mut self, variable: Option<&str>) -> Self {
        if let Some(variable) = variable {
            self.remedy.push_str(&format!(" (set by `{variable}`)"));
        }
        self
    }

    /// The error of a configuration of which this is a part.
    pub(super) fn at(self, section: &str) -> Error {
        self.within(section).into()
    }
}

impl From<Problem> for Error {
    fn from(Problem { path, value, remedy }: Problem) -> Self {
        Error::invalid(match value {
            Some(value) => format!("`{path}` is `{value}`: {remedy}"),
            None => format!("`{path}`: {remedy}"),
        })
    }
}

pub(super) fn positive(field: &str, value: Option<Duration>, remedy: &str) -> Result<(), Problem> {
    match value {
        Some(Duration::ZERO) => Err(Problem::new(field, "0s", remedy)),
        _ => Ok(()),
    }
}

pub(super) fn at_most(
    field: &str,
    value: Option<Duration>,
    limit: Duration,
    remedy: &str,
) -> Result<(), Problem> {
    match value {
        Some(value) if value > limit => Err(Problem::new(field, show_duration(value), remedy)),
        _ => Ok(()),
    }
}

/// What stands in a file that a field names.
#[cfg(feature = "redis")]
pub(super) fn file(field: &str, path: &std::path::Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| {
        let remedy = format!("the file cannot be read ({error}); correct the path, or permit reading it");
        Problem::new(field, path.display(), remedy)
    })
}
