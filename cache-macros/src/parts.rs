//! The parts of the key, in their order: from the arguments, a template or expressions.

use proc_macro2::{Ident, Span};
use quote::{ToTokens, format_ident};
use syn::spanned::Spanned as _;
use syn::{Expr, GenericParam, Type, parse_quote};

use crate::args::{Args, Key};
use crate::diag::Diag;
use crate::function::{Function, Param};
use crate::model::Place;
use crate::template::{Hole, Piece};
use crate::tokens::mentions;

/// One part of the key.
pub(crate) enum Part {
    Text(String),
    Type(Ident),
    Const(Ident),
    Value { expr: Expr, span: Span, secret: bool },
}

/// Collects the parts of the key.
pub(crate) struct Parts<'a> {
    pub(crate) function: &'a Function,
    pub(crate) args: &'a Args,
    pub(crate) params: &'a [Param],
    pub(crate) place: &'a Place,
    pub(crate) output: &'a Type,
    /// Otherwise what is missing from the key may be what was misspelt.
    pub(crate) names_are_known: bool,
}

impl Parts<'_> {
    pub(crate) fn collect(&self, diag: &mut Diag) -> Vec<Part> {
        let values = match &self.args.key {
            None => self.all_arguments(),
            Some(Key::Template(template)) => match diag.take(template.segments()) {
                Some(segments) => segments
                    .into_iter()
                    .map(|segment| self.segment(segment))
                    .collect(),
                None => return Vec::new(),
            },
            Some(Key::Parts(exprs)) => exprs
                .iter()
                .map(|expr| self.value(expr.clone(), expr.span()))
                .collect(),
        };
        if self.names_are_known {
            self.check_complete(&values, diag);
        }
        let mut parts: Vec<Part> = self
            .types()
            .into_iter()
            .filter(|part| !self.is_named_in(part, &values))
            .collect();
        // A leading literal is the prefix when there is no other.
        parts.extend(values);
        if let Some(version) = &self.args.version {
            parts.insert(
                0,
                Part::Value {
                    expr: version_part(version),
                    span: version.span(),
                    secret: false,
                },
            );
        }
        parts
    }

    fn all_arguments(&self) -> Vec<Part> {
        let kept = self
            .params
            .iter()
            .filter(|param| !self.args.skip.contains(&param.name));
        kept.map(|param| {
            let name = &param.name;
            self.value(parse_quote!(#name), param.ty.span())
        })
        .collect()
    }

    fn segment(&self, segment: Piece) -> Part {
        match segment {
            Piece::Text(text) => Part::Text(text),
            Piece::Hole(Hole { root, expr }) => {
                let param = self.params.iter().find(|param| param.name == root);
                let literal = expr.span();
                let span = match (&expr, param) {
                    // The type of the argument is what has to fit.
                    (Expr::Path(_), Some(param)) => param.ty.span(),
                    _ => literal,
                };
                self.value(expr, span)
            }
        }
    }

    fn value(&self, expr: Expr, span: Span) -> Part {
        let secret = self.args.secret.iter().any(|name| mentions(&expr, name));
        Part::Value { expr, span, secret }
    }

    /// The type and const parameters that may decide the result. One that occurs in skipped arguments alone is skipped
    /// with them.
    fn types(&self) -> Vec<Part> {
        let of_block = match self.place {
            Place::Block { generics, .. } => Some(generics),
            Place::Free => None,
        };
        let matters = |name: &Ident| {
            let (skipped, kept): (Vec<_>, Vec<_>) = self
                .params
                .iter()
                .partition(|param| self.args.skip.contains(&param.name));
            let only_skipped = skipped.iter().any(|param| mentions(&param.ty, name))
                && !kept.iter().any(|param| mentions(&param.ty, name))
                && !mentions(self.output, name);
            !only_skipped && !self.args.skip.contains(name)
        };
        let mut parts = Vec::new();
        for generics in of_block.into_iter().chain([&self.function.sig.generics]) {
            for param in &generics.params {
                match param {
                    GenericParam::Type(param) if matters(&param.ident) => {
                        parts.push(Part::Type(param.ident.clone()));
                    }
                    GenericParam::Const(param) if matters(&param.ident) => {
                        parts.push(Part::Const(param.ident.clone()));
                    }
                    _ => {}
                }
            }
        }
        parts
    }

    fn is_named_in(&self, part: &Part, values: &[Part]) -> bool {
        let (Part::Type(name) | Part::Const(name)) = part else {
            return false;
        };
        values
            .iter()
            .any(|value| matches!(value, Part::Value { expr, .. } if mentions(expr, name)))
    }

    /// Every argument is in the key or skipped.
    fn check_complete(&self, values: &[Part], diag: &mut Diag) {
        let in_key = |name: &Ident| {
            values
                .iter()
                .any(|part| matches!(part, Part::Value { expr, .. } if mentions(expr, name)))
        };
        for param in self.params {
            let name = &param.name;
            if !in_key(name) && !self.args.skip.contains(name) {
                let (name, remedy) = if param.is_named {
                    (
                        format!("`{name}`"),
                        format!(
                            "add `{{{name}}}` to the key, or say `skip({name})` if it does not change the result"
                        ),
                    )
                } else {
                    (
                        "this argument".to_owned(),
                        "give it a name instead of a pattern to use it in `key` or `skip`".to_owned(),
                    )
                };
                diag.error(
                    param.pat.span(),
                    format!("{name} is neither in the key nor skipped: {remedy}"),
                );
            } else if in_key(name) && self.args.skip.contains(name) {
                diag.error(
                    name_in(&self.args.skip, name),
                    format!("`{name}` is both skipped and in the key"),
                );
            }
        }
        let this = format_ident!("self");
        if let Some(receiver) = self.function.receiver()
            && !in_key(&this)
            && !self.args.skip.contains(&this)
        {
            diag.error(
                receiver.self_token.span,
                "`self` is neither in the key nor skipped, so two values of this type would share entries: say \
                 `skip(self)` if they should, or name what tells them apart, as in `key = \"{self.tenant}:{id}\"`",
            );
        }
    }
}

/// A prefix is what `prefix` says, or else the literal that the key template begins with.
pub(crate) fn split_prefix(args: &Args, mut parts: Vec<Part>) -> (Option<String>, Vec<Part>) {
    if let Some(prefix) = &args.prefix {
        return (Some(prefix.value()), parts);
    }
    if let Some(Key::Template(template)) = &args.key
        && matches!(template.pieces.first(), Some(Piece::Text(_)))
        && let Some(index) = parts.iter().position(|part| matches!(part, Part::Text(_)))
        && let Part::Text(text) = parts.remove(index)
    {
        // The version stands behind the prefix.
        return (Some(text), parts);
    }
    (None, parts)
}

fn version_part(version: &syn::LitInt) -> Expr {
    let text = format!("v{}", version.base10_digits());
    let mut literal = proc_macro2::Literal::string(&text);
    literal.set_span(version.span());
    let literal = proc_macro2::TokenTree::Literal(literal).to_token_stream();
    parse_quote!(#literal)
}

/// Where a list names something.
fn name_in(list: &[Ident], name: &Ident) -> Span {
    list.iter()
        .find(|known| *known == name)
        .map_or_else(Span::call_site, Ident::span)
}
