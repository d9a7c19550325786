//! `#[cached]`, `#[cache_put]` and `#[cache_evict]`. Use them through `cache-core`, which re-exports them with their
//! manuals; the generated code calls a hidden module of that crate, so the two move in step.
//!
//! The way of one use. Read: `args` the options, `function` the signature. Decide: `model` brings both together, with
//! the `shape` of the result and the `parts` of the key, and `check` says what does not fit. Write: `expand` the function,
//! `settings` its key and options, `companions` what stands beside it. `block` does this for the
//! functions of an `impl`, and `writes` is for functions that write. Bodies are never looked into. After a mistake the
//! function is still emitted as it was, so that one mistake gives one message.

use proc_macro::TokenStream;
use quote::{ToTokens, quote};
use syn::Token;
use syn::parse::Parser as _;

mod args;
mod attributes;
mod batch;
mod block;
mod check;
mod companions;
mod diag;
mod duration;
mod expand;
mod function;
mod generics;
mod model;
mod parts;
mod settings;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod tokens;
mod writes;

use args::Args;
use diag::Diag;
use function::Function;
use model::{CachedFn, Place};

// Its manual is with the re-export, where its examples can run.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    read(options.into(), &item.into()).into()
}

#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn cache_put(options: TokenStream, item: TokenStream) -> TokenStream {
    write(writes::Write::Put, options.into(), &item.into()).into()
}

#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn cache_evict(options: TokenStream, item: TokenStream) -> TokenStream {
    write(writes::Write::Evict, options.into(), &item.into()).into()
}

fn read(options: proc_macro2::TokenStream, item: &proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let mut diag = Diag::default();
    let parse = |input: syn::parse::ParseStream<'_>| Ok(Args::parse(input, &mut diag));
    match parse.parse2(tokens::without_fragments(options)) {
        Ok(args) => expand(args, item, diag),
        Err(error) => error.into_compile_error(),
    }
}

fn write(
    write: writes::Write,
    options: proc_macro2::TokenStream,
    item: &proc_macro2::TokenStream,
) -> proc_macro2::TokenStream {
    let mut diag = Diag::default();
    let expanded = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => writes::expand(write, options, &function, &mut diag),
        Err(error) => {
            diag.push(error);
            item.clone()
        }
    };
    let errors = diag.into_tokens();
    quote!(#errors #expanded)
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
            let functions = cached.and_then(|cached| functions(cached, &mut diag));
            match functions.filter(|_| diag.is_empty()) {
                Some((wrapper, companions)) => quote!(#wrapper #companions),
                // The function itself stays, so that its callers report nothing on top.
                None => function.to_token_stream(),
            }
        }
    };
    let errors = diag.into_tokens();
    quote!(#errors #expanded)
}

/// The function, and what stands beside it.
fn functions(
    cached: CachedFn,
    diag: &mut Diag,
) -> Option<(proc_macro2::TokenStream, proc_macro2::TokenStream)> {
    if cached.args.batch.is_some() {
        let batch = batch::Batch::new(cached, diag)?;
        return Some((batch.wrapper(), batch.companions()));
    }
    Some((cached.wrapper(), cached.companions()))
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
