//! Texts with placeholders: `"user:{id}"`. A placeholder is an argument, or a field of one: `{id}`, `{opts.lang}`.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;
use syn::{Expr, LitStr, Member};

/// A text and its placeholders.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) literal: LitStr,
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Clone)]
pub(crate) enum Piece {
    Text(String),
    Hole(Hole),
}

/// A placeholder.
#[derive(Clone)]
pub(crate) struct Hole {
    /// The argument that it begins with.
    pub(crate) root: Ident,
    pub(crate) expr: Expr,
}

impl Template {
    pub(crate) fn parse(literal: &LitStr) -> syn::Result<Self> {
        let fail = |message: String| Err(syn::Error::new(literal.span(), message));
        let text = literal.value();
        let (mut pieces, mut rest) = (Vec::new(), text.as_str());
        while !rest.is_empty() {
            let Some(open) = rest.find(['{', '}']) else {
                pieces.push(Piece::Text(rest.to_owned()));
                break;
            };
            if rest[open..].starts_with('}') {
                return fail("a `}` without its `{`; braces only stand around placeholders".to_owned());
            }
            let Some(length) = rest[open..].find('}') else {
                return fail("a `{` without its `}`; braces only stand around placeholders".to_owned());
            };
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            pieces.push(Piece::Hole(hole(literal, &rest[open + 1..open + length])?));
            rest = &rest[open + length + 1..];
        }
        Ok(Self {
            literal: literal.clone(),
            pieces,
        })
    }

    pub(crate) fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole(hole) => Some(hole),
            Piece::Text(_) => None,
        })
    }

    /// The pieces between colons: each a text or a placeholder, so that two arguments never run together.
    pub(crate) fn segments(&self) -> syn::Result<Vec<Piece>> {
        let fail = |message: &str| Err(syn::Error::new(self.literal.span(), message));
        let mut segments: Vec<Option<Piece>> = vec![None];
        for piece in &self.pieces {
            match piece {
                Piece::Hole(hole) => match segments.last_mut() {
                    Some(open @ None) => *open = Some(Piece::Hole(hole.clone())),
                    _ => return fail(UNSEPARATED),
                },
                Piece::Text(text) => {
                    for (index, part) in text.split(':').enumerate() {
                        if index > 0 {
                            segments.push(None);
                        }
                        if part.is_empty() {
                            continue;
                        }
                        match segments.last_mut() {
                            Some(open @ None) => *open = Some(Piece::Text(part.to_owned())),
                            _ => return fail(UNSEPARATED),
                        }
                    }
                }
            }
        }
        match segments.into_iter().collect::<Option<Vec<_>>>() {
            Some(segments) => Ok(segments),
            None => fail("the key has an empty part; parts stand between single `:`"),
        }
    }
}

const UNSEPARATED: &str = "separate the placeholders of a key by `:`, as in \"{symbol}:{day}\"; run together, \
                           different arguments could share a key";

fn hole(literal: &LitStr, text: &str) -> syn::Result<Hole> {
    let fail = |message: String| Err(syn::Error::new(literal.span(), message));
    if text.contains(':') {
        return fail(format!(
            "`{{{text}}}` has a format, which placeholders do not take; write the argument alone"
        ));
    }
    let inner = LitStr::new(text, literal.span());
    let Ok(expr) = inner.parse::<Expr>() else {
        return fail(format!(
            "`{{{text}}}` is not a placeholder; write an argument or a field of one: `{{id}}`, `{{opts.lang}}`"
        ));
    };
    match root(&expr) {
        Some(root) => Ok(Hole { root, expr }),
        None => fail(format!(
            "`{{{text}}}` is not an argument or a field of one; for anything else write the key as an expression: `key = (id, name.len())`"
        )),
    }
}

/// The name that a path of fields begins with.
fn root(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Path(path) if path.qself.is_none() => path.path.get_ident().cloned(),
        Expr::Field(field) => match &field.member {
            Member::Named(_) | Member::Unnamed(_) => root(&field.base),
        },
        _ => None,
    }
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
    let format = LitStr::new(&format, template.literal.span());
    quote_spanned!(template.literal.span()=> ::std::format!(#format, #(#values),*))
}
