//! What stands beside a cached function: its key, its entries, its body without the cache.
//!
//! Most programs call few of them, and a hundred functions have eight hundred. So each is one call that makes a future:
//! what that future does is written once, in `cache_core::__private`, and compiled where somebody awaits it. The load,
//! which speaks of the function's own types, stands in one hidden function that `refresh` and `outcome` share.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Visibility, parse_quote};

mod item;
mod name;

pub(crate) use name::Companion;

use crate::args::Companions;
use crate::attributes::is_condition;
use crate::function::Param;
use crate::model::{CachedFn, Place};

impl CachedFn {
    /// What stands beside the function: in a module, together with the module that lists it.
    pub(crate) fn companions(&self) -> TokenStream {
        let alone = self.stands_alone();
        // The site is needed in any case.
        let site = self.hidden(&self.site());
        if !self.has_companions() {
            return quote!(#site #alone);
        }
        let list = if self.args.batch.is_some() {
            Companion::OF_BATCHES
        } else {
            Companion::ALL
        };
        let load = self.has_load().then(|| self.hidden(&self.load_function()));
        let items = list.iter().map(|companion| self.documented(*companion));
        let module = self.is_free().then(|| self.module(list));
        quote!(#site #load #(#items)* #module #alone)
    }

    /// An item that a second function of this prefix and as many parts, in the same module, would define again.
    fn stands_alone(&self) -> Option<TokenStream> {
        let prefix = self.prefix.as_ref()?;
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
        let conditions = self.conditions();
        Some(quote_spanned! {span=>
            #conditions #[doc(hidden)] #[allow(dead_code, non_upper_case_globals)] const #name: () = ();
        })
    }

    /// What a companion is called where it is defined.
    pub(crate) fn companion_name(&self, companion: Companion) -> Ident {
        let name = companion.as_str();
        if self.is_free() {
            self.hidden_name(name)
        } else {
            format_ident!("{}_{name}", self.base())
        }
    }

    /// What something beside the function is called that nobody is to call by hand.
    fn hidden_name(&self, name: &str) -> Ident {
        format_ident!("__{}_{name}", self.base())
    }

    /// Whether the load stands in a function of its own, for several to call.
    pub(crate) fn has_load(&self) -> bool {
        self.has_companions() && self.args.batch.is_none()
    }

    /// How generated code calls a companion.
    pub(crate) fn companion_path(&self, companion: Companion) -> TokenStream {
        if !self.has_companions() && companion == Companion::Uncached {
            return quote!(__uncached);
        }
        self.path_to(&self.companion_name(companion))
    }

    /// The place of the function; it has no generics of its own.
    pub(crate) fn site_call(&self) -> TokenStream {
        let site = self.path_to(&self.hidden_name("site"));
        quote!(#site())
    }

    fn path_to(&self, name: &Ident) -> TokenStream {
        if self.is_free() {
            quote!(#name)
        } else {
            quote!(Self::#name)
        }
    }

    fn conditions(&self) -> TokenStream {
        let conditions = self.function.attrs.iter().filter(|attr| is_condition(attr));
        quote!(#(#conditions)*)
    }

    fn hidden(&self, item: &TokenStream) -> TokenStream {
        let (conditions, lints) = (self.conditions(), self.lints());
        quote!(#conditions #[doc(hidden)] #lints #item)
    }

    fn documented(&self, companion: Companion) -> TokenStream {
        let item = self.companion(companion);
        if companion == Companion::Uncached && !self.is_free() {
            return self.hidden(&item);
        }
        let (conditions, lints) = (self.conditions(), self.lints());
        let hidden = self.is_free().then(|| quote!(#[doc(hidden)]));
        // Those that nobody calls are not compiled to machine code; the function itself calls `uncached`.
        let inline = (companion != Companion::Uncached).then(|| quote!(#[inline]));
        let text = companion.documentation(&self.function.sig.ident.to_string());
        quote!(#conditions #[doc = #text] #hidden #inline #lints #item)
    }

    /// A companion that nobody calls is no mistake, and its signature is the function's business. As few as can matter:
    /// each costs time, eleven times for each function.
    fn lints(&self) -> TokenStream {
        let sig = &self.function.sig;
        let lifetimes = (sig.generics.lifetimes().next().is_some())
            .then(|| quote!(clippy::needless_lifetimes, clippy::extra_unused_lifetimes,));
        let many = (sig.inputs.len() > 4).then(|| quote!(clippy::too_many_arguments,));
        let odd = self.odd_name();
        let starts_low = |param: &Param| param.name.to_string().starts_with('_');
        let underscores =
            (self.params.iter().any(starts_low)).then(|| quote!(clippy::used_underscore_binding,));
        quote! {
            #[allow(dead_code, unreachable_pub, private_interfaces, private_bounds, clippy::type_complexity,
                clippy::unused_async, #many #lifetimes #underscores #odd)]
        }
    }

    /// A name such as `type_`, of which the companions' names are made, may be one that a lint is about.
    fn odd_name(&self) -> Option<TokenStream> {
        let base = self.base().to_string();
        let is_odd = base.ends_with('_') || base.contains("__") || base.contains(char::is_uppercase);
        is_odd.then(|| quote!(non_snake_case,))
    }

    /// The visibility of what stands beside the function.
    fn vis(&self) -> Visibility {
        match &self.place {
            Place::Block { of_trait: true, .. } => parse_quote!(pub(crate)),
            _ => self.function.vis.clone(),
        }
    }

    fn module(&self, list: &[Companion]) -> TokenStream {
        // The name as written: that of a function may be a keyword.
        let base = match &self.args.companions {
            Some(Companions::Named(name)) => name,
            _ => &self.function.sig.ident,
        };
        let vis = &self.function.vis;
        let (inner, conditions, odd) = (inner_visibility(vis), self.conditions(), self.odd_name());
        let uses = list.iter().map(|companion| {
            let (short, full) = (
                format_ident!("{}", companion.as_str()),
                self.companion_name(*companion),
            );
            quote!(#full as #short)
        });
        let text = format!("Companions of the cached function `{}`.", self.function.sig.ident);
        quote! {
            #conditions
            #[doc = #text]
            #[allow(unused_imports, unreachable_pub, #odd)]
            #vis mod #base { #[doc(inline)] #inner use super::{#(#uses),*}; }
        }
    }
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
