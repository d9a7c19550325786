//! Durations as they are written: `"5m"`, `"1h30m"`, `"250ms"`, a number of seconds, or any expression.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{Expr, Lit};

/// A duration in an option.
#[derive(Clone)]
pub(crate) enum Period {
    /// Known to the macro, in milliseconds.
    Fixed(u64, Span),
    /// Known at run time.
    Expr(Box<Expr>),
}

impl Period {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Fixed(_, span) => *span,
            Self::Expr(expr) => expr.span(),
        }
    }

    /// An expression of type `Duration`.
    pub(crate) fn expression(&self) -> TokenStream {
        match self {
            Self::Fixed(millis, _) => quote!(::core::time::Duration::from_millis(#millis)),
            Self::Expr(expr) => expr.to_token_stream(),
        }
    }
}

impl Parse for Period {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Self::of(input.parse()?)
    }
}

impl Period {
    pub(crate) fn of(expr: Expr) -> syn::Result<Self> {
        let span = expr.span();
        let fixed = |millis: Result<u64, String>| match millis {
            Ok(millis) => Ok(Self::Fixed(millis, span)),
            Err(message) => Err(syn::Error::new(span, message)),
        };
        match &expr {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => fixed(parse(&text.value())),
                Lit::Int(seconds) if seconds.suffix().is_empty() => fixed(
                    seconds
                        .base10_parse::<u64>()
                        .map_err(|_| TOO_LONG.to_owned())
                        .and_then(|seconds| bounded(seconds.checked_mul(1_000))),
                ),
                _ => fixed(Err(
                    "a duration is a text such as \"5m\" or \"1h30m\", a whole number of seconds, or an expression of type `Duration`"
                        .to_owned(),
                )),
            },
            Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => {
                fixed(Err("a duration is not negative".to_owned()))
            }
            _ => Ok(Self::Expr(Box::new(expr))),
        }
    }
}

/// Milliseconds of a text: numbers with units, largest first by habit.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("the duration is empty; write one such as \"5m\"".to_owned());
    }
    if rest.starts_with('-') {
        return Err("a duration is not negative".to_owned());
    }
    let mut total = Some(0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() || unit.is_empty() {
            return Err(format!(
                "`{text}` is not a duration; write whole numbers with a unit each: \"90s\", \"1h30m\", \"250ms\""
            ));
        }
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is not a unit; there are ms, s, m, h, d and w"));
        };
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*millis));
        total = total.and_then(|total| total.checked_add(part?));
        rest = tail.trim_start();
    }
    bounded(total)
}

fn bounded(millis: Option<u64>) -> Result<u64, String> {
    millis
        .filter(|millis| *millis <= MAX_MILLIS)
        .ok_or_else(|| TOO_LONG.to_owned())
}

const UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// The engine keeps nothing longer than a year.
const MAX_MILLIS: u64 = 365 * 86_400_000;

const TOO_LONG: &str = "the duration is longer than 365 days, which nothing is kept for";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_whole_numbers_with_units() {
        #[track_caller]
        fn check(text: &str, expected: Result<u64, &str>) {
            match (parse(text), expected) {
                (Ok(millis), Ok(expected)) => assert_eq!(millis, expected),
                (Err(message), Err(word)) => assert!(message.contains(word), "{message}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        check("5m", Ok(300_000));
        check("1h30m", Ok(5_400_000));
        check("1h 30m", Ok(5_400_000));
        check("250ms", Ok(250));
        check("1w", Ok(604_800_000));
        check("0s", Ok(0));
        check("365d", Ok(MAX_MILLIS));
        check("", Err("empty"));
        check("-1s", Err("negative"));
        check("5", Err("unit"));
        check("m", Err("not a duration"));
        check("1.5h", Err("not a duration"));
        check("5 m", Err("not a duration"));
        check("5min", Err("`min`"));
        check("1e300d", Err("`e`"));
        check("366d", Err("365"));
        check("99999999999999999999d", Err("365"));
        check("18446744073709551615w", Err("365"));
    }
}
