//! Collects mistakes, so that one use of the attribute reports all of them at once.

use proc_macro2::{Span, TokenStream};
use std::fmt::Display;

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Diag {
    errors: Option<syn::Error>,
}

impl Diag {
    /// Notes a mistake at a token.
    pub(crate) fn error(&mut self, at: Span, message: impl Display) {
        self.push(syn::Error::new(at, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.errors {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value, or nothing and its mistake noted.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_none()
    }

    pub(crate) fn into_error(self) -> Option<syn::Error> {
        self.errors
    }

    /// The mistakes as items that do not compile.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.errors
            .map(syn::Error::into_compile_error)
            .unwrap_or_default()
    }
}

/// `: did you mean ..?`, if one of the known names is near; otherwise the list of them.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let nearest = known
        .clone()
        .into_iter()
        .map(|other| (distance(name, other), other))
        .min();
    match nearest {
        Some((distance, other)) if distance <= 1 + other.len() / 4 => format!("; did you mean `{other}`?"),
        Some(_) => {
            let names: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
            format!("; known are {}", names.join(", "))
        }
        None => String::new(),
    }
}

/// How many letters to change, add or drop.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_otherwise_all() {
        let known = ["ttl", "prefix", "tags"];
        assert_eq!(suggestion("prefx", known), "; did you mean `prefix`?");
        assert_eq!(suggestion("tll", known), "; did you mean `ttl`?");
        assert_eq!(suggestion("banana", known), "; known are `ttl`, `prefix`, `tags`");
    }
}
