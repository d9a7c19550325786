//! Checks across options and function, each with the token that is at fault and the remedy.

use proc_macro2::Span;
use syn::ReceiverKind;
use syn::spanned::Spanned as _;

mod names;
mod options;

pub(crate) use names::names;
pub(crate) use options::{is_borrowed, options};

use crate::attributes::is_condition;
use crate::diag::Diag;
use crate::function::{Function, last_segment};
use crate::model::Place;
use crate::tokens::borrows;

/// What kind of function it is.
pub(crate) fn function(function: &Function, place: &Place, diag: &mut Diag) {
    let sig = &function.sig;
    if let Some(constness) = &sig.constness {
        diag.error(
            constness.span,
            "a `const fn` is evaluated by the compiler and has nothing to cache",
        );
    }
    if let syn::Safety::Unsafe(token) = &sig.safety {
        diag.error(
            token.span,
            "an `unsafe fn` cannot be cached: its contract holds for one call, not for a later hit",
        );
    }
    if let Some(abi) = &sig.abi {
        diag.error(
            abi.span(),
            "a function with a foreign ABI cannot be async, and so not cached",
        );
    }
    if let Some(receiver) = function.receiver() {
        if matches!(place, Place::Free) {
            diag.error(
                receiver.self_token.span,
                "a cached method needs `#[cached]` on its `impl` block too, which gives it its companions",
            );
        }
        if let Some(refusal) = receiver_refusal(&receiver.kind) {
            diag.error(receiver.span(), refusal);
        }
    }
    if let Some(output) = no_value(function) {
        diag.error(output, "the function returns `()`: there is no value to cache");
    }
    for input in &function.sig.inputs {
        if let syn::FnArg::Typed(typed) = input
            && let Some(attr) = typed.attrs.iter().find(|attr| is_condition(attr))
        {
            diag.error(
                attr.span(),
                "an argument that is not always there would change what the keys mean: write the function twice, with \
                 `#[cfg(..)]` and a prefix on each",
            );
        }
    }
    for param in function.params() {
        if param.is_named && param.name.to_string().starts_with("__") {
            diag.error(
                param.name.span(),
                "names of arguments that begin with `__` are for generated code; give it another",
            );
        }
        if let syn::Type::Reference(reference) = &param.ty
            && let Some(mutability) = &reference.mutability
        {
            diag.error(
                mutability.span,
                "an argument that is changed cannot be cached: a hit would leave the change out; return it instead",
            );
        }
    }
}

fn no_value(function: &Function) -> Option<Span> {
    match function.output() {
        Some((_, syn::Type::Tuple(unit))) if unit.elems.is_empty() => Some(match &function.sig.output {
            syn::ReturnType::Default => function.sig.ident.span(),
            syn::ReturnType::Type(_, ty) => ty.span(),
        }),
        _ => None,
    }
}

pub(crate) fn not_async(function: &Function, diag: &mut Diag) {
    let message = match function.sig.output {
        _ if function.attrs.iter().any(|attr| {
            attr.path()
                .segments
                .last()
                .is_some_and(|s| s.ident == "async_trait")
        }) =>
        {
            "put `#[cached]` above `#[async_trait]`"
        }
        _ => {
            "`#[cached]` is for functions that return a future, since it may have to wait for another caller's load: make \
             this an `async fn`; for a quick computation keep the value in a `std::sync::LazyLock` or a `MemoryCache`"
        }
    };
    diag.error(function.sig.fn_token.span, message);
}

/// Whether the receiver is one that can be cached with.
fn receiver_refusal(kind: &ReceiverKind) -> Option<&'static str> {
    match kind {
        ReceiverKind::Reference(_, _, None) => None,
        ReceiverKind::Reference(_, _, Some(_)) => Some(
            "a method that takes `&mut self` changes something, and a hit would leave that out; take `&self`, and see \
             `#[cache_evict]` for methods that write",
        ),
        ReceiverKind::Value => Some(
            "a method that takes `self` uses it up, and a hit would not; take `&self` or `self: Arc<Self>`",
        ),
        ReceiverKind::Typed(_, ty) => {
            let arc = last_segment(ty).is_some_and(|segment| segment.ident == "Arc");
            (!arc && !borrows(ty, &[])).then_some("`self` is `&self` or `self: Arc<Self>` in a cached method")
        }
        _ => Some("`self` is `&self` or `self: Arc<Self>` in a cached method"),
    }
}
