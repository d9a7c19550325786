//! The tokens of a function's key, options and what is said about its load.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Expr;
use syn::spanned::Spanned as _;

use crate::args::{Eager, TagText, Tags, Ttl};
use crate::model::CachedFn;
use crate::parts::Part;
use crate::template::tag_text;
use crate::tokens::{mentions, respan};

impl CachedFn {
    /// Adds the parts to a key buffer.
    pub(crate) fn key_closure(&self) -> TokenStream {
        let (private, body) = (self.private(), self.key_body());
        quote!(|__key: &mut #private::KeyBuf| { #body })
    }

    /// Statements that end in whether all parts could be added. One expression, because the compiler takes longer over
    /// each `?`.
    pub(crate) fn key_body(&self) -> TokenStream {
        let private = self.private();
        let mut parts = self.parts.iter().map(|part| self.part(part));
        let first = parts
            .next()
            .unwrap_or_else(|| quote!(::core::result::Result::Ok(())));
        quote! {
            #[allow(unused_imports)]
            use #private::{AppendFloat as _, AppendNothing as _, AppendPart as _, AppendSerialized as _};
            #first #(.and(#parts))*
        }
    }

    /// Adds a part: an expression of whether it could be.
    fn part(&self, part: &Part) -> TokenStream {
        let private = self.private();
        match part {
            Part::Text(text) => quote!(#private::part(__key, #text)),
            Part::Type(name) => quote!(#private::part(__key, &#private::TypePart::<#name>::new())),
            Part::Const(name) => quote!(#private::part(__key, &#name)),
            Part::Value { expr, span, secret } => {
                let method = Ident::new(if *secret { "append_secret" } else { "append" }, *span);
                let private = respan(private, *span);
                let value = match expr {
                    Expr::Path(_) | Expr::Field(_) | Expr::Lit(_) | Expr::MethodCall(_) | Expr::Call(_) => {
                        quote!(#expr)
                    }
                    _ => quote_spanned!(*span=> (#expr)),
                };
                quote_spanned!(*span=> (&&&#private::Arg(&#value)).#method(__key))
            }
        }
    }

    /// The options of a load or a store: a `Result`, since a tag may turn out not to be one.
    pub(crate) fn options(&self) -> TokenStream {
        let (private, args) = (self.private(), &self.args);
        let mut options = quote!(#private::EntryOptions::new());
        let mut set = |method: &str, span: Span, value: TokenStream| {
            let method = Ident::new(method, span);
            let value = quote_spanned!(span=> #value);
            options.extend(quote!(.#method(#value)));
        };
        if let Some(Ttl::Period(ttl)) = &args.ttl {
            set("with_ttl", ttl.span(), ttl.expression());
        }
        if let Some(policy) = &args.policy {
            set("policy", policy.span(), policy.to_token_stream());
        }
        for (method, period) in [
            ("stale_for", &args.stale),
            ("negative_ttl", &args.negative_ttl),
            ("error_ttl", &args.error_ttl),
            ("soft_timeout", &args.soft_timeout),
            ("hard_timeout", &args.hard_timeout),
            ("throttle", &args.throttle),
        ] {
            if let Some(period) = period {
                set(method, period.span(), period.expression());
            }
        }
        if args.background {
            set(
                "soft_timeout",
                args.span_of("background"),
                quote!(::core::time::Duration::ZERO),
            );
        }
        if let Some(jitter) = &args.jitter {
            set("jitter", jitter.0.span(), jitter.0.to_token_stream());
        }
        match &args.eager {
            Some(Eager::After(share)) => set("eager", share.span(), quote!(#private::Eager::After(#share))),
            Some(Eager::XFetch(span)) => set("eager", *span, quote!(#private::Eager::XFetch(1.0))),
            None => {}
        }
        if let Some(on) = &args.distributed {
            set("distributed", on.span, on.to_token_stream());
        }
        if let Some(codec) = &args.codec {
            set("codec", codec.span(), quote!(#private::Codec::#codec));
        }
        if args.tags.is_none() {
            return quote!(::core::result::Result::<_, #private::Error>::Ok(#options));
        }
        let tags = self.tags();
        quote!((|| -> ::core::result::Result<#private::EntryOptions, #private::Error> {
            ::core::result::Result::Ok(#options #tags)
        })())
    }

    /// The tags that are known before the load.
    fn tags(&self) -> TokenStream {
        let private = self.private();
        match &self.args.tags {
            None => TokenStream::new(),
            Some(Tags::Expr(expr)) => quote_spanned!(expr.span()=> .tags(#private::TagSet::new(#expr)?)),
            Some(Tags::List(tags)) => {
                let known = tags.iter().filter_map(|tag| match tag {
                    TagText::Template(template) if self.is_of_result(template) => None,
                    TagText::Template(template) => Some(tag_text(template)),
                    TagText::Expr(expr) => Some(expr.to_token_stream()),
                });
                let texts = known.map(|text| quote_spanned!(text.span()=> #private::Tag::new(&#text)?));
                quote!(.tags(#private::TagSet::new([#(#texts),*] as [#private::Tag; _])?))
            }
        }
    }

    /// What the error type allows.
    pub(crate) fn errors(&self) -> TokenStream {
        if !self.shape.is_fallible() {
            let private = self.private();
            return quote!(#private::Errors::NONE);
        }
        self.errors_of(&self.error_type())
    }

    pub(crate) fn errors_of(&self, error: &TokenStream) -> TokenStream {
        let private = self.private();
        let (clone, convert) = match &self.args.error {
            Some(says) => {
                let says = |name: &str| says.iter().find(|said| *said == name).map(Ident::span);
                let clone = says("clone").map(|at| {
                    let error = respan(error.clone(), at);
                    quote_spanned!(at=> ::core::option::Option::Some(<#error as ::core::clone::Clone>::clone))
                });
                let convert = says("from").map(|at| {
                    let error = respan(error.clone(), at);
                    quote_spanned!(at=> ::core::option::Option::Some(
                        <#error as ::core::convert::From<#private::Error>>::from
                    ))
                });
                let none = || quote!(::core::option::Option::None);
                (clone.unwrap_or_else(none), convert.unwrap_or_else(none))
            }
            None => (quote!((&&__probe).cloning()), quote!((&&__probe).converting())),
        };
        let needs = ["hard_timeout", "error_ttl"]
            .into_iter()
            .filter(|option| self.args.has(option));
        let needs = needs.map(|option| {
            let span = self.args.span_of(option);
            let error = respan(error.clone(), span);
            quote_spanned!(span=> #private::tells_cache_errors::<#error>();)
        });
        quote! {{
            #[allow(unused_imports)]
            use #private::{NoClone as _, NoConversion as _, ViaClone as _, ViaFrom as _};
            #(#needs)*
            let __probe = #private::Probe::<#error>::new();
            #private::Errors { clone: #clone, convert: #convert }
        }}
    }

    /// What is said about the load once the value is there.
    pub(crate) fn after(&self) -> TokenStream {
        let args = &self.args;
        let (private, value) = (self.private(), self.value_type());
        let mut statements = TokenStream::new();
        if let Some(Ttl::OfResult(ttl)) = &args.ttl {
            statements.extend(quote_spanned!(ttl.body.span()=>
                __context.set_ttl(#private::of_value::<#value, ::core::time::Duration>(#ttl, result));
            ));
        }
        if let Some(store_if) = &args.store_if {
            statements.extend(quote_spanned!(store_if.body.span()=>
                if !#private::of_value::<#value, bool>(#store_if, result) { __context.do_not_store(); }
            ));
        }
        for template in self.tags_of_result() {
            let text = tag_text(template);
            statements.extend(quote!(#private::tag(__context, &#text);));
        }
        if statements.is_empty() {
            return quote!(::core::option::Option::None);
        }
        let captured = self
            .params
            .iter()
            .filter(|param| mentions(&statements, &param.name))
            .map(|param| {
                let name = &param.name;
                quote!(let #name = ::core::clone::Clone::clone(&#name);)
            });
        quote! {{
            #(#captured)*
            let __after: #private::After<'_, #value> =
                ::std::boxed::Box::new(move |__context: &#private::LoadContext<#value>, result: &#value| { #statements });
            ::core::option::Option::Some(__after)
        }}
    }
}

/// Statements that find the cache that an expression names.
pub(crate) fn cache_of(cache: &Expr, private: &TokenStream) -> TokenStream {
    quote_spanned! {cache.span()=>
        let __door = &#cache;
        let __cache: &#private::Cache = #private::cache_of(__door);
    }
}
