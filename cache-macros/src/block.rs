//! `#[cached]` on an `impl` block: expands the cached functions in it, and places their companions.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser as _;
use syn::{Attribute, ImplItem, ItemImpl, Meta};

use crate::args::Args;
use crate::diag::Diag;
use crate::function::{Function, last_segment};
use crate::model::{CachedFn, Place};
use crate::tokens::without_fragments;

/// The block with its cached functions expanded, or as it was with the mistakes beside it.
pub(crate) fn expand(block: &ItemImpl, args: &Args, diag: &mut Diag) -> TokenStream {
    args.check_block(diag);
    let type_name =
        last_segment(&block.self_ty).map_or_else(|| "impl".to_owned(), |segment| segment.ident.to_string());
    let place = Place::Block {
        type_name,
        generics: block.generics.clone(),
        of_trait: block.trait_.is_some(),
    };
    let (mut expanded, mut plain, mut companions) = (block.clone(), block.clone(), TokenStream::new());
    let mut found = false;
    let mut forms = Vec::new();
    for (index, item) in block.items.iter().enumerate() {
        let Some((attr, function)) = cached_function(item) else {
            continue;
        };
        found = true;
        plain.items[index] = ImplItem::Verbatim(function.to_token_stream());
        let own = arguments(&attr, diag).within(args);
        if let Some(cached) = CachedFn::new(function, own, place.clone(), diag) {
            check_form(&cached, &mut forms, diag);
            if let Some((wrapper, beside)) = crate::functions(cached, diag) {
                expanded.items[index] = ImplItem::Verbatim(wrapper);
                companions.extend(beside);
            }
        }
    }
    if !found {
        diag.error(
            block.impl_token.span,
            "no function of this block has `#[cached(..)]`; the attribute on the block only gives them their companions",
        );
    }
    if !diag.is_empty() {
        return plain.to_token_stream();
    }
    place_companions(expanded, companions)
}

/// Two functions of a block do not have keys that could meet.
fn check_form(cached: &CachedFn, forms: &mut Vec<(String, usize)>, diag: &mut Diag) {
    let Some(prefix) = &cached.prefix else { return };
    let form = (prefix.clone(), cached.parts.len());
    if forms.contains(&form) {
        let at = cached
            .args
            .prefix
            .as_ref()
            .map_or_else(|| cached.args.span_of("key"), syn::LitStr::span);
        diag.error(
            at,
            format!("another function of this block has the prefix `{prefix}` and as many key parts, so that the two would read each other's values; give one of them another prefix"),
        );
    }
    forms.push(form);
}

/// Into the block itself, or, where a trait decides what that may hold, into one of their own.
fn place_companions(mut block: ItemImpl, companions: TokenStream) -> TokenStream {
    if block.trait_.is_none() {
        block.items.push(ImplItem::Verbatim(companions));
        return block.to_token_stream();
    }
    let (generics, predicates, self_ty) = (&block.generics, &block.generics.where_clause, &block.self_ty);
    quote! {
        #block
        impl #generics #self_ty #predicates { #companions }
    }
}

/// A function of the block that is annotated, without its annotation.
fn cached_function(item: &ImplItem) -> Option<(Attribute, Function)> {
    let ImplItem::Fn(function) = item else { return None };
    let index = function.attrs.iter().position(is_cached)?;
    let mut attrs = function.attrs.clone();
    let attr = attrs.remove(index);
    Some((
        attr,
        Function {
            attrs,
            vis: function.vis.clone(),
            sig: function.sig.clone(),
            body: function.block.to_token_stream(),
        },
    ))
}

fn is_cached(attr: &Attribute) -> bool {
    attr.path()
        .segments
        .last()
        .is_some_and(|segment| segment.ident == "cached")
}

fn arguments(attr: &Attribute, diag: &mut Diag) -> Args {
    match &attr.meta {
        Meta::List(list) => {
            let mut mistakes = Diag::default();
            let parse = |input: syn::parse::ParseStream<'_>| Ok(Args::parse(input, &mut mistakes));
            let read = parse.parse2(without_fragments(list.tokens.clone()));
            if let Some(error) = mistakes.into_error() {
                diag.push(error);
            }
            diag.take(read).unwrap_or_default()
        }
        _ => Args::default(),
    }
}
