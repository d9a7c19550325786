//! Attributes that stand beside `#[cached]`, and where they go.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Attribute;

/// What the function keeps of its attributes. Lints are about the body, which moves; the signature stays, so what they
/// allow or expect of it is still allowed.
pub(crate) fn wrapper_attrs(attrs: &[Attribute]) -> TokenStream {
    let kept = attrs.iter().filter_map(|attr| {
        if !belongs_to_body(attr) {
            return Some(attr.to_token_stream());
        }
        let is_lenient = attr.path().is_ident("allow") || attr.path().is_ident("expect");
        match &attr.meta {
            syn::Meta::List(lints) if is_lenient => {
                let lints = &lints.tokens;
                Some(quote!(#[allow(#lints)]))
            }
            _ => None,
        }
    });
    // A parameter that the body does not use is part of the key all the same.
    quote!(#(#kept)* #[allow(clippy::used_underscore_binding)])
}

/// Attributes about the code in the body, which moves.
pub(crate) fn belongs_to_body(attr: &Attribute) -> bool {
    ["allow", "expect", "warn", "deny", "forbid"]
        .iter()
        .any(|lint| attr.path().is_ident(lint))
}

/// `cfg`, which holds for all that comes of a function.
pub(crate) fn is_condition(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr")
}
