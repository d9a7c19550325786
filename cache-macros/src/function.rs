//! The annotated function. Its body is never looked into.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, FnArg, GenericArgument, Pat, PathArguments, PathSegment, Receiver, ReceiverKind, ReturnType,
    Signature, Token, Type, TypeParamBound, Visibility, parse_quote,
};

/// A function as written.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// With its braces.
    pub(crate) body: TokenStream,
}

/// A parameter; one that is a pattern gets a name of its own.
#[derive(Clone)]
pub(crate) struct Param {
    pub(crate) name: Ident,
    /// Whether the user can refer to it.
    pub(crate) is_named: bool,
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
}

/// How the future comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Async,
    ImplFuture,
    Boxed,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        if input.peek(Token![;]) {
            return Err(
                input.error("a function without a body has nothing to cache; annotate its implementation")
            );
        }
        Ok(Self {
            attrs,
            vis,
            sig,
            body: input.parse()?,
        })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attrs.iter().map(ToTokens::to_token_stream));
        self.vis.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        self.body.to_tokens(tokens);
    }
}

impl Function {
    /// The name without `r#`.
    pub(crate) fn base(&self) -> Ident {
        self.sig.ident.unraw()
    }

    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        match self.sig.inputs.first() {
            Some(FnArg::Receiver(receiver)) => Some(receiver),
            _ => None,
        }
    }

    /// `&self` is borrowed, `self: Arc<Self>` is not.
    pub(crate) fn receiver_is_borrowed(&self) -> bool {
        self.receiver().is_some_and(|receiver| match &receiver.kind {
            ReceiverKind::Reference(..) => true,
            ReceiverKind::Typed(_, ty) => ty.to_token_stream().to_string().contains('&'),
            _ => false,
        })
    }

    pub(crate) fn params(&self) -> Vec<Param> {
        let typed = self.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        });
        typed
            .enumerate()
            .map(|(index, typed)| {
                let name = match &*typed.pat {
                    Pat::Ident(pat) if pat.subpat.is_none() => Some(pat.ident.clone()),
                    _ => None,
                };
                Param {
                    is_named: name.is_some(),
                    name: name.unwrap_or_else(|| format_ident!("__argument_{index}")),
                    pat: (*typed.pat).clone(),
                    ty: (*typed.ty).clone(),
                }
            })
            .collect()
    }

    /// How the future comes about, and what it gives; `None` for a function that returns no future.
    pub(crate) fn output(&self) -> Option<(Style, Type)> {
        let declared = match &self.sig.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        if self.sig.asyncness.is_some() {
            return Some((Style::Async, declared));
        }
        if let Type::ImplTrait(future) = &declared {
            return future_output(&future.bounds).map(|output| (Style::ImplFuture, output));
        }
        let segment = last_segment(&declared)?;
        let types = type_arguments(segment);
        match segment.ident.to_string().as_str() {
            "BoxFuture" => types.first().map(|output| (Style::Boxed, (*output).clone())),
            "Pin" => {
                let boxed = last_segment(types.first()?)?;
                match type_arguments(boxed).first()? {
                    Type::TraitObject(object) => {
                        future_output(&object.bounds).map(|output| (Style::Boxed, output))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn future_output(bounds: &Punctuated<TypeParamBound, Token![+]>) -> Option<Type> {
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let segment = bound
            .path
            .segments
            .last()
            .filter(|segment| segment.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
            return None;
        };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => Some(output.ty.clone()),
            _ => None,
        })
    })
}

/// The last name of a path type: `Result` of `std::io::Result<T>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

pub(crate) fn type_arguments(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}
