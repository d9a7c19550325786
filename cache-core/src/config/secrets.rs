//! Secrets in configuration: passwords, and URLs that may carry one. What is wrong with them is said without them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

use crate::secret::{REDACTED, Secret};

impl<'de> Deserialize<'de> for Secret {
    /// Reads text; also a number or a flag, as passwords look like them where quotes were forgotten.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Every scalar is taken, or refused without being quoted: the stock messages would show it.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret, as text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        if text == REDACTED {
            return Err(E::custom(
                "this is what stands for a secret where it is shown; write the secret itself",
            ));
        }
        Ok(Secret::from(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Secret, E> {
        Ok(Secret::from(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Secret, E> {
        Ok(Secret::from(number.to_string()))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Secret, E> {
        Ok(Secret::from(flag.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(
            "a secret stands in quotes; a number with a fraction may not come out as it was written",
        ))
    }
}

/// A URL that may carry a password. Shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Secret);

impl SecretUrl {
    /// The URL with everything in it.
    #[cfg(feature = "redis")]
    pub(crate) fn expose(&self) -> String {
        self.0.expose_text()
    }

    /// Scheme and place; who logs in, with what, and every parameter is left out.
    fn shown(&self) -> String {
        let text = self.0.expose_text();
        let Some((scheme, rest)) = text.split_once("://") else {
            return REDACTED.to_owned();
        };
        // A password may contain what ends an authority elsewhere, and a parameter may be a password with an `@`: where
        // the login ends is then anybody's guess, and nothing is shown.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, _)) if login.contains(['?', '#']) => return format!("{scheme}://{REDACTED}"),
            Some((_, place)) => ("***@", place),
            None => ("", rest),
        };
        let place = place.split(['?', '#']).next().unwrap_or_default();
        format!("{scheme}://{login}{place}")
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        Self(Secret::from(url))
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_what_is_secret() {
        for (url, shown) in [
            ("redis://h:6379/0", "redis://h:6379/0"),
            ("rediss://u:canary@h/1?x=canary", "rediss://***@h/1"),
            ("redis://u:can@ary@h", "redis://***@h"),
            ("redis://u:can/ary@h", "redis://***@h"),
            ("unix:///run/redis.sock?pass=canary", "unix:///run/redis.sock"),
            ("unix:///run/redis.sock?pass=c@canary", "unix://***"),
            ("canary", "***"),
        ] {
            let url = SecretUrl::from(url);
            assert_eq!(
                (url.to_string().as_str(), format!("{url:?}").as_str()),
                (shown, shown)
            );
        }
    }
}
