//! Configuration in environment variables.
//!
//! `CACHE_` and the path of a field in capitals, its sections joined by two underscores:
//! `CACHE_CACHES__MARKET__MEMORY_BYTES=256MiB`. A name with other characters than letters, digits and underscores, such
//! as that of a policy, is found by its likeness: `CACHE_POLICIES__VERY_LONG__TTL` is `policies.very-long.ttl` if that
//! stands in a file.

use serde_json::{Map, Value};

use crate::error::Error;

/// A field that a variable sets.
#[derive(Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) variable: String,
    pub(super) path: Vec<String>,
    value: String,
}

/// What these variables set; those of others are left alone.
pub(super) fn settings(
    variables: impl IntoIterator<Item = (String, String)>,
    sections: &[&str],
) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for (variable, value) in variables {
        if let Some(path) = path_of(&variable, sections)?
            && !value.is_empty()
        {
            settings.push(Setting {
                variable,
                path,
                value,
            });
        }
    }
    // `REDIS_..` sorts behind `CACHE_..`; what is set for the cache alone is meant to win over it.
    settings.sort_by_key(|setting| (setting.variable.starts_with("CACHE_"), setting.variable.clone()));
    Ok(settings)
}

/// Variables that many deployments have already, and the fields of `redis` that they mean.
const COMMON: [(&str, &str); 2] = [("REDIS_URL", "url"), ("REDIS_ENABLED", "enabled")];

fn path_of(variable: &str, sections: &[&str]) -> Result<Option<Vec<String>>, Error> {
    if let Some((_, field)) = COMMON.iter().find(|(name, _)| *name == variable) {
        return Ok(Some(vec!["redis".to_owned(), (*field).to_owned()]));
    }
    let Some(rest) = variable.strip_prefix("CACHE_") else {
        return Ok(None);
    };
    let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
    if path.len() > 1 {
        return match sections.contains(&path[0].as_str()) {
            true => Ok(Some(path)),
            false => Err(Error::invalid(format!(
                "`{variable}`: there is no section `{}`; there are {}",
                path[0],
                sections.join(", ")
            ))),
        };
    }
    // `CACHE_DIR` may be anybody's; this one is nearly ours.
    let meant = sections
        .iter()
        .find(|section| path[0].starts_with(&format!("{section}_")));
    match meant {
        Some(section) => Err(Error::invalid(format!(
            "`{variable}`: sections are joined by two underscores; write `CACHE_{}__{}`",
            section.to_uppercase(),
            &rest[section.len() + 1..]
        ))),
        None => Ok(None),
    }
}

/// Puts a setting into the tree; its path becomes the one that the tree has. `Err` if a value stands where a section
/// would have to.
pub(super) fn apply(tree: &mut Map<String, Value>, setting: &mut Setting) -> Result<(), Error> {
    let mut section = tree;
    let Some((last, outer)) = setting.path.split_last_mut() else {
        return Ok(());
    };
    for part in outer {
        *part = existing(section, part);
        let inner = section
            .entry(part.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        section = match inner {
            Value::Object(inner) => inner,
            _ => {
                return Err(Error::invalid(format!(
                    "`{}`: `{part}` is a value, not a section",
                    setting.variable
                )));
            }
        };
    }
    *last = existing(section, last);
    section.insert(last.clone(), Value::String(setting.value.clone()));
    Ok(())
}

/// The name in this section that a variable means by `part`: that very one, or one that looks the same in capitals.
fn existing(section: &Map<String, Value>, part: &str) -> String {
    let plain = |name: &str| -> String {
        let letter = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        };
        name.chars().map(letter).collect()
    };
    let known = section.keys().find(|name| **name == *part);
    let alike = || section.keys().find(|name| plain(name) == plain(part));
    known.or_else(alike).cloned().unwrap_or_else(|| part.to_owned())
}
