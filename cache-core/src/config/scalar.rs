//! Single values, as files and the environment write them: what is a number in one is text in the other.
//!
//! Each form is a module for `#[serde(with = "..")]` on an `Option`. A value that cannot be read says what it is, and
//! what would be right.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

use super::units;

/// How one kind of value is written.
pub(super) trait Form {
    type Value;
    /// What would be right, after "expected".
    const EXPECTED: &'static str;

    fn text(text: &str) -> Result<Self::Value, String>;

    fn number(number: i128) -> Result<Self::Value, String> {
        Err(format!("`{number}` is not {}", Self::EXPECTED))
    }

    fn fraction(number: f64) -> Result<Self::Value, String> {
        Err(format!("`{number}` is not {}", Self::EXPECTED))
    }

    fn flag(flag: bool) -> Result<Self::Value, String> {
        Err(format!("`{flag}` is not {}", Self::EXPECTED))
    }
}

struct Reader<F>(PhantomData<F>);

impl<'de, F: Form> Visitor<'de> for Reader<F> {
    type Value = Option<F::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        F::text(text).map(Some).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        F::number(number.into()).map(Some).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        F::number(number.into()).map(Some).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        F::fraction(number).map(Some).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        F::flag(flag).map(Some).map_err(E::custom)
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

/// Reads a value of a form.
pub(super) fn read<'de, F: Form, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<F::Value>, D::Error> {
    deserializer.deserialize_any(Reader::<F>(PhantomData))
}

/// A module for `#[serde(with)]` of a form and the way to show it.
macro_rules! form {
    ($(#[$doc:meta])* $module:ident, $value:ty, $form:ty, |$serializer:ident, $shown:ident| $show:expr) => {
        $(#[$doc])*
        pub(super) mod $module {
            use super::*;

            pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<$value>, D::Error> {
                read::<$form, D>(deserializer)
            }

            pub(in crate::config) fn serialize<S: Serializer>(
                value: &Option<$value>,
                $serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match value {
                    Some($shown) => $show,
                    None => $serializer.serialize_none(),
                }
            }
        }
    };
}

form!(
    /// `"5m"`
    span, Duration, Span, |serializer, span| serializer.serialize_str(&units::show_duration(*span))
);
form!(
    /// `"256MiB"`
    size, u64, Size, |serializer, size| serializer.serialize_str(&units::show_size(*size))
);
form!(
    /// A whole number, 0 or above.
    count, u64, Count, |serializer, count| serializer.serialize_u64(*count)
);
form!(
    /// A number.
    ratio, f64, Ratio, |serializer, ratio| serializer.serialize_f64(*ratio)
);
form!(
    /// `true` or `false`
    flag, bool, Flag, |serializer, flag| serializer.serialize_bool(*flag)
);
form!(
    /// Text, also such that looks like a number.
    text, String, Text, |serializer, text| serializer.serialize_str(text)
);

pub(super) struct Span;

impl Form for Span {
    type Value = Duration;
    const EXPECTED: &'static str = "a duration such as \"5m\" or \"250ms\"";

    fn text(text: &str) -> Result<Duration, String> {
        units::duration(text)
    }

    fn number(number: i128) -> Result<Duration, String> {
        Err(format!(
            "`{number}` lacks a unit; write \"{number}s\" for seconds, or ms, m, h, d, w"
        ))
    }
}

pub(super) struct Size;

impl Form for Size {
    type Value = u64;
    const EXPECTED: &'static str = "a size such as \"256MiB\"";

    fn text(text: &str) -> Result<u64, String> {
        units::size(text)
    }

    fn number(number: i128) -> Result<u64, String> {
        u64::try_from(number).map_err(|_| format!("`{number}` is not a size; write one such as \"256MiB\""))
    }
}

pub(super) struct Count;

impl Form for Count {
    type Value = u64;
    const EXPECTED: &'static str = "a whole number, 0 or above";

    fn text(text: &str) -> Result<u64, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("`{text}` is not {}", Self::EXPECTED))
    }

    fn number(number: i128) -> Result<u64, String> {
        u64::try_from(number).map_err(|_| format!("`{number}` is not {}", Self::EXPECTED))
    }
}

pub(super) struct Ratio;

impl Form for Ratio {
    type Value = f64;
    const EXPECTED: &'static str = "a number such as 0.1";

    fn text(text: &str) -> Result<f64, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("`{text}` is not {}", Self::EXPECTED))
    }

    fn number(number: i128) -> Result<f64, String> {
        Ok(number as f64)
    }

    fn fraction(number: f64) -> Result<f64, String> {
        Ok(number)
    }
}

pub(super) struct Flag;

impl Form for Flag {
    type Value = bool;
    const EXPECTED: &'static str = "`true` or `false`";

    fn text(text: &str) -> Result<bool, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("`{text}` is not {}", Self::EXPECTED))
    }

    fn flag(flag: bool) -> Result<bool, String> {
        Ok(flag)
    }
}

pub(super) struct Text;

impl Form for Text {
    type Value = String;
    const EXPECTED: &'static str = "text";

    fn text(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn number(number: i128) -> Result<String, String> {
        Ok(number.to_string())
    }
}

/// A list of texts; in the environment one text with commas.
pub(super) mod list {
    use super::*;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(List)
    }

    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(parts.map(str::to_owned).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                list.push(item);
            }
            Ok(list)
        }
    }
}
