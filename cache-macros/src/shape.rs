//! What of a function's output is the value.

use proc_macro2::Ident;
use quote::format_ident;
use syn::Type;

use crate::args::Args;
use crate::function::{last_segment, type_arguments};

/// What of the output is the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Maybe,
    Fallible,
    FallibleMaybe,
}

impl Shape {
    pub(crate) fn of(output: &Type, args: &Args) -> Self {
        let segment = last_segment(output);
        let named = |name: &str| segment.is_some_and(|segment| segment.ident == name);
        let inner_is_option = segment
            .and_then(|segment| type_arguments(segment).first().and_then(|ty| last_segment(ty)))
            .is_some_and(|inner| inner.ident == "Option");
        let fallible = args.result.unwrap_or_else(|| named("Result"));
        let maybe = args.option.unwrap_or(if fallible {
            inner_is_option
        } else {
            named("Option")
        });
        match (fallible, maybe) {
            (true, true) => Self::FallibleMaybe,
            (true, false) => Self::Fallible,
            (false, true) => Self::Maybe,
            (false, false) => Self::Plain,
        }
    }

    /// The types of the value and the error, where the result is written with both: an alias may mean anything.
    pub(crate) fn written(self, output: &Type) -> Option<(&Type, Option<&Type>)> {
        let of = |ty: &'static str, output| {
            let segment = last_segment(output).filter(|segment| segment.ident == ty)?;
            Some(type_arguments(segment))
        };
        let option = |output| match of("Option", output)?[..] {
            [value] => Some(value),
            _ => None,
        };
        let result = |output| match of("Result", output)?[..] {
            [value, error] => Some((value, Some(error))),
            _ => None,
        };
        match self {
            Self::Plain => Some((output, None)),
            Self::Maybe => Some((option(output)?, None)),
            Self::Fallible => result(output),
            Self::FallibleMaybe => {
                let (value, error) = result(output)?;
                Some((option(value)?, error))
            }
        }
    }

    pub(crate) fn is_fallible(self) -> bool {
        matches!(self, Self::Fallible | Self::FallibleMaybe)
    }

    pub(crate) fn is_optional(self) -> bool {
        matches!(self, Self::Maybe | Self::FallibleMaybe)
    }

    pub(crate) fn marker(self) -> Ident {
        format_ident!(
            "{}",
            match self {
                Self::Plain => "Plain",
                Self::Maybe => "Maybe",
                Self::Fallible => "Fallible",
                Self::FallibleMaybe => "FallibleMaybe",
            }
        )
    }
}
