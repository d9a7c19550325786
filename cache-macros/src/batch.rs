//! `batch`: functions over a list of ids, with an entry for each.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Type, parse_quote};

use crate::args::{Companions, OF_BATCHES, Tags, Ttl};
use crate::attributes::wrapper_attrs;
use crate::companions::Companion;
use crate::diag::Diag;
use crate::function::{Param, Style, last_segment, type_arguments};
use crate::model::{CachedFn, is_detached};
use crate::shape::Shape;
use crate::tokens::borrows;

/// The function over ids, seen as one for a single id: its companions are those.
pub(crate) struct Batch {
    item: CachedFn,
    ids: Ident,
    /// They are given as a slice, not as a `Vec`.
    by_reference: bool,
    output: Type,
    fallible: bool,
    id: Type,
}

impl Batch {
    /// Checks what is special about a function over ids.
    pub(crate) fn new(mut cached: CachedFn, diag: &mut Diag) -> Option<Self> {
        check_options(&cached, diag);
        let output = cached.output.clone();
        let Some((fallible, id, value)) = values(&output) else {
            diag.error(
                output.span(),
                "a function over ids returns `HashMap<Id, Value>`, or a `Result` of one",
            );
            return None;
        };
        let index = ids(&cached, diag)?;
        let param = &mut cached.params[index];
        let by_reference = matches!(param.ty, Type::Reference(_));
        let is_list = match &param.ty {
            Type::Reference(reference) => matches!(&*reference.elem, Type::Slice(_)),
            ty => last_segment(ty).is_some_and(|segment| segment.ident == "Vec"),
        };
        if !is_list {
            diag.error(param.ty.span(), "the ids of a batch are a `Vec<Id>` or a `&[Id]`");
        }
        param.ty = id.clone();
        let ids = param.name.clone();
        check_owned(&cached, &ids, diag);
        cached.output = parse_quote!(::core::option::Option<#value>);
        cached.shape = Shape::Maybe;
        Some(Self {
            item: cached,
            ids,
            by_reference,
            output,
            fallible,
            id,
        })
    }

    /// The function that takes the place of the annotated one.
    pub(crate) fn wrapper(&self) -> TokenStream {
        let item = &self.item;
        let private = item.private();
        let attrs = wrapper_attrs(&item.function.attrs);
        let (vis, sig) = (&item.function.vis, item.signature(&item.function.sig.ident));
        let shape = format_ident!("{}", if self.fallible { "Fallible" } else { "Plain" });
        let (output, ids, id) = (&self.output, &self.ids, &self.id);
        let error = quote!(<#output as #private::BatchOutput<#private::#shape>>::Error);
        let (site, cache, parts) = (item.site_call(), item.open(), item.key_body());
        let (options, errors) = (item.options(), item.errors_of(&error));
        let list = if self.by_reference {
            quote!(#ids.to_vec())
        } else {
            quote!(#ids)
        };
        let (owned, clones, call) = self.body();
        quote! {
            #attrs #vis #sig {
                #cache
                let __options = #options;
                let __errors = #errors;
                let __ids: ::std::vec::Vec<#id> = #list;
                let __parts = |#ids: &#id, __key: &mut #private::KeyBuf| { #parts };
                let __load = {
                    #owned
                    move |__ids: ::std::vec::Vec<#id>| -> #private::BoxFuture<'static, #output> {
                        #clones
                        ::std::boxed::Box::pin(async move { #call.await })
                    }
                };
                #private::batch::<#output, #private::#shape>(
                    #private::Of { site: #site, cache: __cache, ops: __ops, options: __options, errors: __errors },
                    __ids, __parts, __load,
                ).await
            }
        }
    }

    /// The companions: of a single id, and the function itself.
    pub(crate) fn companions(&self) -> TokenStream {
        self.item.companions()
    }

    /// What the load owns, what each run of it clones, and the call of the body.
    fn body(&self) -> (TokenStream, TokenStream, TokenStream) {
        let item = &self.item;
        let (mut owned, mut clones) = (TokenStream::new(), TokenStream::new());
        let mut values = Vec::new();
        for param in &item.params {
            let Param { name, ty, .. } = param;
            if *name == self.ids {
                values.push(if self.by_reference {
                    quote!(&__ids)
                } else {
                    quote!(__ids)
                });
                continue;
            }
            let is_detached = is_detached(&item.args, param);
            owned.extend(if is_detached {
                quote_spanned!(ty.span()=> let #name = ::std::borrow::ToOwned::to_owned(#name);)
            } else {
                quote_spanned!(ty.span()=> let #name = ::core::clone::Clone::clone(&#name);)
            });
            clones.extend(quote_spanned!(ty.span()=> let #name = ::core::clone::Clone::clone(&#name);));
            values.push(if is_detached {
                quote!(&#name)
            } else {
                quote!(#name)
            });
        }
        let receiver = item.function.receiver().map(|_| {
            let is_borrowed = item.function.receiver_is_borrowed();
            owned.extend(if is_borrowed {
                quote!(let __this = ::core::clone::Clone::clone(self);)
            } else {
                quote!(let __this = self;)
            });
            clones.extend(quote!(let __this = ::core::clone::Clone::clone(&__this);));
            if is_borrowed {
                quote!(&__this,)
            } else {
                quote!(__this,)
            }
        });
        let (function, generics) = (item.companion_path(Companion::Uncached), item.turbofish());
        (owned, clones, quote!(#function #generics(#receiver #(#values),*)))
    }
}

fn check_options(cached: &CachedFn, diag: &mut Diag) {
    let args = &cached.args;
    for name in args
        .names()
        .iter()
        .filter(|name| !OF_BATCHES.iter().any(|known| *name == known))
    {
        diag.error(
            name.span(),
            format!("`{name}` does not go with `batch`, whose values are loaded together"),
        );
    }
    if matches!(args.ttl, Some(Ttl::OfResult(_))) || !cached.tags_of_result().is_empty() {
        let at = if args.has("tags") { "tags" } else { "ttl" };
        diag.error(
            args.span_of(at),
            "the options of a batch are the same for all its values, and cannot speak of one",
        );
    }
    if let Some(Tags::Expr(_)) = &args.tags {
        diag.error(args.span_of("tags"), "write the tags of a batch as a list");
    }
    if matches!(args.companions, Some(Companions::None)) || cached.style != Style::Async {
        diag.error(
            args.span_of("batch"),
            "`batch` stands on an `async fn`, and has companions",
        );
    }
}

/// Which parameter holds the ids: the one that `batch = ..` names, or the only one in the key.
fn ids(cached: &CachedFn, diag: &mut Diag) -> Option<usize> {
    let named = cached.args.batch.as_ref().and_then(Option::as_ref);
    let wanted = |param: &Param| match named {
        Some(name) => param.name == *name,
        None => cached.is_in_key(&param.name),
    };
    let mut found = cached
        .params
        .iter()
        .enumerate()
        .filter(|(_, param)| wanted(param))
        .map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Some(index),
        _ => {
            let at = named.map_or_else(|| cached.args.span_of("batch"), Ident::span);
            diag.error(at, "say which argument holds the ids: `batch = ids`");
            None
        }
    }
}

fn check_owned(cached: &CachedFn, ids: &Ident, diag: &mut Diag) {
    let this = format_ident!("self");
    let mut refuse = |at: Span, name: &str| {
        diag.error(at, format!("a batch loads in a task of its own and needs owned arguments: take an `Arc<_>`, or say `detach({name})`"));
    };
    if cached.function.receiver_is_borrowed()
        && !cached.args.detach.contains(&this)
        && let Some(receiver) = cached.function.receiver()
    {
        refuse(receiver.self_token.span, "self");
    }
    for param in cached.params.iter().filter(|param| param.name != *ids) {
        if borrows(&param.ty, &[]) && !is_detached(&cached.args, param) {
            refuse(param.ty.span(), &param.name.to_string());
        }
    }
}

/// Whether it may fail, the type of an id and that of a value.
fn values(output: &Type) -> Option<(bool, Type, Type)> {
    let segment = last_segment(output)?;
    if segment.ident == "Result" {
        let (_, id, value) = values(type_arguments(segment).first()?)?;
        return Some((true, id, value));
    }
    match (segment.ident == "HashMap", &*type_arguments(segment)) {
        (true, [id, value]) => Some((false, (*id).clone(), (*value).clone())),
        _ => None,
    }
}
