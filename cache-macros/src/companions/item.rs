//! Each companion as an item.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Generics, parse_quote};

use super::name::{Companion, Takes};
use crate::function::{Param, Style};
use crate::generics::{generic_names, used_generics};
use crate::model::{CachedFn, Place};

impl CachedFn {
    pub(super) fn companion(&self, companion: Companion) -> TokenStream {
        match companion {
            Companion::Key => self.key(),
            Companion::Peek => self.peek(),
            Companion::Set => self.set(),
            Companion::Invalidate => self.invalidate(),
            Companion::InvalidateAll => self.invalidate_all(),
            Companion::Uncached => self.uncached(&self.companion_name(companion), &self.vis()),
            Companion::Refresh => self.refresh(),
            Companion::Outcome => self.outcome(),
        }
    }

    pub(super) fn site(&self) -> TokenStream {
        let (private, vis, name) = (self.private(), self.vis(), self.hidden_name("site"));
        let function = self.function.base().to_string();
        let path = match &self.place {
            Place::Free => format!("::{function}"),
            Place::Block { type_name, .. } => format!("::{type_name}::{function}"),
        };
        // A function over ids may share its entries with the one for a single id.
        let parts = if self.args.batch.is_some() {
            usize::MAX - self.parts.len()
        } else {
            self.parts.len()
        };
        let prefix = match &self.prefix {
            Some(prefix) => quote!(#prefix),
            None => quote!(#private::Site::text(&{
                const SLASHED: [u8; #private::Site::slashed_length(PATH)] = #private::slashed(PATH);
                SLASHED
            })),
        };
        quote! {
            #vis fn #name() -> &'static #private::Site {
                const PATH: &str = ::core::concat!(::core::module_path!(), #path);
                static SITE: #private::Site = #private::Site::new(
                    #prefix, #parts, PATH, ::core::concat!(::core::file!(), ":", ::core::line!()),
                );
                &SITE
            }
        }
    }

    /// The load, for the function itself, `refresh` and `outcome`. Generic in the way to it, so that what only the last
    /// two need is compiled for those who call them.
    pub(super) fn load_function(&self) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        let mut sig = self.signature(&self.hidden_name("load"));
        sig.inputs
            .push(parse_quote!(__way: impl #private::Way<#output, #shape>));
        let (vis, body, told) = (
            self.vis(),
            self.load_on_the_way(),
            quote!(#private::Told<#output>),
        );
        if !self.borrowed {
            let future = boxed(&private, &told);
            (sig.asyncness, sig.output) = (None, parse_quote!(-> #future));
            return quote!(#vis #sig { #body });
        }
        if self.style == Style::Async {
            sig.output = parse_quote!(-> #told);
            return quote!(#vis #sig { #body.await });
        }
        let future = future_of(&told);
        sig.output = parse_quote!(-> #future);
        quote!(#vis #sig { async move { #body.await } })
    }

    /// The load, called with this function's arguments.
    pub(crate) fn call_of_load(&self, way: &TokenStream) -> TokenStream {
        let (load, generics) = (self.path_to(&self.hidden_name("load")), self.turbofish());
        let receiver = self.function.receiver().map(|_| quote!(self,));
        let names = self.params.iter().map(|param| &param.name);
        quote!(#load #generics(#receiver #(#names,)* #way))
    }

    fn refresh(&self) -> TokenStream {
        let (private, output) = (self.private(), &self.output);
        let load = self.call_of_load(&quote!(#private::Refresh));
        self.loading(Companion::Refresh, &output.to_token_stream(), "untold", &load)
    }

    fn outcome(&self) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        let load = self.call_of_load(&quote!(#private::Look));
        let told = quote!(<#output as #private::Output<#shape>>::Told);
        self.loading(Companion::Outcome, &told, "told", &load)
    }

    /// A companion with all arguments of the function.
    fn loading(
        &self,
        companion: Companion,
        output: &TokenStream,
        ending: &str,
        load: &TokenStream,
    ) -> TokenStream {
        let (private, vis) = (self.private(), self.vis());
        let mut sig = self.signature(&self.companion_name(companion));
        sig.asyncness = None;
        let (future, ending) = if self.borrowed {
            (future_of(output), format_ident!("{ending}"))
        } else {
            (boxed(&private, output), format_ident!("{ending}_boxed"))
        };
        sig.output = parse_quote!(-> #future);
        let body = if companion == Companion::Outcome {
            let (output, shape) = (&self.output, self.shape_path());
            quote!(#private::#ending::<#output, #shape>(#load))
        } else {
            quote!(#private::#ending(#load))
        };
        quote!(#vis #sig { #body })
    }

    fn key(&self) -> TokenStream {
        let (private, site, parts) = (self.private(), self.site_call(), self.key_closure());
        let output = quote!(::core::result::Result<#private::CacheKey, #private::Error>);
        self.signed(
            Companion::Key,
            &self.inputs(Takes::Key),
            &output,
            &quote!(#private::key(#site, #parts)),
        )
    }

    /// The key, within another companion: the last thing it does with its arguments.
    fn own_key(&self) -> TokenStream {
        let receiver = self.function.receiver().map(|_| quote!(self,));
        let names = self.taken(Takes::Key).map(|param| param.name.to_token_stream());
        let key = self.companion_path(Companion::Key);
        let names: Vec<_> = names.collect();
        let generics = generic_names(&self.key_generics());
        let generics = (!generics.is_empty()).then(|| quote!(::<#(#generics),*>));
        quote!(#key #generics(#receiver #(#names),*))
    }

    /// The generics of `key`.
    fn key_generics(&self) -> Generics {
        let (inputs, parts) = (self.inputs(Takes::Key), self.key_closure());
        used_generics(&self.function.sig.generics, &quote!(#(#inputs),* #parts))
    }

    fn peek(&self) -> TokenStream {
        let (private, value, open, key) = (
            self.private(),
            self.value_type(),
            self.open_owned(),
            self.own_key(),
        );
        let output =
            quote!(::core::result::Result<::core::option::Option<#private::Loaded<#value>>, #private::Error>);
        self.signed(
            Companion::Peek,
            &self.inputs(Takes::Entry),
            &boxed(&private, &output),
            &quote!(#open #private::peek(__cache, __ops, #key)),
        )
    }

    fn set(&self) -> TokenStream {
        let (private, value, open, key) = (
            self.private(),
            self.value_type(),
            self.open_owned(),
            self.own_key(),
        );
        let (options, optional) = (self.options(), self.shape.is_optional());
        let (value_type, given) = if optional {
            (quote!(::core::option::Option<#value>), quote!(__value))
        } else {
            (value, quote!(::core::option::Option::Some(__value)))
        };
        let output = quote!(::core::result::Result<#private::Stored, #private::Error>);
        let mut inputs = self.inputs(Takes::Store);
        inputs.push(quote!(__value: #value_type));
        let body = quote! {
            let __options = #options;
            #open
            #private::set(__cache, __ops, #key, #given, __options)
        };
        self.signed(Companion::Set, &inputs, &boxed(&private, &output), &body)
    }

    fn invalidate(&self) -> TokenStream {
        let (private, cache, key) = (self.private(), self.open_cache(), self.own_key());
        let output = quote!(::core::result::Result<(), #private::Error>);
        self.signed(
            Companion::Invalidate,
            &self.inputs(Takes::Entry),
            &boxed(&private, &output),
            &quote!(#cache #private::invalidate(__cache, #key)),
        )
    }

    fn invalidate_all(&self) -> TokenStream {
        let (private, cache, site) = (self.private(), self.open_cache(), self.site_call());
        let output = quote!(::core::result::Result<(), #private::Error>);
        self.signed(
            Companion::InvalidateAll,
            &self.inputs(Takes::Cache),
            &boxed(&private, &output),
            &quote!(#cache #private::invalidate_all(__cache, #site)),
        )
    }

    /// The cache alone.
    fn open_cache(&self) -> TokenStream {
        let private = self.private();
        match &self.args.cache {
            Some(_) => self.open_owned(),
            None => quote!(let __cache = #private::Cache::global();),
        }
    }

    /// The cache and what it has to know, where the arguments that lead to it may be used up next.
    fn open_owned(&self) -> TokenStream {
        let (private, open) = (self.private(), self.open());
        let owned = self.args.cache.is_some();
        let owned = owned.then(|| quote!(let __cache = &#private::Cache::clone(__cache);));
        quote!(#open #owned)
    }

    /// The parameters that are taken.
    fn taken(&self, takes: Takes) -> impl Iterator<Item = &Param> {
        self.params.iter().filter(move |param| {
            let name = &param.name;
            let (in_key, in_cache) = (self.is_in_key(name), self.is_in_cache(name));
            match takes {
                Takes::Cache => in_cache,
                Takes::Key => in_key,
                Takes::Entry => in_key || in_cache,
                Takes::Store => in_key || in_cache || self.is_in_options(name),
            }
        })
    }

    /// The receiver, and the parameters that are taken.
    fn inputs(&self, takes: Takes) -> Vec<TokenStream> {
        let receiver = self.function.receiver().map(|_| quote!(&self));
        let params = self.taken(takes).map(|Param { name, ty, .. }| quote!(#name: #ty));
        receiver.into_iter().chain(params).collect()
    }

    fn signed(
        &self,
        companion: Companion,
        inputs: &[TokenStream],
        output: &TokenStream,
        body: &TokenStream,
    ) -> TokenStream {
        let used = quote!(#(#inputs),* #output #body);
        let generics = used_generics(&self.function.sig.generics, &used);
        let (params, predicates) = (&generics.params, &generics.where_clause);
        let (vis, name) = (self.vis(), self.companion_name(companion));
        quote!(#vis fn #name<#params>(#(#inputs),*) -> #output #predicates { #body })
    }
}

/// A future that owns what it uses. A name for it, where `impl Future` would be a type that the compiler has to find for
/// each function.
fn boxed(private: &TokenStream, output: &TokenStream) -> TokenStream {
    quote!(#private::BoxFuture<'static, #output>)
}

/// Like an `async fn`, it is `Send` if what it holds is; to say so would have the compiler prove it for each function.
fn future_of(output: &TokenStream) -> TokenStream {
    quote!(impl ::core::future::Future<Output = #output>)
}
