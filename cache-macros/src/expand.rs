//! From the model to tokens: the function that looks and loads. Its companions are in [`companions`](crate::companions).

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Expr, Signature, parse_quote};

use crate::attributes::{belongs_to_body, is_condition, wrapper_attrs};
use crate::companions::Companion;
use crate::function::{Param, Style};
use crate::model::{CachedFn, is_detached};
use crate::tokens::respan;

impl CachedFn {
    /// The function that takes the place of the annotated one.
    pub(crate) fn wrapper(&self) -> TokenStream {
        let attrs = wrapper_attrs(&self.function.attrs);
        let vis = &self.function.vis;
        let sig = self.signature(&self.function.sig.ident);
        let mut body = self.read();
        if !self.has_companions() && self.is_free() {
            let nested = self.uncached(&format_ident!("__uncached"), &syn::Visibility::Inherited);
            body = quote!(#nested #body);
        }
        let body = match self.style {
            Style::Async => body,
            Style::ImplFuture => quote!(async move { #body }),
            Style::Boxed => quote!(::std::boxed::Box::pin(async move { #body })),
        };
        quote!(#attrs #vis #sig { #body })
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
    fn read(&self) -> TokenStream {
        let private = self.private();
        let (output, shape) = (&self.output, self.shape_path());
        let (site, cache, key) = (self.site_call(), self.open(), self.key_closure());
        let guard = self.guard(&quote!(__body.await));
        let prefix = match &self.prefix {
            Some(prefix) => quote!(#prefix),
            None => quote!(#site.prefix().as_str()),
        };
        let look = quote_spanned!(self.value_span()=> #private::look::<#output, #shape>);
        // One that borrows cannot name the type of the other function's future: a function that calls itself would be told
        // so in words about code that its author never saw.
        let load = if self.has_load() && !self.borrowed {
            self.call_of_load(&quote!(__miss))
        } else {
            self.load()
        };
        quote! {
            #cache
            #guard
            let __miss = match #look(#prefix, #site, __cache, __ops, #key) {
                ::core::result::Result::Ok(__output) => return __output,
                ::core::result::Result::Err(__miss) => __miss,
            };
            let __load = #load;
            __load.await.0
        }
    }

    /// The load alone, with a `__way` to it: statements that end in a boxed future of the result and its outcome.
    pub(crate) fn load_on_the_way(&self) -> TokenStream {
        let (private, site, cache, key) = (self.private(), self.site_call(), self.open(), self.key_closure());
        let answer = quote!(#private::bypassing(__body));
        let answer = if self.borrowed {
            quote!(#answer.await)
        } else {
            answer
        };
        let guard = self.args.condition.as_ref().map(|_| {
            let guard = self.guard(&answer);
            quote!(if !__way.is_decided() { #guard })
        });
        let load = self.load();
        quote! {
            #guard
            let __miss = __way.miss(|| { #cache #private::miss(#site, __cache, __ops, #key) });
            #load
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

    /// The type of what is cached: as it is written, where the result is.
    pub(crate) fn value_type(&self) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        match self.shape.written(output) {
            Some((value, _)) => value.to_token_stream(),
            None => quote!(<#output as #private::Output<#shape>>::Value),
        }
    }

    pub(crate) fn error_type(&self) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        match self.shape.written(output) {
            Some((_, Some(error))) => error.to_token_stream(),
            _ => quote!(<#output as #private::Output<#shape>>::Error),
        }
    }

    /// Statements that find the cache, and what it has to know about the value: the same tokens everywhere, so that the
    /// compiler says once what is missing.
    pub(crate) fn open(&self) -> TokenStream {
        let (private, at) = (self.private(), self.value_span());
        let value = respan(self.value_type(), at);
        match &self.args.cache {
            Some(cache) => {
                let door = quote_spanned!(cache.span()=> let __door = &#cache;);
                let open = quote_spanned!(at=> #private::open::<#value, _>(__door));
                quote!(#door let (__cache, __ops) = #open;)
            }
            None => {
                let ops = quote_spanned!(at=> #private::ops::<#value>());
                quote!(let (__cache, __ops) = (#private::Cache::global(), #ops);)
            }
        }
    }

    /// How long the future of the body lives.
    fn lifetime(&self) -> TokenStream {
        if self.borrowed {
            quote!('_)
        } else {
            quote!('static)
        }
    }

    /// `if = ..`: whether to use the cache at all. Otherwise the answer is made of `__body`.
    fn guard(&self, answer: &TokenStream) -> TokenStream {
        let Some(condition) = &self.args.condition else {
            return TokenStream::new();
        };
        let condition = match condition {
            Expr::Closure(closure) => {
                let (names, body) = (&closure.inputs, &closure.body);
                let values = names.iter();
                quote!({ #(let #values = &#values;)* #body })
            }
            expr => expr.to_token_stream(),
        };
        // Of its own type, not yet one that is `Send`: that would have to be proved here, of a body that may call this
        // function.
        let future = self.body_future();
        quote_spanned! {condition.span()=>
            let __use_cache: bool = #condition;
            if !__use_cache {
                let __body = #future;
                return #answer;
            }
        }
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
        let (output, lifetime) = (&self.output, self.lifetime());
        quote! {{
            let __options = #options;
            let __errors = #errors;
            let __after = #after;
            let __body: #private::BoxFuture<#lifetime, #output> = #body;
            __miss.#mode(__options, __errors, __body, __after)
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
        let (function, generics) = (self.companion_path(Companion::Uncached), self.turbofish());
        quote!(#function #generics(#receiver #(#values),*))
    }

    /// The type and const arguments of this function, for calls of its companions.
    pub(crate) fn turbofish(&self) -> Option<TokenStream> {
        let names = self.generic_names();
        (!names.is_empty()).then(|| quote!(::<#(#names),*>))
    }
}
