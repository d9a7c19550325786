//! Sections: a value in the place of one is refused without being quoted, since it may be a URL with a password in it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::{CacheConfig, ClusterConfig, PolicyConfig, RedisConfig, SentinelConfig, TlsConfig, WarmerConfig};

/// What consists of fields.
pub(super) trait Section: for<'de> Deserialize<'de> {
    /// A field that it may have, for those who wrote a value instead.
    const FIELD: &'static str;
}

macro_rules! sections {
    ($($section:ident $field:literal;)+) => {
        $(impl Section for $section { const FIELD: &'static str = $field; })+
    };
}

sections! {
    RedisConfig "url";
    SentinelConfig "service";
    ClusterConfig "urls";
    TlsConfig "authorities_file";
    CacheConfig "memory_bytes";
    PolicyConfig "ttl";
    WarmerConfig "every";
}

/// A section that may be left out.
pub(super) fn optional<'de, T: Section, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(One(PhantomData))
}

/// Sections by their names.
pub(super) fn named<'de, T: Section, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    deserializer.deserialize_any(Named(PhantomData))
}

/// Refuses every value that is no map, by what belongs there.
macro_rules! no_values {
    ($remedy:expr) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom($remedy))
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(E::custom($remedy))
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Err(E::custom($remedy))
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Err(E::custom($remedy))
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Err(E::custom($remedy))
        }
    };
}

struct One<T>(PhantomData<T>);

impl<'de, T: Section> Visitor<'de> for One<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a section with fields such as `{}`", T::FIELD)
    }

    no_values!(format!(
        "a value stands where a section belongs; write its fields, such as `{}`",
        T::FIELD
    ));

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Some)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Section> DeserializeSeed<'de> for One<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

struct Named<T>(PhantomData<T>);

impl<'de, T: Section> Visitor<'de> for Named<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sections by name, with fields such as `{}`", T::FIELD)
    }

    no_values!(format!(
        "a value stands where sections with names belong; write a name below it, and there its fields, such as `{}`",
        T::FIELD
    ));

    fn visit_map<A: MapAccess<'de>>(self, mut sections: A) -> Result<Self::Value, A::Error> {
        let mut named = BTreeMap::new();
        while let Some(name) = sections.next_key::<String>()? {
            // An empty one is not the same as none: a cache with all defaults.
            if let Some(section) = sections.next_value_seed(One(PhantomData))? {
                named.insert(name, section);
            }
        }
        Ok(named)
    }
}
