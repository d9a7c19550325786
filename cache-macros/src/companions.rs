//! What stands beside a cached function: its key, its entries, its body without the cache.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{GenericParam, Generics, Token, Visibility, WherePredicate, parse_quote};

use crate::expand::{Call, is_condition};
use crate::function::Style;
use crate::model::CachedFn;
use crate::tokens::mentions;

/// Which arguments a companion takes.
#[derive(Clone, Copy)]
enum Takes {
    /// What the key is made of.
    Key,
    /// That, and what names the cache.
    Entry,
    /// That, and what the options of a store are made of.
    Store,
}

impl CachedFn {
    /// The companions as items beside the function: in a module, together with the module that lists them.
    pub(crate) fn companions(&self) -> TokenStream {
        self.companions_named(&[
            "site",
            "key",
            "peek",
            "set",
            "invalidate",
            "invalidate_all",
            "uncached",
            "refresh",
            "outcome",
        ])
    }

    /// Some of them; the site comes first.
    pub(crate) fn companions_named(&self, names: &[&str]) -> TokenStream {
        let alone = self.stands_alone();
        if !self.has_companions() {
            // The site is needed in any case.
            let site = self.item("site", &self.site());
            return quote!(#site #alone);
        }
        let items = names.iter().map(|name| self.item(name, &self.companion(name)));
        let module = self.is_free().then(|| self.module(&names[1..]));
        quote!(#(#items)* #module #alone)
    }

    /// An item that a second function of this prefix and as many parts, in the same module, would define again.
    fn stands_alone(&self) -> Option<TokenStream> {
        let (prefix, conditions) = (
            self.prefix.as_ref()?,
            self.function.attrs.iter().filter(|attr| is_condition(attr)),
        );
        if !self.is_free() || self.args.batch.is_some() {
            return None;
        }
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_string()
            } else {
                format!("_{:x}_", u32::from(c))
            }
        };
        let text: String = prefix.chars().map(plain).collect();
        let span = self
            .args
            .prefix
            .as_ref()
            .map_or_else(|| self.args.span_of("key"), syn::LitStr::span);
        let name = Ident::new(
            &format!(
                "only_one_cached_function_of_prefix_{text}_and_{}_parts",
                self.parts.len()
            ),
            span,
        );
        Some(quote_spanned! {span=>
            #(#conditions)* #[doc(hidden)] #[allow(dead_code, non_upper_case_globals)] const #name: () = ();
        })
    }

    /// What a companion is called where it is defined.
    pub(crate) fn companion_name(&self, name: &str) -> Ident {
        if name == "site" || self.is_free() {
            format_ident!("__{}_{name}", self.base())
        } else {
            format_ident!("{}_{name}", self.base())
        }
    }

