//! `#[cached]`.

use proc_macro::TokenStream;
use quote::{ToTokens, quote};
use syn::Token;
use syn::parse::Parser as _;

mod args;
mod block;
mod check;
mod companions;
mod diag;
mod duration;
mod expand;
mod function;
mod model;
mod template;
mod tokens;

use args::Args;
use diag::Diag;
use function::Function;
use model::{CachedFn, Place};

/// Caches what an async function returns.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut diag = Diag::default();
    let read = |input: syn::parse::ParseStream<'_>| Ok(Args::parse(input, &mut diag));
    let args = match read.parse(options) {
        Ok(args) => args,
        Err(error) => return error.into_compile_error().into(),
    };
    expand(args, &item.into(), diag).into()
}

fn expand(args: Args, item: &proc_macro2::TokenStream, mut diag: Diag) -> proc_macro2::TokenStream {
    let item = match parse_item.parse2(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            diag.push(error);
            let errors = diag.into_tokens();
            return quote!(#errors #item);
        }
    };
    let expanded = match &item {
        Item::Block(block) => block::expand(block, &args, &mut diag),
        Item::Function(function) => {
            let cached = CachedFn::new(function.clone(), args, Place::Free, &mut diag);
            match cached.filter(|_| diag.is_empty()) {
                Some(cached) => {
                    let (wrapper, companions) = (cached.wrapper(), cached.companions());
                    quote!(#wrapper #companions)
                }
                // The function itself stays, so that its callers report nothing on top.
                None => function.to_token_stream(),
            }
        }
    };
    let errors = diag.into_tokens();
    quote!(#errors #expanded)
}

/// What the attribute can stand on.
enum Item {
    Function(Function),
    Block(syn::ItemImpl),
}

fn parse_item(input: syn::parse::ParseStream<'_>) -> syn::Result<Item> {
    let ahead = input.fork();
    ahead.call(syn::Attribute::parse_outer)?;
    if ahead.peek(Token![impl]) || ahead.peek(Token![unsafe]) && ahead.peek2(Token![impl]) {
        return input.parse().map(Item::Block);
    }
    let start = ahead.span();
    ahead.parse::<syn::Visibility>()?;
    let is_function = ahead.peek(Token![fn])
        || ahead.peek(Token![async])
        || ahead.peek(Token![unsafe])
        || ahead.peek(Token![extern])
        || ahead.peek(Token![const]) && !ahead.peek2(syn::Ident);
    if is_function {
        return input.parse().map(Item::Function);
    }
    Err(syn::Error::new(
        start,
        "`#[cached]` stands on an `async fn`, or on an `impl` block that has such functions",
    ))
}
