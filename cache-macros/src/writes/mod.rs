//! `#[cache_put]` and `#[cache_evict]`: functions that write keep the cached functions that read honest.
//!
//! What they say of a target's arguments is evaluated before the body, which may use them up; what they say of
//! `result` after it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::ParseStream;
use syn::spanned::Spanned as _;
use syn::{Expr, Type, parse_quote};

mod options;

use options::Options;

use crate::args::{TagText, Tags};
use crate::diag::Diag;
use crate::function::{Function, Style, last_segment};
use crate::settings::cache_of;
use crate::template::tag_text;
use crate::tokens::{mentions, without_fragments};

/// Which of the two attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Put,
    Evict,
}

impl Write {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "cache_put",
            Self::Evict => "cache_evict",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Put => &["value", "crate"],
            Self::Evict => &["tags", "all", "before", "always", "cache", "crate"],
        }
    }
}

/// The function with its duties, or as it was with the mistakes beside it.
pub(crate) fn expand(
    write: Write,
    options: TokenStream,
    function: &Function,
    diag: &mut Diag,
) -> TokenStream {
    let read = |input: ParseStream<'_>| Ok(Options::parse(write, input, diag));
    let options = match syn::parse::Parser::parse2(read, without_fragments(options)) {
        Ok(options) => options,
        Err(error) => {
            diag.push(error);
            Options::default()
        }
    };
    check(write, &options, function, diag);
    if diag.is_empty() {
        options.expand(write, function)
    } else {
        function.to_token_stream()
    }
}

fn check(write: Write, options: &Options, function: &Function, diag: &mut Diag) {
    let name = write.name();
    if !matches!(function.output(), Some((Style::Async, _))) {
        diag.error(
            function.sig.fn_token.span,
            format!("`#[{name}]` waits for the cache: make this an `async fn`"),
        );
    }
    if options.targets.is_empty() && options.tags.is_none() && diag.is_empty() {
        let example = match write {
            Write::Put => "name the cached function and its arguments: `#[cache_put(user(id))]`",
            Write::Evict => {
                "name what becomes invalid: `#[cache_evict(user(id))]`, `all(user)` or `tags = [\"user:{id}\"]`"
            }
        };
        diag.error(Span::call_site(), example);
    }
    let Some(before) = &options.before else { return };
    if options.always.is_some() {
        diag.error(
            before.span(),
            "`before` does not know how the function will end, so `always` does not go with it",
        );
    }
    let of_result = |args: &[Expr]| args.iter().any(|arg| mentions(arg, &result()));
    for target in options.targets.iter().filter(|target| of_result(&target.args)) {
        diag.error(
            target.span,
            "this needs the result, which is not there `before` the function runs",
        );
    }
}

fn result() -> Ident {
    format_ident!("result")
}

impl Options {
    fn expand(&self, write: Write, function: &Function) -> TokenStream {
        let krate = self.krate.clone().unwrap_or_else(|| parse_quote!(::cache_core));
        let private = quote!(#krate::__private);
        let (attrs, vis, sig, body) = (&function.attrs, &function.vis, &function.sig, &function.body);
        let output = function
            .output()
            .map_or_else(|| parse_quote!(()), |(_, output)| output);
        let prepared = self.prepared();
        let duties = self.duties(write, &private);
        let (before, after) = if self.before.is_some() {
            (duties, TokenStream::new())
        } else {
            (TokenStream::new(), self.on_success(&output, &duties))
        };
        quote! {
            #(#attrs)* #vis #sig {
                #prepared
                #before
                let __result: #output = #private::typed::<#output, _>(async #body).await;
                #after
                __result
            }
        }
    }

    /// The arguments of the targets, and the tags, that do not need the result.
    fn prepared(&self) -> TokenStream {
        let targets = self.targets.iter().enumerate().flat_map(|(index, target)| {
            target
                .args
                .iter()
                .enumerate()
                .filter(|(_, arg)| !mentions(*arg, &result()))
                .map(move |(at, arg)| {
                    let name = argument(index, at, arg);
                    quote!(let #name = #arg;)
                })
        });
        let tags = self
            .tag_texts()
            .into_iter()
            .enumerate()
            .filter(|(_, text)| !mentions(text, &result()));
        let tags = tags.map(|(index, text)| {
            let name = format_ident!("__tag_{index}");
            quote!(let #name = #text;)
        });
        quote!(#(#targets)* #(#tags)*)
    }

    /// The calls of the companions.
    fn duties(&self, write: Write, private: &TokenStream) -> TokenStream {
        let value = match &self.value {
            Some(value) => quote!(#private::of_value(#value, result)),
            None => quote!(#private::copy_of(result)),
        };
        let value = (write == Write::Put).then_some(value);
        let targets = self.targets.iter().enumerate().map(|(index, target)| {
            let args = target.args.iter().enumerate().map(|(at, arg)| {
                if mentions(arg, &result()) {
                    arg.to_token_stream()
                } else {
                    argument(index, at, arg).to_token_stream()
                }
            });
            let (callee, span) = (&target.callee, target.span);
            quote_spanned!(span=> #private::duty(#callee(#(#args,)* #value).await);)
        });
        let cache = match &self.cache {
            Some(cache) => cache_of(cache, private),
            None => quote!(let __cache: &#private::Cache = #private::Cache::global();),
        };
        let tags = self.tag_texts().into_iter().enumerate().map(|(index, text)| {
            let name = format_ident!("__tag_{index}");
            let text = if mentions(&text, &result()) {
                text
            } else {
                quote!(#name)
            };
            quote!({
                #cache
                #private::duty(__cache.invalidate_tag(&#text).await);
            })
        });
        quote!(#(#targets)* #(#tags)*)
    }

    /// What to do once the function has ended, with its value as `result`.
    fn on_success(&self, output: &Type, duties: &TokenStream) -> TokenStream {
        let fallible = last_segment(output).is_some_and(|segment| segment.ident == "Result");
        match (fallible, self.always.is_some()) {
            (true, false) => {
                quote!(if let ::core::result::Result::Ok(result) = &__result { let _ = result; #duties })
            }
            _ => quote!({ let result = &__result; let _ = result; #duties }),
        }
    }

    fn tag_texts(&self) -> Vec<TokenStream> {
        match &self.tags {
            None => Vec::new(),
            Some(Tags::Expr(expr)) => vec![expr.to_token_stream()],
            Some(Tags::List(tags)) => tags
                .iter()
                .map(|tag| match tag {
                    TagText::Template(template) => tag_text(template),
                    TagText::Expr(expr) => expr.to_token_stream(),
                })
                .collect(),
        }
    }
}

/// The name of an evaluated argument, where the argument is written.
fn argument(target: usize, at: usize, arg: &Expr) -> Ident {
    Ident::new(&format!("__argument_{target}_{at}"), arg.span())
}