    /// How generated code calls a companion.
    pub(crate) fn companion_path(&self, name: &str) -> TokenStream {
        if !self.has_companions() && name == "uncached" {
            return quote!(__uncached);
        }
        let name = self.companion_name(name);
        if self.is_free() {
            quote!(#name)
        } else {
            quote!(Self::#name)
        }
    }

    /// The place of the function; it has no generics of its own.
    pub(crate) fn site_call(&self) -> TokenStream {
        let site = self.companion_path("site");
        quote!(#site())
    }

    fn item(&self, name: &str, item: &TokenStream) -> TokenStream {
        let conditions = self.function.attrs.iter().filter(|attr| is_condition(attr));
        // A companion that nobody calls is no mistake, and its signature is the function's business.
        let lints = quote! {
            #[allow(dead_code, unreachable_pub, private_interfaces, private_bounds, clippy::too_many_arguments,
                clippy::needless_lifetimes, clippy::extra_unused_lifetimes, clippy::type_complexity, clippy::unused_async)]
        };
        if name == "uncached" && !self.is_free() || name == "site" {
            return quote!(#(#conditions)* #[doc(hidden)] #lints #item);
        }
        let hidden = self.is_free().then(|| quote!(#[doc(hidden)]));
        let text = self.documentation(name);
        quote!(#(#conditions)* #[doc = #text] #hidden #lints #item)
    }

    fn companion(&self, name: &str) -> TokenStream {
        match name {
            "site" => self.site(),
            "key" => self.key(),
            "peek" => self.peek(),
            "set" => self.set(),
            "invalidate" => self.invalidate(),
            "invalidate_all" => self.invalidate_all(),
            "uncached" => self.uncached_companion(),
            "refresh" => self.loading("refresh", Call::Refresh),
            _ => self.loading("outcome", Call::Tell),
        }
    }

    fn documentation(&self, name: &str) -> String {
        let function = &self.function.sig.ident;
        let text = match name {
            "key" => "The key of a call of `{}`. Fails only for an argument that cannot be serialised.",
            "peek" => {
                "The value that `{}` would return without a load, if it is stored and fresh. Never loads."
            }
            "set" => {
                "Stores the value that `{}` is to return from now on. A load that began earlier cannot overwrite it."
            }
            "invalidate" => {
                "Removes what is stored for this call of `{}`. No value whose load began before can be read afterwards."
            }
            "invalidate_all" => "Removes what is stored for all calls of `{}`, in constant time.",
            "uncached" => "`{}` without the cache.",
            "refresh" => {
                "`{}` with a new load, whatever is stored; the new value is stored. If the load fails, the old entry stays."
            }
            _ => "`{}`, and how its value was come by.",
        };
        text.replace("{}", &function.to_string())
    }

    fn vis(&self) -> Visibility {
        match &self.place {
            crate::model::Place::Block { of_trait: true, .. } => parse_quote!(pub(crate)),
            _ => self.function.vis.clone(),
        }
    }

    pub(crate) fn site(&self) -> TokenStream {
        let (private, vis, name) = (self.private(), self.vis(), self.companion_name("site"));
        let function = self.function.base().to_string();
        let path = match &self.place {
            crate::model::Place::Free => format!("::{function}"),
            crate::model::Place::Block { type_name, .. } => format!("::{type_name}::{function}"),
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

    fn key(&self) -> TokenStream {
        let private = self.private();
        let output = quote!(::core::result::Result<#private::CacheKey, #private::Error>);
        let (site, parts) = (self.site_call(), self.key_closure());
        self.function_of(
            "key",
            Takes::Key,
            false,
            &output,
            &quote!(#private::key(#site, #parts)),
        )
    }

    /// The key, within another companion.
    fn own_key(&self) -> TokenStream {
        let (private, site, parts) = (self.private(), self.site_call(), self.key_closure());
        quote!(let __key = #private::key(#site, #parts);)
    }

    fn peek(&self) -> TokenStream {
        let (private, value, cache, key) = (self.private(), self.value_type(), self.open(), self.own_key());
        let output =
            quote!(::core::result::Result<::core::option::Option<#private::Loaded<#value>>, #private::Error>);
        let ops = self.ops();
        let body = quote!(#key #cache #private::peek(__cache, #ops, __key).await);
        self.function_of("peek", Takes::Entry, true, &output, &body)
    }

    fn set(&self) -> TokenStream {
        let (private, value, cache, key) = (self.private(), self.value_type(), self.open(), self.own_key());
        let (options, optional, ops) = (self.options(), self.shape.is_optional(), self.ops());
        let output = quote!(::core::result::Result<#private::Stored, #private::Error>);
        let value_type = if optional {
            quote!(::core::option::Option<#value>)
        } else {
            value
        };
        let given = if optional {
            quote!(__value)
        } else {
            quote!(::core::option::Option::Some(__value))
        };
        let body = quote! {
            #key
            let __options = #options;
            #cache
            #private::set(__cache, #ops, __key, #given, __options).await
        };
        self.function_with(
            "set",
            Takes::Store,
            true,
            &output,
            &body,
            Some(quote!(__value: #value_type)),
        )
    }

    fn invalidate(&self) -> TokenStream {
        let (private, cache, key) = (self.private(), self.open(), self.own_key());
        let output = quote!(::core::result::Result<(), #private::Error>);
        let body = quote!(#key #cache #private::invalidate(__cache, __key).await);
        self.function_of("invalidate", Takes::Entry, true, &output, &body)
    }

    fn invalidate_all(&self) -> TokenStream {
        let (private, cache, site) = (self.private(), self.open(), self.site_call());
        let output = quote!(::core::result::Result<(), #private::Error>);
        let body = quote!(#cache #private::invalidate_all(__cache, #site).await);
        let inputs = self.inputs(|param| self.is_in_cache(param));
        self.signed("invalidate_all", true, &inputs, &output, &body)
    }

    fn uncached_companion(&self) -> TokenStream {
        self.uncached(&self.companion_name("uncached"), &self.vis())
    }

    /// A companion with all arguments of the function.
    fn loading(&self, name: &str, call: Call) -> TokenStream {
        let (private, vis) = (self.private(), self.vis());
        let mut sig = self.signature(&self.companion_name(name));
        let output = self.output_of(call);
        let body = self.call(call);
        if self.style == Style::Async {
            sig.output = parse_quote!(-> #output);
            quote!(#vis #sig { #body })
        } else {
            let lifetime = if self.borrowed {
                quote!('_)
            } else {
                quote!('static)
            };
            sig.output = parse_quote!(-> #private::BoxFuture<#lifetime, #output>);
            quote!(#vis #sig { ::std::boxed::Box::pin(async move { #body }) })
        }
    }

    fn output_of(&self, call: Call) -> TokenStream {
        let (private, output, shape) = (self.private(), &self.output, self.shape_path());
        match call {
            Call::Tell => quote!(<#output as #private::Output<#shape>>::Told),
            Call::Read | Call::Refresh => quote!(#output),
        }
    }

    fn function_of(
        &self,
        name: &str,
        takes: Takes,
        is_async: bool,
        output: &TokenStream,
        body: &TokenStream,
    ) -> TokenStream {
        self.function_with(name, takes, is_async, output, body, None)
    }

    fn function_with(
        &self,
        name: &str,
        takes: Takes,
        is_async: bool,
        output: &TokenStream,
        body: &TokenStream,
        extra: Option<TokenStream>,
    ) -> TokenStream {
        let mut inputs = self.inputs(|param| {
            let key = self.is_in_key(param);
            match takes {
                Takes::Key => key,
                Takes::Entry => key || self.is_in_cache(param),
                Takes::Store => key || self.is_in_cache(param) || self.is_in_options(param),
            }
        });
        inputs.extend(extra);
        self.signed(name, is_async, &inputs, output, body)
    }

    /// The receiver, and the parameters that are wanted.
    fn inputs(&self, wanted: impl Fn(&Ident) -> bool) -> Vec<TokenStream> {
        let receiver = self.function.receiver().map(|_| quote!(&self));
        let params = self
            .params
            .iter()
            .filter(|param| wanted(&param.name))
            .map(|param| {
                let (name, ty) = (&param.name, &param.ty);
                quote!(#name: #ty)
            });
        receiver.into_iter().chain(params).collect()
    }

    fn signed(
        &self,
        name: &str,
        is_async: bool,
        inputs: &[TokenStream],
        output: &TokenStream,
        body: &TokenStream,
    ) -> TokenStream {
        let used = quote!(#(#inputs),* #output #body);
        let generics = used_generics(&self.function.sig.generics, &used);
        let (params, predicates) = (&generics.params, &generics.where_clause);
        let asyncness: Option<Token![async]> = is_async.then(Default::default);
        let (vis, name) = (self.vis(), self.companion_name(name));
        quote!(#vis #asyncness fn #name<#params>(#(#inputs),*) -> #output #predicates { #body })
    }

    fn module(&self, names: &[&str]) -> TokenStream {
        let (base, vis) = (self.base(), &self.function.vis);
        let inner = inner_visibility(vis);
        let conditions = self.function.attrs.iter().filter(|attr| is_condition(attr));
        let uses = names.iter().map(|name| {
            let (short, full) = (format_ident!("{name}"), self.companion_name(name));
            quote!(#[doc(inline)] #inner use super::#full as #short;)
        });
        let text = format!("Companions of the cached function `{}`.", self.function.sig.ident);
        quote! {
            #(#conditions)*
            #[doc = #text]
            #[allow(unused_imports, unreachable_pub)]
            #vis mod #base { #(#uses)* }
        }
    }
}

/// The generics that are left when some parameters are not taken.
fn used_generics(generics: &Generics, used: &TokenStream) -> Generics {
    let mut kept = generics.clone();
    let name_of = |param: &GenericParam| match param {
        GenericParam::Type(param) => param.ident.clone(),
        GenericParam::Const(param) => param.ident.clone(),
        GenericParam::Lifetime(param) => param.lifetime.ident.clone(),
    };
    let dropped: Vec<Ident> = generics
        .params
        .iter()
        .map(name_of)
        .filter(|name| !mentions(used, name))
        .collect();
    kept.params = generics
        .params
        .iter()
        .filter(|param| !dropped.contains(&name_of(param)))
        .cloned()
        .collect();
    if let Some(clause) = &mut kept.where_clause {
        clause.predicates = clause
            .predicates
            .iter()
            .filter(|predicate: &&WherePredicate| !dropped.iter().any(|name| mentions(predicate, name)))
            .cloned()
            .collect();
    }
    kept
}

/// A visibility, as seen from one module further in.
fn inner_visibility(vis: &Visibility) -> Visibility {
    match vis {
        Visibility::Inherited => parse_quote!(pub(super)),
        Visibility::Restricted(restricted) if restricted.path.is_ident("self") => parse_quote!(pub(super)),
        Visibility::Restricted(restricted)
            if restricted
                .path
                .segments
                .first()
                .is_some_and(|first| first.ident == "super") =>
        {
            let path = &restricted.path;
            parse_quote!(pub(in super::#path))
        }
        other => other.clone(),
    }
}
