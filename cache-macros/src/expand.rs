//! From the model to tokens: the function that looks and loads. Its companions are in [`companions`](crate::companions).

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Expr, Signature, parse_quote};

use crate::args::{Eager, TagText, Tags, Ttl};
use crate::function::{Param, Style};
use crate::model::{CachedFn, Part, is_detached};
use crate::template::{Piece, Template};
use crate::tokens::mentions;

/// What a generated function does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Answers from the cache, or loads.
    Read,
    /// The same, and tells how it was come by.
    Tell,
    /// Loads anew.
    Refresh,
}

impl CachedFn {
    /// The function that takes the place of the annotated one.
    pub(crate) fn wrapper(&self) -> TokenStream {
        let attrs = self.function.attrs.iter().filter(|attr| !belongs_to_body(attr));
        let vis = &self.function.vis;
        let sig = self.signature(&self.function.sig.ident);
        let mut body = self.call(Call::Read);
        if !self.has_companions() && self.is_free() {
            let nested = self.uncached(&format_ident!("__uncached"), &syn::Visibility::Inherited);
            body = quote!(#nested #body);
        }
        let body = match self.style {
            Style::Async => body,
            Style::ImplFuture => quote!(async move { #body }),
            Style::Boxed => quote!(::std::boxed::Box::pin(async move { #body })),
        };
        quote!(#(#attrs)* #vis #sig { #body })
    }

    /// The function as it was written, under another name.
    pub(crate) fn uncached(&self, name: &Ident, vis: &syn::Visibility) -> TokenStream {
        let attrs = self
            .function
            .attrs
            .iter()
            .filter(|attr| belongs_to_body(attr) || is_condition(attr));
        let mut sig = self.function.sig.clone();
        sig.ident = name.clone();
        let mut params = self.params.iter();
        for input in &mut sig.inputs {
            if let syn::FnArg::Typed(typed) = input
                && params
                    .next()
                    .is_some_and(|param| self.is_in_attribute(&param.name))
            {
                typed.attrs.push(parse_quote!(#[allow(unused_variables)]));
            }
        }
        let body = &self.function.body;
        quote!(#(#attrs)* #vis #sig #body)
    }

    /// The signature with a name in place of each pattern.
    pub(crate) fn signature(&self, name: &Ident) -> Signature {
        let mut sig = self.function.sig.clone();
        sig.ident = name.clone();
        let mut params = self.params.iter();
        for input in &mut sig.inputs {
            if let syn::FnArg::Typed(typed) = input
                && let Some(Param { name, .. }) = params.next()
            {
                let name = name.clone();
                *typed.pat = parse_quote!(#name);
            }
        }
        sig
    }

    /// Looks, and loads if need be: statements that end in the result.
    pub(crate) fn call(&self, call: Call) -> TokenStream {
        let private = self.private();
        let (output, shape) = (&self.output, self.shape_path());
        let (site, cache, key) = (self.site_call(), self.open(), self.key_closure());
        let (guard, ops) = (self.guard(call), self.ops());
        let found = match call {
            Call::Read => quote_spanned!(self.value_span()=> #private::look::<#output, #shape>),
            Call::Tell | Call::Refresh => {
                quote_spanned!(self.value_span()=> #private::look_told::<#output, #shape>)
            }
        };
        let miss = match call {
            Call::Read | Call::Tell => quote! {
                match #found(#site, __cache, #ops, #key) {
                    ::core::result::Result::Ok(__output) => return __output,
                    ::core::result::Result::Err(__miss) => __miss,
                }
            },
            Call::Refresh => quote! {
                #private::Miss::<#output, #shape>::unseen(#site, __cache, #ops, #private::key(#site, #key))
            },
        };
        let (load, forced) = (self.load(), call == Call::Refresh);
        let answer = match call {
            Call::Read | Call::Refresh => quote!(__load.await.0),
            Call::Tell => quote! {{
                let (__output, __outcome) = __load.await;
                <#output as #private::Output<#shape>>::tell(__output, __outcome)
            }},
        };
        quote! {
            #cache
            #guard
            let __miss = #miss;
            let __load = { let __forced = #forced; #load };
            #answer
        }
    }

    pub(crate) fn private(&self) -> TokenStream {
        let krate = &self.krate;
        quote!(#krate::__private)
    }

    pub(crate) fn shape_path(&self) -> TokenStream {
        let (private, marker) = (self.private(), self.shape.marker());
        quote!(#private::#marker)
    }

    /// The type of what is cached.
    pub(crate) fn value_type(&self) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        quote!(<#output as #private::Output<#shape>>::Value)
    }

    /// What the cache has to know about the value; the same tokens everywhere, so that the compiler says once what is
    /// missing.
    pub(crate) fn ops(&self) -> TokenStream {
        let (private, value) = (self.private(), self.value_type());
        let value = respan(value, self.value_span());
        match &self.args.cache {
            Some(_) => {
                quote_spanned!(self.value_span()=> #private::ops_in::<#value, _>(#private::kind_of(__door)))
            }
            None => quote_spanned!(self.value_span()=> #private::ops::<#value>()),
        }
    }

    fn error_type(&self) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        quote!(<#output as #private::Output<#shape>>::Error)
    }

    /// Statements that find the cache.
    pub(crate) fn open(&self) -> TokenStream {
        let private = self.private();
        match &self.args.cache {
            Some(cache) => open(cache, &private),
            None => quote!(let __cache: &#private::Cache = #private::Cache::global();),
        }
    }

    /// `if = ..`: whether to use the cache at all.
    fn guard(&self, call: Call) -> TokenStream {
        let Some(condition) = &self.args.condition else {
            return TokenStream::new();
        };
        let private = self.private();
        let condition = match condition {
            Expr::Closure(closure) => {
                let (names, body) = (&closure.inputs, &closure.body);
                let values = names.iter();
                quote!({ #(let #values = &#values;)* #body })
            }
            expr => expr.to_token_stream(),
        };
        let future = self.body_future();
        let (output, shape) = (&self.output, self.shape_path());
        let answer = match call {
            Call::Read | Call::Refresh => quote!(__body.await),
            Call::Tell => {
                quote!(<#output as #private::Output<#shape>>::tell(__body.await, #private::bypassed()))
            }
        };
        quote_spanned! {condition.span()=>
            let __use_cache: bool = #condition;
            if !__use_cache {
                let __body: #private::BoxFuture<'_, #output> = #future;
                return #answer;
            }
        }
    }

    /// Adds the parts to a key buffer.
    pub(crate) fn key_closure(&self) -> TokenStream {
        let (private, statements) = (self.private(), self.key_statements());
        quote!(|__key: &mut #private::KeyBuf| { #statements })
    }

    pub(crate) fn key_statements(&self) -> TokenStream {
        let private = self.private();
        let parts = self.parts.iter().map(|part| self.part(part));
        quote! {
            #[allow(unused_imports)]
            use #private::{AppendNothing as _, AppendPart as _, AppendSerialized as _};
            #(#parts)*
            ::core::result::Result::Ok(())
        }
    }

    fn part(&self, part: &Part) -> TokenStream {
        let private = self.private();
        match part {
            Part::Text(text) => quote!(__key.part(#text);),
            Part::Type(name) => quote!(__key.part(&#private::TypePart::<#name>::new());),
            Part::Const(name) => quote!(__key.part(&#name);),
            Part::Value { expr, span, secret } => {
                let method = Ident::new(if *secret { "append_secret" } else { "append" }, *span);
                let private = respan(private, *span);
                let value = match expr {
                    Expr::Path(_) | Expr::Field(_) | Expr::Lit(_) | Expr::MethodCall(_) | Expr::Call(_) => {
                        quote!(#expr)
                    }
                    _ => quote_spanned!(*span=> (#expr)),
                };
                quote_spanned!(*span=> (&&&#private::Arg(&#value)).#method(__key)?;)
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
    fn errors(&self) -> TokenStream {
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

    /// Sends a miss on its way: an expression of a boxed future.
    fn load(&self) -> TokenStream {
        let (options, errors, after) = (self.options(), self.errors(), self.after());
        let body = self.body_future();
        let mode = if self.borrowed {
            quote!(borrowed)
        } else {
            quote!(owned)
        };
        let private = self.private();
        let (output, lifetime) = (
            &self.output,
            if self.borrowed {
                quote!('_)
            } else {
                quote!('static)
            },
        );
        quote! {{
            let __options = #options;
            let __errors = #errors;
            let __after = #after;
            let __body: #private::BoxFuture<#lifetime, #output> = #body;
            __miss.#mode(__options, __errors, __forced, __body, __after)
        }}
    }

    /// The body as a boxed future.
    fn body_future(&self) -> TokenStream {
        let private = self.private();
        let detached: Vec<_> = self
            .params
            .iter()
            .filter(|param| is_detached(&self.args, param))
            .collect();
        let clones = detached.iter().map(|param| {
            let name = &param.name;
            quote_spanned!(param.ty.span()=> let #name = ::std::borrow::ToOwned::to_owned(#name);)
        });
        let this = self.args.detach.iter().find(|name| *name == "self");
        let clone_self =
            this.map(|name| quote_spanned!(name.span()=> let __this = ::core::clone::Clone::clone(self);));
        let future = self.body(this.is_some());
        let future = if detached.is_empty() && this.is_none() {
            future
        } else {
            quote!(async move { #future.await })
        };
        let propagated = self.args.propagate.iter().fold(
            future,
            |future, local| quote_spanned!(local.span()=> #private::carry(&#local, #future)),
        );
        quote_spanned!(self.function.sig.ident.span()=> {
            #(#clones)*
            #clone_self
            ::std::boxed::Box::pin(#propagated)
        })
    }

    /// The body as a future.
    fn body(&self, detached_self: bool) -> TokenStream {
        if !self.has_companions() && !self.is_free() {
            let private = self.private();
            let (output, body) = (&self.output, &self.function.body);
            let patterns = self.params.iter().map(|Param { name, pat, .. }| {
                let lint = self
                    .is_in_attribute(name)
                    .then(|| quote!(#[allow(unused_variables)]));
                quote!(#lint let #pat = #name;)
            });
            let body = if self.style == Style::Async {
                body.to_token_stream()
            } else {
                quote!(#body.await)
            };
            return quote!(#private::typed::<#output, _>(async move { #(#patterns)* #body }));
        }
        let receiver = self.function.receiver().map(|_| {
            if detached_self {
                quote!(&__this,)
            } else {
                quote!(self,)
            }
        });
        let values = self.params.iter().map(|param| {
            let name = &param.name;
            if is_detached(&self.args, param) {
                quote!(&#name)
            } else {
                quote!(#name)
            }
        });
        let (function, generics) = (self.companion_path("uncached"), self.turbofish());
        quote!(#function #generics(#receiver #(#values),*))
    }

    /// The type and const arguments of this function, for calls of its companions.
    pub(crate) fn turbofish(&self) -> Option<TokenStream> {
        let names = self.generic_names();
        (!names.is_empty()).then(|| quote!(::<#(#names),*>))
    }

    /// What is said about the load once the value is there.
    fn after(&self) -> TokenStream {
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

/// Finds the cache that an expression names.
pub(crate) fn open(cache: &Expr, private: &TokenStream) -> TokenStream {
    quote_spanned! {cache.span()=>
        let __door = &#cache;
        let __cache: &#private::Cache = #private::cache_of(__door);
    }
}

/// The same tokens, at another place: where the compiler is to point.
fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    let respanned = tokens.into_iter().map(|mut token| {
        match &mut token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), respan(group.stream(), span));
                inner.set_span(span);
                return TokenTree::Group(inner);
            }
            other => other.set_span(span),
        }
        token
    });
    respanned.collect()
}

/// The text of a tag: a `String`.
pub(crate) fn tag_text(template: &Template) -> TokenStream {
    let mut format = String::new();
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => format.push_str(text),
            Piece::Hole(_) => format.push_str("{}"),
        }
    }
    let values = template.holes().map(|hole| &hole.expr);
    if template.holes().next().is_none() {
        let text = &template.literal;
        return quote_spanned!(text.span()=> ::std::string::String::from(#text));
    }
    let format = syn::LitStr::new(&format, template.literal.span());
    quote_spanned!(template.literal.span()=> ::std::format!(#format, #(#values),*))
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
