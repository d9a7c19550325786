//! Type, const and lifetime parameters: which there are, which may be borrowed, and which a companion needs.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{GenericParam, Generics, WherePredicate};

use crate::tokens::{mentions, says_static};

/// Names of type and const parameters.
pub(crate) fn generic_names(generics: &Generics) -> Vec<Ident> {
    let names = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(param.ident.clone()),
        GenericParam::Const(param) => Some(param.ident.clone()),
        GenericParam::Lifetime(_) => None,
    });
    names.collect()
}

/// Type parameters that may stand for something borrowed.
pub(crate) fn loose_types(generics: &Generics) -> Vec<Ident> {
    let in_where = |name: &Ident| {
        generics.where_clause.as_ref().is_some_and(|clause| {
            clause
                .predicates
                .iter()
                .any(|predicate| mentions(predicate, name) && says_static(predicate))
        })
    };
    let loose = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) if !says_static(&param.bounds) && !in_where(&param.ident) => {
            Some(param.ident.clone())
        }
        _ => None,
    });
    loose.collect()
}

/// The generics that are left when some parameters are not taken.
pub(crate) fn used_generics(generics: &Generics, used: &TokenStream) -> Generics {
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
    for param in &mut kept.params {
        match param {
            GenericParam::Type(param) => param.bounds = known(&param.bounds, &dropped),
            GenericParam::Lifetime(param) => param.bounds = known(&param.bounds, &dropped),
            GenericParam::Const(_) => {}
        }
    }
    if let Some(clause) = &mut kept.where_clause {
        for predicate in &mut clause.predicates {
            match predicate {
                WherePredicate::Type(predicate) => predicate.bounds = known(&predicate.bounds, &dropped),
                WherePredicate::Lifetime(predicate) => predicate.bounds = known(&predicate.bounds, &dropped),
                _ => {}
            }
        }
        clause.predicates = known(&clause.predicates, &dropped);
    }
    kept
}

/// Those that do not speak of a parameter that is gone.
fn known<T: ToTokens + Clone, P: Default>(bounds: &Punctuated<T, P>, dropped: &[Ident]) -> Punctuated<T, P> {
    let known = bounds
        .iter()
        .filter(|bound| !dropped.iter().any(|name| mentions(*bound, name)));
    known.cloned().collect()
}
